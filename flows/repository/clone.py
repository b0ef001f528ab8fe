"""The agent's own bare clone, over GitPython's command runner. The only home of `git`.

Keeps the promise of `flows.repository.contract.Repository`. Every command runs in a process
group of its own with a time-out, so that a hanging helper (ssh, git-remote-https) dies
with it, and with none of the user's or the machine's Git configuration, so that
platform.yml alone decides. No working tree exists anywhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess  # PIPE and TimeoutExpired; GitPython starts the processes
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from flows.repository.contract import Commit, Listing, NewTip, Pushed, Tips
from flows.repository.creation import embedded_remote, new_bare
from flows.repository.environment import git_environment
from flows.repository.fast_import import authored, check_path
from flows.repository.plumbing import Done, Move, Plumbing
from flows.repository.remote import reason_line, redact_url, remote_slug, resolve_remote
from flows.repository.reports_branch import ReportsBranch, push_answer
from infrastructure.config_models import GitSettings
from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)

_log = structlog.get_logger("uici")

_FETCH_RACES = 3
_PACK_LIMIT = 50  # Git's own gc.autoPackLimit
_STALE_LOCK = re.compile(r"Unable to create '([^']+\.lock)': File exists")


class GitProcess:
    """Starts Git commands in one repository and ends them in time."""

    def __init__(self, directory: Path, *, remote: str | None, timeout: float) -> None:
        self._directory = directory
        self._timeout = timeout
        self._git, self._not_found = _load_git(directory)
        self._environment = git_environment(directory, remote)

    def run(self, command: Sequence[str], *, stdin: bytes = b"") -> Done:
        """See `flows.repository.plumbing.Runner`. A lock that a dead process left is removed."""
        done = self._spawn(command, stdin)
        stale = _STALE_LOCK.search(done.stderr) if done.status else None
        if stale and self._remove_stale(Path(stale[1])):
            done = self._spawn(command, stdin)
        return done

    def _spawn(self, command: Sequence[str], stdin: bytes) -> Done:
        try:
            process = self._git.execute(
                ["git", f"--git-dir={self._directory}", *command],
                istream=subprocess.PIPE,
                as_process=True,
                env=self._environment,
                start_new_session=True,
            )
        except (OSError, self._not_found) as exc:
            raise PermanentError("git cannot be started: install it and put it on PATH") from exc
        try:
            stdout, stderr = process.communicate(stdin, timeout=self._timeout)
        except subprocess.TimeoutExpired as exc:
            _kill_group(process)
            self._sweep()
            raise DeadlineExceededError(
                f"git {command[0]} did not finish in {self._timeout:g} s"
            ) from exc
        except BaseException:  # a person's Ctrl-C: no child may outlive us
            _kill_group(process)
            raise
        return Done(process.returncode, stdout, stderr.decode(errors="replace"))

    def _remove_stale(self, lock: Path) -> bool:
        """Remove a lock in this repository that is older than any command may live."""
        with contextlib.suppress(OSError):
            inside = lock.resolve().is_relative_to(self._directory)
            if inside and time.time() - lock.stat().st_mtime > self._timeout:
                lock.unlink()
                _log.warning("stale_git_lock_removed", file=lock.name)
                return True
        return False

    def _sweep(self) -> None:
        """Remove what killed fetches left: half packs would fill the disk, run by run."""
        for path in (self._directory / "objects" / "pack").glob("tmp_*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > self._timeout:
                    path.unlink()


class GitRepository:
    """See `flows.repository.contract.Repository`. Made by `open`."""

    def __init__(
        self,
        remote: str,
        directory: Path,
        settings: GitSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory = directory
        self.remote = redact_url(remote)
        self._settings = settings
        self._timeout = settings.timeout.total_seconds()
        self._sleep = sleep
        self._process = GitProcess(directory, remote=remote, timeout=self._timeout)
        self._plumbing = Plumbing(self._process, directory, f"the clone {directory}")
        self._hung_until = 0.0

    @classmethod
    def open(
        cls,
        remote: str | None,
        directory: Path,
        seed: Path | None,
        settings: GitSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> GitRepository:
        """The clone of a remote under the data directory, made if it is not there.

        Args:
            remote: address or path; None: the embedded bare repository
                `<directory>/state.git`, which is then the remote like any other.
            directory: the agent's data directory.
            seed: folder whose files become the embedded repository's first commit.
            settings: `git` of platform.yml.
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
                embedded_remote(data, seed, settings, partial(_seeding, settings))
            )
            address = resolve_remote(remote)
            clone = data / "repositories" / f"{remote_slug(address)}.git"
            if not clone.exists():
                with new_bare(clone, settings.branch):
                    pass
        except OSError as exc:
            raise PermanentError(
                f"cannot write the data directory {data}: {exc.strerror or exc}"
            ) from exc
        return cls(address, clone, settings, sleep=sleep)

    # ── in ──────────────────────────────────────────────────────────────────────

    def fetch(self, branch: str, reports_branch: str) -> Tips:
        """See `Repository.fetch`. With nothing new: this and one look at the refs."""
        reports = self._reports(reports_branch)
        before = self._plumbing.refs()
        done = self._fetch(branch, reports_branch)
        if _lacks(done, reports_branch):
            done = self._fetch(branch)
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
        return _tips(after, branch, reports, rewritten_from=old.sha if old and rewritten else None)

    def tips(self, branch: str, reports_branch: str) -> Tips:
        """See `Repository.tips`."""
        return _tips(self._plumbing.refs(), branch, self._reports(reports_branch))

    def tree(self, sha: str, paths: Sequence[str] = ()) -> Listing:
        """See `Repository.tree`."""
        return self._plumbing.tree(sha, paths)

    def directories(self, sha: str, path: str) -> tuple[str, ...]:
        """See `Repository.directories`."""
        return self._plumbing.directories(sha, path)

    def read(self, shas: Iterable[str]) -> Mapping[str, bytes]:
        """See `Repository.read`."""
        return self._plumbing.read(shas)

    def remember_good(self, branch: str, sha: str) -> None:
        """See `Repository.remember_good`."""
        with self._locked("write"):
            self._plumbing.move(Move(_good(branch), sha))

    # ── out ─────────────────────────────────────────────────────────────────────

    def commit(
        self, branch: str, files: Mapping[str, bytes | None], *, message: str, at: datetime
    ) -> NewTip | None:
        """See `Repository.commit`."""
        for path in files:
            check_path(path)
        reports = self._reports(branch)
        with self._locked("write"):
            refs = self._plumbing.refs()
            parent = refs.get(reports.ours)
            above = parent.sha if parent else None
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
        except UiciError as exc:
            error = str(exc)
        if landed != sha:  # somebody pushed it for us, or it was replayed on the way
            with contextlib.suppress(UiciError):
                sha = reports.renamed(sha, self._plumbing.refs())
        return Pushed(sha, error)

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
        done = self._process.run(["gc", "--auto", "--quiet"])
        if done.status != 0:
            _log.warning("git_gc_failed", reason=reason_line(done.stderr))

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

    def _fetch(self, *branches: str) -> Done:
        specs = [f"+refs/heads/{name}:{_tracking(name)}" for name in branches]
        options = ["--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
        command = ["fetch", *options, "origin", *specs]
        done = self._ask("fetch from", command)
        for _ in range(_FETCH_RACES):
            if done.status == 0 or "cannot lock ref" not in done.stderr:
                break  # else another process of ours has just fetched the same
            done = self._ask("fetch from", command)
        return done

    def _ask(self, what: str, command: Sequence[str]) -> Done:
        try:
            return self._process.run(command)
        except DeadlineExceededError as exc:
            self._hung_until = time.monotonic() + self._timeout
            raise TemporaryError(
                f"cannot {what} {self.remote}: no answer in {self._timeout:g} s"
            ) from exc

    # ── locks ───────────────────────────────────────────────────────────────────

    def _reports(self, branch: str) -> ReportsBranch:
        return ReportsBranch(branch, self._plumbing, locked=partial(self._locked, "write"))

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One holder among all processes and threads; freed by the holder's death.

        `write` is held for milliseconds around commits and replays, `push` for as long
        as the remote takes: a slow remote does not keep others from committing.
        """
        with (self.directory / f"uici-{name}.lock").open("ab") as file:
            give_up = time.monotonic() + self._timeout
            while not _try_lock(file.fileno()):
                if time.monotonic() > give_up:
                    raise TemporaryError(
                        f"another process has held the {name} lock of {self.directory}"
                        f" for {self._timeout:g} s"
                    )
                time.sleep(0.005)
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tracking(branch: str) -> str:
    return f"refs/remotes/origin/{branch}"


def _good(branch: str) -> str:
    return f"refs/uici/last-good/{branch}"


def _lacks(done: Done, branch: str) -> bool:
    return done.status != 0 and f"couldn't find remote ref refs/heads/{branch}\n" in done.stderr


def _tips(
    refs: dict[str, Commit],
    branch: str,
    reports: ReportsBranch,
    *,
    rewritten_from: str | None = None,
) -> Tips:
    desired, good = refs.get(_tracking(branch)), refs.get(_good(branch))
    return Tips(
        desired=desired.sha if desired else None,
        last_good=good.sha if good else None,
        reports=refs.get(reports.ours),
        pending=reports.pending(refs),
        rewritten_from=rewritten_from,
    )


def _seeding(settings: GitSettings, directory: Path) -> Plumbing:
    """Commands on a repository that has no remote yet."""
    timeout = settings.timeout.total_seconds()
    process = GitProcess(directory, remote=None, timeout=timeout)
    return Plumbing(process, directory, "the state repository")


# ── processes ───────────────────────────────────────────────────────────────────


def _load_git(directory: Path) -> tuple[Any, type[Exception]]:
    try:
        from git.cmd import Git  # noqa: PLC0415, TID251  # 0.14 CPU-s; this is GitPython's home
        from git.exc import GitCommandNotFound  # noqa: PLC0415, TID251  # as above
    except ImportError as exc:  # GitPython looks for the program when it is imported
        raise PermanentError("git cannot be started: install it and put it on PATH") from exc
    return Git(directory), GitCommandNotFound


def _kill_group(process: Any) -> None:
    """End a command with all its helpers, and let go of its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        process.communicate(timeout=1)
