"""Git's objects and refs in Python's words: trees, blobs, refs, commits without a work tree.

Knows the commands, not how they are started (`flows.repository.process`) and not what the
branches mean (`flows.repository.reports_branch`).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.repository.contract import (
    Blob,
    CloneDamagedError,
    Commit,
    DesiredChange,
    Ignored,
    Listing,
)
from flows.repository.damage import damage_of
from flows.repository.fast_import import Edit, NewCommit, import_stream
from flows.repository.ref_files import RefFiles
from flows.repository.remote import reason_line
from flows.repository.runner import Done, Runner
from flows.repository.signing import Signer
from infrastructure.errors import TemporaryError

ABSENT = "0" * 40  # as an expected old value: the ref must not exist
_SIGNING = "refs/uici/signing"  # commits that are not signed yet
_CACHE_BYTES = 32 * 1024 * 1024  # blobs kept in memory: about 30,000 Service files
_ARGUMENTS = 1000  # paths that one command is given
_SPECIAL_MODES = {"120000": "a symbolic link is not followed", "160000": "a submodule is not read"}


@dataclass(frozen=True, slots=True)
class Move:
    """A ref's change: `new` None deletes; `old` is what it must be now, None for anything."""

    ref: str
    new: str | None
    old: str | None = None


class Plumbing:
    """Commands on one repository, `directory`. Safe to use from several threads.

    `where` is what messages call it.
    """

    def __init__(
        self, runner: Runner, directory: Path, where: str, *, signer: Signer | None = None
    ) -> None:
        self._runner = runner
        self._signer = signer
        self._directory = directory
        self._where = where
        self._ref_files = RefFiles(directory)
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._blob_bytes = 0
        self._guard = threading.Lock()

    def must(self, command: Sequence[str], what: str, *, stdin: bytes = b"") -> bytes:
        """Standard output of a command that has no reason to fail.

        Raises:
            CloneDamagedError: Git says that files of the clone are not as they should be.
            TemporaryError: it failed: a full disk, a lock.
        """
        done = self._runner.run(command, stdin=stdin)
        self.check(done)
        if done.status != 0:
            raise TemporaryError(f"cannot {what} in {self._where}: {reason_line(done.stderr)}")
        return done.stdout

    def check(self, done: Done, *, local: bool = True) -> None:
        """Raise CloneDamagedError if a command's words mean that; see `damage_of`.

        Git goes on without what it can't read, so one that succeeded may have words, too.
        """
        if done.status == 0 and not done.stderr:
            return
        damage = damage_of(self._runner, self._directory, done, local=local)
        if damage:
            raise self._damaged(damage)

    def _damaged(self, reason: str) -> CloneDamagedError:
        return CloneDamagedError(f"{self._where} is damaged: {reason}", reason=reason)

    # ── refs ────────────────────────────────────────────────────────────────────

    def refs(self) -> dict[str, Commit]:
        """Every ref by its full name."""
        now = self._ref_files.look()
        known = self._ref_files.known(now)
        if known is not None:
            return known
        command = ["for-each-ref", "--format=%(objectname) %(committerdate:unix) %(refname)"]
        refs = {}
        for line in self.must(command, "read the refs").decode().splitlines():
            sha, seconds, name = line.split(" ", 2)
            refs[name] = Commit(sha, _moment(seconds))
        self._ref_files.told(now, refs)
        return refs

    def move(self, *moves: Move) -> None:
        """All of them or none. Raises TemporaryError when an old value is not as expected."""
        lines = ["start"]
        for move in moves:
            verb = f"update {move.ref} {move.new}" if move.new else f"delete {move.ref}"
            lines.append(verb if move.old is None else f"{verb} {move.old}")
        stdin = "\n".join([*lines, "prepare", "commit", ""]).encode()
        self.must(["update-ref", "--stdin"], "move a branch", stdin=stdin)

    def contains(self, sha: str, ancestor: str) -> bool:
        """Whether `ancestor` is in the history of `sha`."""
        done = self._runner.run(["merge-base", "--is-ancestor", ancestor, sha])
        self.check(done, local=False)  # a commit that is nowhere is contained in nothing
        return done.status == 0

    def history(self, sha: str, limit: int) -> tuple[str, ...]:
        """The commit and what the branch was before it, newest first, merges' sides left out."""
        command = ["rev-list", "--first-parent", "-n", str(limit), sha]
        return tuple(self.must(command, "list commits").decode().split())

    def touching(
        self, sha: str, path: str, *, limit: int, since: datetime | None
    ) -> tuple[DesiredChange, ...]:
        """Commits that touched a file, or all, newest first; endless words are cut."""
        words = "--format=%H%x00%ct%x00%<(500,trunc)%an%x00%<(8000,trunc)%s"
        command = ["log", "-z", words, "-n", str(limit)]
        command += [f"--since={int(since.timestamp())}"] if since is not None else []
        command += ["--no-show-signature", "--no-notes", sha, *(["--", path] if path else ["--"])]
        output = self.must(command, "list changes").decode(errors="replace").split("\0")
        return tuple(
            DesiredChange(found, _moment(seconds), author.strip(), subject.strip())
            for found, seconds, author, subject in zip(*[iter(output)] * 4, strict=False)
        )

    # ── trees and blobs ─────────────────────────────────────────────────────────

    def tree(self, sha: str, paths: Sequence[str] = ()) -> Listing:
        """Files of a commit, below any of `paths` if given."""
        command = ["ls-tree", "-r", "-l", "-z", "--full-tree", sha, *paths]
        files: dict[str, Blob] = {}
        ignored: list[Ignored] = []
        for record in self.must(command, "list a commit's files").split(b"\0")[:-1]:
            meta, _, name = record.partition(b"\t")
            mode, _kind, blob, size = meta.decode().split()
            path = name.decode(errors="backslashreplace")
            why = _SPECIAL_MODES.get(mode) or _odd_name(path)
            if why:
                ignored.append(Ignored(path, why))
            elif not size.isdigit():  # Git's word for it is BAD
                raise self._damaged(f"the content of {path} is missing")
            else:
                files[path] = Blob(blob, int(size))
        return Listing(files, tuple(ignored))

    def directories(self, sha: str, path: str, *, depth: int) -> tuple[str, ...]:
        """Folders `depth` levels below `path`, in order; a process a level and 1,000 folders."""
        found = [path]
        for _ in range(depth):
            below: list[str] = []
            for first in range(0, len(found), _ARGUMENTS):
                asked = [f"{folder}/" for folder in found[first : first + _ARGUMENTS]]
                command = ["ls-tree", "-d", "-z", "--name-only", "--full-tree", sha, "--", *asked]
                output = self.must(command, "list a commit's folders")
                below += [name.decode(errors="replace") for name in output.split(b"\0")[:-1]]
            found = below
        return tuple(found)

    def read(self, shas: Iterable[str]) -> Mapping[str, bytes]:
        """Blobs by identity; one process for all that are not in memory."""
        wanted = list(dict.fromkeys(shas))
        with self._guard:
            found = {sha: self._blobs[sha] for sha in wanted if sha in self._blobs}
        missing = [sha for sha in wanted if sha not in found]
        fresh = self.objects(missing) if missing else {}
        if len(found) + len(fresh) != len(wanted):
            raise self._damaged("objects are missing")
        self._remember(fresh)
        return {**found, **fresh}

    def forget(self, shas: Iterable[str]) -> None:
        """Keep these blobs in memory no longer."""
        with self._guard:
            for sha in shas:
                self._blob_bytes -= len(self._blobs.pop(sha, b""))

    def objects(self, shas: Sequence[str]) -> dict[str, bytes]:
        """Raw objects; what does not exist has no entry."""
        request = "".join(f"{sha}\n" for sha in shas).encode()
        return dict(_batch(self.must(["cat-file", "--batch"], "read objects", stdin=request)))

    def _remember(self, blobs: Mapping[str, bytes]) -> None:
        with self._guard:
            for sha, content in blobs.items():
                if sha not in self._blobs:
                    self._blobs[sha] = content
                    self._blob_bytes += len(content)
            while self._blob_bytes > _CACHE_BYTES:
                _, content = self._blobs.popitem(last=False)
                self._blob_bytes -= len(content)

    # ── commits ─────────────────────────────────────────────────────────────────

    def changes(self, parent: str | None, files: Mapping[str, bytes | None]) -> tuple[Edit, ...]:
        """What of this differs from the parent: a commit without a change is not made."""
        known = self.tree(parent, sorted(files)).files if parent and files else {}
        edits = []
        for path, content in sorted(files.items()):
            blob = known.get(path)
            if content is None:
                edits += [Edit(path)] if blob else []
            elif blob is None or blob.sha != blob_id(content):
                edits.append(Edit(path, content=content))
        return tuple(edits)

    def make(
        self,
        ref: str,
        parent: str | None,
        commits: Sequence[NewCommit],
        *,
        also: Mapping[str, str] | None = None,
    ) -> str:
        """Write the commits and move `ref` to the last, only forward from its value now.

        `also`: refs by name that are moved to existing commits along with it, forward, too.
        With a signer, all of them are signed before the ref moves.
        """
        if self._signer is not None:
            return self._make_signed(self._signer, ref, parent, commits, also=also or {})
        stream = import_stream(ref, parent, commits, also=also)
        output = self.must(["fast-import", "--quiet", "--done"], "write a commit", stdin=stream)
        sha = output.decode().split()[-1]
        seconds = commits[-1].committer.split()[-2]
        self._ref_files.made(Commit(sha, _moment(seconds.decode())))
        return sha

    def _make_signed(
        self,
        signer: Signer,
        ref: str,
        parent: str | None,
        commits: Sequence[NewCommit],
        *,
        also: Mapping[str, str],
    ) -> str:
        """As `make`. `git fast-import` signs nothing: what it made is made once more, signed."""
        scratch = f"{_SIGNING}/{hashlib.sha256(ref.encode()).hexdigest()[:12]}"
        before = self.refs()
        if scratch in before:
            self.move(Move(scratch, None))  # a process was killed half-way
        stream = import_stream(scratch, parent, commits, marks=True)
        output = self.must(["fast-import", "--quiet", "--done"], "write a commit", stdin=stream)
        made = output.decode().split()
        raw = self.objects(made)
        above = parent
        for sha in made:
            done = signer.sign(self._runner, raw[sha], above)
            self.check(done)
            above = done.stdout.decode().strip()
            if done.status != 0 or not above:
                raise TemporaryError(
                    f"cannot sign a commit in {self._where}: {reason_line(done.stderr)}:"
                    " check git.signing"
                )
        assert above is not None  # noqa: S101  # there is at least one commit
        old = before.get(ref)
        self.move(
            Move(ref, above, old.sha if old else ABSENT),
            *(Move(name, sha) for name, sha in also.items()),
            Move(scratch, None),
        )
        return above

    def edits(self, shas: Sequence[str]) -> dict[str, list[Edit]]:
        """What each commit changed against its parent, blobs by identity."""
        command = ["diff-tree", "--stdin", "-r", "-z", "--root", "--no-renames", "--raw", "-m"]
        request = "".join(f"{sha}\n" for sha in shas).encode()
        output = self.must(command, "compare commits", stdin=request)
        found: dict[str, list[Edit]] = {sha: [] for sha in shas}
        fields = iter(output.decode(errors="surrogateescape").split("\0"))
        current = ""
        for text in fields:
            if text.startswith(":"):
                blob = text.split(" ")[3]
                found[current].append(Edit(next(fields), blob=None if blob == ABSENT else blob))
            elif text:
                current = text.split()[0]
        return found

    def missing_in(self, ours: str, *theirs: str) -> list[str]:
        """Commits of `ours` that none of `theirs` contains, oldest first."""
        command = ["rev-list", "--reverse", "--topo-order", ours, *(f"^{sha}" for sha in theirs)]
        return self.must(command, "list commits").decode().split()


def blob_id(content: bytes) -> str:
    """The identity that Git gives a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _odd_name(path: str) -> str | None:
    parts = path.split("/")
    if any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts):
        return "its path leads out of the repository"
    if "\\" in path or any(ord(char) < 32 or ord(char) == 127 for char in path):
        return "its name is not plain text"
    return None


def _batch(output: bytes) -> Iterator[tuple[str, bytes]]:
    """The answers of `git cat-file --batch`: `<sha> <type> <size>`, content, newline."""
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        header = output[position:end].decode().split()
        position = end + 1
        if header[-1] == "missing":
            continue
        size = int(header[2])
        yield header[0], output[position : position + size]
        position += size + 1


def _moment(seconds: str) -> datetime:
    """A committer's time. Anyone can write any: what is no date counts as the beginning."""
    try:
        return datetime.fromtimestamp(int(seconds or 0), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
