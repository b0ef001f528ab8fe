"""The agent's own bare clone.

Keeps the promise of `flows.repository.contract.Repository` over `flows.repository.process`,
which starts the commands, and `flows.repository.plumbing`, which knows them. No working tree
exists anywhere.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from flows.repository.contract import (
    BranchMovedError,
    CloneDamagedError,
    Commit,
    DesiredChange,
    Listing,
    NewTip,
    Pushed,
    Renewal,
    Tips,
)
from flows.repository.creation import clone_path, embedded_remote, new_bare
from flows.repository.environment import access_variables
from flows.repository.fast_import import authored, check_path
from flows.repository.locks import wait_for
from flows.repository.plumbing import Move, Plumbing
from flows.repository.process import GitProcess
from flows.repository.proposal_branches import ProposalBranches
from flows.repository.remote import reason_line, redact_url, resolve_remote
from flows.repository.reports_branch import ReportsBranch, push_answer
from flows.repository.runner import Done
from flows.repository.salvage import Salvage, forget_old, set_aside
from flows.repository.signatures import Signatures
from flows.repository.signing import Signer
from flows.repository.trust import Trust
from infrastructure.config_models import GitSettings
from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)

_log = structlog.get_logger("uici")

_FETCH_RACES = 3
_RENEWED = "uici-renewed"  # in a clone that was made anew, until its last good revision is known
_PACK_LIMIT = 50  # Git's own gc.autoPackLimit


class GitRepository:
    """See `flows.repository.contract.Repository`. Made by `open`."""

    def __init__(
        self,
        remote: str,
        directory: Path,
        settings: GitSettings,
        *,
        proposals: str | None = None,
        folder: Path = Path(),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory = directory
        self._address = remote
        self.remote = redact_url(remote)
        self._settings = settings
        self._proposals = proposals
        self._timeout = settings.timeout.total_seconds()
        self._sleep = sleep
        self._folder = folder
        place = partial(_placed, folder)
        access = access_variables(settings, remote, place)
        self._process = GitProcess(directory, remote=remote, timeout=self._timeout, access=access)
        self._signer = Signer(settings.signing, place) if settings.signing else None
        self._trust: Trust | None = None
        if settings.signatures is not None:
            asked = Signatures(settings.signatures, place, timeout=self._timeout)
            memory = directory.with_name(f"{directory.name}.trusted.json")
            self._trust = Trust(asked, memory, branch=settings.branch)
        self._hung_until = 0.0
        self._look_anew()

    @classmethod
    def open(
        cls,
        remote: str | None,
        directory: Path,
        seed: Path | None,
        settings: GitSettings,
        *,
        proposals: str | None = None,
        folder: Path = Path(),
        sleep: Callable[[float], None] = time.sleep,
    ) -> GitRepository:
        """The clone of a remote under the data directory, made if it is not there.

        Args:
            remote: address or path; None: the embedded bare repository
                `<directory>/state.git`, which is then the remote like any other.
            directory: the agent's data directory.
            seed: folder whose files become the embedded repository's first commit.
            settings: `git` of platform.yml.
            proposals: how names of branches with proposals begin; None: there are none.
            folder: where relative paths of keys begin.
            sleep: waits between push attempts.

        Raises:
            PermanentError: the address is none, git is not installed, the seed is
                missing, or the data directory can't be written.
        """
        if settings.branch == settings.reports_branch:
            raise PermanentError(
                f"git.reportsBranch is the desired branch {settings.branch}:"
                " reports need a branch of their own"
            )
        data = directory.expanduser().resolve()
        try:
            remote = remote or str(
                embedded_remote(data, seed, settings, partial(_seeding, settings, folder))
            )
            address = resolve_remote(remote)
            clone = clone_path(data, address)
            if not clone.exists():
                with new_bare(clone, settings.branch):
                    pass
        except OSError as exc:
            raise PermanentError(
                f"cannot write the data directory {data}: {exc.strerror or exc}"
            ) from exc
        return cls(address, clone, settings, proposals=proposals, folder=folder, sleep=sleep)

    # ── in ──────────────────────────────────────────────────────────────────────

    def fetch(self, branch: str, reports_branch: str) -> Tips:
        """See `Repository.fetch`. With nothing new: this and one look at the refs."""
        reports = self._reports(reports_branch)
        before = self._plumbing.refs()
        also = self.proposals.refspec if self.proposals is not None else None
        done = self._fetch(branch, reports_branch, also=also)
        if _lacks(done, reports_branch):
            done = self._fetch(branch, also=also)
            if done.status == 0 and reports.tracking in before:
                self._plumbing.move(Move(reports.tracking, None))
        if _lacks(done, branch):
            # Also what a proxy's error page looks like: it may be there the next time.
            raise TemporaryError(
                f"{self.remote} has no branch {branch}: push desired state there or set git.branch"
            )
        if done.status != 0:
            raise TemporaryError(f"cannot fetch from {self.remote}: {reason_line(done.stderr)}")
        # A fetch that moved nothing says nothing; another process may have fetched between.
        same = not done.stderr and _tracking(branch) in before and reports.settled(before)
        after = before if same else reports.sync(before)
        old, new = before.get(_tracking(branch)), after[_tracking(branch)]
        rewritten = old and old.sha != new.sha and not self._plumbing.contains(new.sha, old.sha)
        tips = self._tips(after, branch, reports)
        return replace(tips, rewritten_from=old.sha if old and rewritten else None)

    def tips(self, branch: str, reports_branch: str) -> Tips:
        """See `Repository.tips`."""
        return self._tips(self._plumbing.refs(), branch, self._reports(reports_branch))

    def _tips(self, refs: dict[str, Commit], branch: str, reports: ReportsBranch) -> Tips:
        desired, good = refs.get(_tracking(branch)), refs.get(_good(branch))
        return Tips(
            desired=desired.sha if desired else None,
            last_good=good.sha if good else None,
            reports=refs.get(reports.ours),
            pending=reports.pending(refs),
            renewed=(self.directory / _RENEWED).exists(),
        )

    def tree(self, sha: str, paths: Sequence[str] = ()) -> Listing:
        """See `Repository.tree`."""
        return self._plumbing.tree(sha, paths)

    def history(self, sha: str, limit: int) -> tuple[str, ...]:
        """See `Repository.history`."""
        return self._plumbing.history(sha, limit)

    def changes(
        self, sha: str, path: str, *, limit: int, since: datetime | None
    ) -> tuple[DesiredChange, ...]:
        """See `Repository.changes`."""
        return self._plumbing.touching(sha, path, limit=limit, since=since)

    def directories(self, sha: str, path: str, *, depth: int) -> tuple[str, ...]:
        """See `Repository.directories`."""
        return self._plumbing.directories(sha, path, depth=depth)

    def read(self, shas: Iterable[str]) -> Mapping[str, bytes]:
        """See `Repository.read`."""
        return self._plumbing.read(shas)

    def forget(self, shas: Iterable[str]) -> None:
        """See `Repository.forget`."""
        self._plumbing.forget(shas)

    def untrusted(self, sha: str, *, tip: bool = False) -> str:
        """See `Repository.untrusted`."""
        if self._trust is None:
            return ""
        try:
            return self._trust.why_not(sha, self._plumbing, self._process, tip=tip)
        except (DeadlineExceededError, PermanentError) as exc:  # asked again the next time
            return str(exc)

    def remember_good(self, branch: str, sha: str) -> None:
        """See `Repository.remember_good`."""
        with self._locked("write"):
            self._plumbing.move(Move(_good(branch), sha))
            with contextlib.suppress(OSError):
                (self.directory / _RENEWED).unlink()

    # ── out ─────────────────────────────────────────────────────────────────────

    def commit(
        self,
        branch: str,
        files: Mapping[str, bytes | None],
        *,
        message: str,
        at: datetime,
        onto: str | None = None,
    ) -> NewTip | None:
        """See `Repository.commit`."""
        for path in files:
            check_path(path)
        reports = self._reports(branch)
        with self._locked("write"):
            refs = self._plumbing.refs()
            parent = refs.get(reports.ours)
            above = parent.sha if parent else None
            if onto is not None and onto != (above or ""):
                raise BranchMovedError(f"{branch} has moved in {self.directory} meanwhile")
            edits = self._plumbing.changes(above, files)
            if not edits:
                return None
            new = authored(message, self._settings.author, at, edits)
            base = reports.belated(refs)
            return NewTip(self._plumbing.make(reports.ours, above, [new], also=base), above)

    def push(self, branch: str, sha: str) -> Pushed:
        """See `Repository.push`. Rejected: fetch, replay what is ours on top, try again."""
        if time.monotonic() < self._hung_until:
            # It hung a moment ago: healing does not wait for it twice in a breath.
            return Pushed(sha, f"cannot push to {self.remote}: it did not answer in time")
        reports = self._reports(branch)
        landed = reason = ""
        try:
            with self._locked("push"):
                landed, reason = reports.push(self, self._settings.push, self._sleep)
            error = f"{self.remote} refused the push: {reason}" if reason else ""
        except CloneDamagedError:
            raise
        except UiciError as exc:
            error = str(exc)
        if landed != sha:  # somebody pushed it for us, or it was replayed on the way
            with contextlib.suppress(UiciError):
                sha = reports.renamed(sha, self._plumbing.refs())
        return Pushed(sha, error)

    @property
    def proposals(self) -> ProposalBranches | None:
        """See `Repository.proposals`."""
        if self._proposals is None:
            return None
        return self.branches(self._proposals)

    def branches(self, prefix: str) -> ProposalBranches:
        """See `Repository.branches`."""
        author = self._settings.author
        return ProposalBranches(prefix, self._plumbing, self._ask, author=author)

    def maintain(self, now: datetime) -> None:
        """See `Repository.maintain`: `git gc --auto` in the background, at `gcEvery`."""
        stamp = self.directory / "uici-gc"
        every = self._settings.retention.gc_every.total_seconds()
        packs = sum(1 for _ in (self.directory / "objects" / "pack").glob("*.pack"))
        if packs <= _PACK_LIMIT:
            with contextlib.suppress(FileNotFoundError):
                if now.timestamp() - stamp.stat().st_mtime < every:
                    return
        stamp.touch()
        os.utime(stamp, (now.timestamp(), now.timestamp()))
        self._process.sweep()
        done = self._process.run(["gc", "--auto", "--quiet"])
        self._plumbing.check(done)
        if done.status != 0:
            _log.warning("git_gc_failed", reason=reason_line(done.stderr))

    # ── damage ──────────────────────────────────────────────────────────────────

    def renew(self, branch: str, reports_branch: str, *, reason: str) -> Renewal | None:
        """See `Repository.renew`."""
        try:
            lock = self.directory.with_name(f"{self.directory.name}.renewal.lock")
            with lock.open("ab") as file:
                wait_for(file, str(lock), timeout=self._timeout)
                if _identity(self.directory) != self._known_as:
                    self._look_anew()
                    return None
                done = self._renewed(branch, reports_branch, reason)
                self._look_anew()
        except (OSError, UiciError) as exc:
            why = f"{exc.strerror}: {exc.filename}" if isinstance(exc, OSError) else exc
            raise CloneDamagedError(
                f"the clone {self.directory} is damaged ({reason}) and can't be made anew"
                f" from {self.remote}, so nothing was changed: {why}",
                reason=reason,
            ) from exc
        forget_old(self.directory)
        _log.warning(
            "clone_damaged",
            clone=done.clone,
            reason=reason,
            set_aside=done.aside,
            salvaged=done.salvaged,
            lost=done.lost,
        )
        return done

    def _renewed(self, branch: str, reports_branch: str, reason: str) -> Renewal:
        aside: Path | None = None
        try:
            with new_bare(self.directory, branch) as scratch:
                fresh = GitRepository(
                    self._address,
                    scratch,
                    self._settings,
                    proposals=self._proposals,
                    folder=self._folder,
                    sleep=self._sleep,
                )
                fresh.fetch(branch, reports_branch)
                salvage = Salvage(fresh._plumbing, fresh._process, self.directory)
                (scratch / _RENEWED).touch()
                salvage.last_good(_good(branch))
                saved = salvage.reports(fresh._reports(reports_branch))
                aside = set_aside(self.directory)
        except (OSError, UiciError):
            if aside is not None and not self.directory.exists():
                aside.rename(self.directory)
            raise
        where = str(aside or "")
        return Renewal(str(self.directory), reason, where, saved.commits, saved.lost)

    def _look_anew(self) -> None:
        self._known_as = _identity(self.directory)
        self._plumbing = Plumbing(
            self._process,
            self.directory,
            f"the clone {self.directory}",
            signer=self._signer,
        )

    # ── the network ─────────────────────────────────────────────────────────────

    def fetch_reports(self, branch: str) -> None:
        """See `flows.repository.reports_branch.Network`."""
        reports = self._reports(branch)
        done = self._fetch(branch)
        if _lacks(done, branch):
            if reports.tracking in self._plumbing.refs():
                self._plumbing.move(Move(reports.tracking, None))
        elif done.status != 0:
            raise TemporaryError(f"cannot fetch from {self.remote}: {reason_line(done.stderr)}")

    def push_commit(self, branch: str, sha: str) -> str:
        """See `flows.repository.reports_branch.Network`."""
        command = ["push", "--porcelain", "--no-verify", "origin", f"{sha}:refs/heads/{branch}"]
        done = self._ask("push to", command)
        if done.status == 0:
            return ""
        answer = push_answer(done.stdout, done.stderr)
        if answer is None:
            raise TemporaryError(f"cannot push to {self.remote}: {reason_line(done.stderr)}")
        return answer

    def _fetch(self, *branches: str, also: str | None = None) -> Done:
        specs = [f"+refs/heads/{name}:{_tracking(name)}" for name in branches]
        options = ["--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
        if also is not None:  # in the same request: branches that are gone are forgotten
            specs.append(also)
            options.append("--prune")
        command = ["fetch", *options, "origin", *specs]
        done = self._ask("fetch from", command)
        for _ in range(_FETCH_RACES):
            if done.status == 0 or "cannot lock ref" not in done.stderr:
                break  # else another process of ours has just fetched the same
            done = self._ask("fetch from", command)
        return done

    def _ask(self, what: str, command: Sequence[str]) -> Done:
        try:
            done = self._process.run(command)
        except DeadlineExceededError as exc:
            self._hung_until = time.monotonic() + self._timeout
            raise TemporaryError(
                f"cannot {what} {self.remote}: no answer in {self._timeout:g} s"
            ) from exc
        self._plumbing.check(done, local=False)
        return done

    # ── locks ───────────────────────────────────────────────────────────────────

    def _reports(self, branch: str) -> ReportsBranch:
        return ReportsBranch(branch, self._plumbing, locked=partial(self._locked, "write"))

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One holder among all processes and threads; freed by the holder's death.

        `write` is held for milliseconds around commits and replays, `push` for as long
        as the remote takes: a slow remote does not keep others from committing.
        """
        try:
            file = (self.directory / f"uici-{name}.lock").open("ab")
        except (FileNotFoundError, NotADirectoryError) as exc:
            reason = "the folder is not there"
            raise CloneDamagedError(
                f"the clone {self.directory} is damaged: {reason}", reason=reason
            ) from exc
        except OSError as exc:
            raise TemporaryError(
                f"cannot write the clone {self.directory}: {exc.strerror}"
            ) from exc
        with file:
            wait_for(file, f"the {name} lock of {self.directory}", timeout=self._timeout)
            yield


def _identity(directory: Path) -> int | None:
    """Tells a folder from the one that takes its place."""
    with contextlib.suppress(OSError):
        return directory.stat().st_ino
    return None


def _tracking(branch: str) -> str:
    return f"refs/remotes/origin/{branch}"


def _good(branch: str) -> str:
    return f"refs/uici/last-good/{branch}"


def _lacks(done: Done, branch: str) -> bool:
    return done.status != 0 and f"couldn't find remote ref refs/heads/{branch}\n" in done.stderr


def _placed(folder: Path, path: str) -> Path:
    """Where a file that the settings name is."""
    return (folder / Path(path).expanduser()).absolute()


def _seeding(settings: GitSettings, folder: Path, directory: Path) -> Plumbing:
    """Commands on a repository that has no remote yet."""
    timeout = settings.timeout.total_seconds()
    process = GitProcess(directory, remote=None, timeout=timeout)
    signer = Signer(settings.signing, partial(_placed, folder)) if settings.signing else None
    return Plumbing(process, directory, "the state repository", signer=signer)
