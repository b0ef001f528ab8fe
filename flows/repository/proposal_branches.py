"""Branches of proposals: made on a commit without a work tree, pushed new, deleted when moot.

Every one is this product's own: it is created where no branch of that name is, and moved or
deleted only while it stands where every commit on it was seen to be ours. Commands are
`flows.repository.plumbing`'s, the network `flows.repository.clone`'s; what stands on them is
`flows.proposals`' business. Where they stand is brought by the run's usual fetch, so that
looking costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from flows.repository.contract import Commit
from flows.repository.fast_import import authored
from flows.repository.plumbing import Move, Plumbing
from flows.repository.remote import reason_line
from flows.repository.reports_branch import push_answer
from flows.repository.runner import Done
from infrastructure.config_models import Author
from infrastructure.errors import TemporaryError

_TRACKED = "refs/remotes/origin/"
_OURS = b"\nUICI-Proposal: "

# What is done (for messages) and the Git command that does it.
Ask = Callable[[str, Sequence[str]], Done]


class ProposalBranches:
    """See the module. `ask` speaks to the remote and raises TemporaryError when it is away."""

    def __init__(self, prefix: str, plumbing: Plumbing, ask: Ask, *, author: Author) -> None:
        self._prefix = prefix
        self._plumbing = plumbing
        self._ask = ask
        self._author = author

    @property
    def refspec(self) -> str:
        """What a fetch has to bring so that these branches are known."""
        return f"+refs/heads/{self._prefix}*:{_TRACKED}{self._prefix}*"

    def tips(self) -> dict[str, str]:
        """Branches at the remote and their commits, as the last fetch saw them."""
        start = _TRACKED + self._prefix
        refs: Mapping[str, Commit] = self._plumbing.refs()
        return {
            name.removeprefix(_TRACKED): commit.sha
            for name, commit in refs.items()
            if name.startswith(start)
        }

    def only_ours(self, tip: str, base: str) -> bool:
        """Whether all that the branch adds to `base` was committed by this product."""
        added = self._plumbing.missing_in(tip, base)
        email = f" <{self._author.email}> ".encode()
        for raw in self._plumbing.objects(added).values():
            head, _, message = raw.partition(b"\n\n")
            lines = dict(line.split(b" ", 1) for line in head.split(b"\n") if b" " in line)
            if email not in lines.get(b"committer", b"") or _OURS not in b"\n" + message:
                return False
        return True

    def change(self, tip: str) -> tuple[str, tuple[str, ...]]:
        """What a commit stands on, and the files that it changes."""
        _, parent = self._plumbing.history(tip, 2)
        return parent, tuple(edit.path for edit in self._plumbing.edits([tip])[tip])

    def message(self, sha: str) -> str:
        """A commit's message."""
        raw = self._plumbing.objects([sha]).get(sha, b"")
        return raw.partition(b"\n\n")[2].decode(errors="replace")

    def versions(self, sha: str, path: str, limit: int) -> tuple[tuple[str, str], ...]:
        """The newest commits that touched a file, and the file's blob in each, newest first."""
        command = ["log", "-n", str(limit), "--format=%H", sha, "--", path]
        found = []
        for commit in self._plumbing.must(command, "search commits").decode().split():
            blob = self._plumbing.tree(commit, [path]).files.get(path)
            if blob is not None:
                found.append((commit, blob.sha))
        return tuple(found)

    def added_by(self, sha: str, path: str) -> str:
        """Who brought a file to a branch, which `sha` is the tip of: a merge's own author."""
        command = ["log", "--first-parent", "-m", "--diff-filter=A", "-n", "1", "--format=%an"]
        command += ["--no-show-signature", sha, "--", path]
        name = self._plumbing.must(command, "search a commit").decode(errors="replace").strip()
        return "".join(c if c.isprintable() else " " for c in name)[:200] or "somebody"

    def create(
        self, branch: str, base: str, files: Mapping[str, bytes], *, message: str, at: datetime
    ) -> tuple[str, str]:
        """Commit the files on `base` and push that as a new branch.

        Returns:
            The commit, and why the remote has not taken it (empty: it has).

        Raises:
            TemporaryError: the remote can't be reached.
        """
        # The lease without a value: only where there is no such branch.
        return self._pushed(branch, base, files, message=message, at=at, lease="")

    def renew(
        self,
        branch: str,
        base: str,
        files: Mapping[str, bytes],
        *,
        message: str,
        at: datetime,
        over: str,
    ) -> tuple[str, str]:
        """The same in the place of a branch that still stands at `over`."""
        return self._pushed(branch, base, files, message=message, at=at, lease=over)

    def _pushed(
        self,
        branch: str,
        base: str,
        files: Mapping[str, bytes],
        *,
        message: str,
        at: datetime,
        lease: str,
    ) -> tuple[str, str]:
        scratch = f"refs/uici/proposing/{branch}"
        if scratch in self._plumbing.refs():
            self._plumbing.move(Move(scratch, None))  # a process was killed half-way
        edits = self._plumbing.changes(base, files)
        new = authored(message, self._author, at, edits)
        sha = self._plumbing.make(scratch, base, [new])
        try:
            return sha, self._push(f"{sha}:refs/heads/{branch}", f"refs/heads/{branch}:{lease}")
        finally:
            self._plumbing.move(Move(scratch, None))

    def delete(self, branch: str, tip: str) -> str:
        """Delete the branch if it still stands at `tip`; why it was not, or empty.

        Raises:
            TemporaryError: the remote can't be reached.
        """
        return self._push(f":refs/heads/{branch}", f"refs/heads/{branch}:{tip}")

    def _push(self, refspec: str, lease: str) -> str:
        command = ["push", "--porcelain", "--no-verify", f"--force-with-lease={lease}"]
        done = self._ask("push to", [*command, "origin", refspec])
        if done.status == 0:
            return ""
        answer = push_answer(done.stdout, done.stderr)
        if answer is None:
            raise TemporaryError(f"cannot push a branch: {reason_line(done.stderr)}")
        return answer
