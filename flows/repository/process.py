"""Git commands in one repository, over GitPython's command runner. The only home of `git`.

Every command runs in a process group of its own with a time-out, so that a hanging helper
(ssh, git-remote-https) dies with it, and with none of the user's or the machine's Git
configuration, so that platform.yml alone decides. What killed commands leave (locks, half
packs) is removed when it is older than any command may live.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess  # PIPE and TimeoutExpired; GitPython starts the processes
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from flows.repository.environment import git_environment
from flows.repository.runner import Done
from infrastructure.errors import DeadlineExceededError, PermanentError

_log = structlog.get_logger("uici")

_STALE_LOCK = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_LOCK_POLL = 0.02  # s
_LOCK_SLACK = 1.0  # s; a lock seen young gets old enough to be called stale
_FATAL = 128  # how Git ends when it can't go on
# What a killed or failed command leaves: half packs and objects, and crash reports.
_LEFTOVERS = ("objects/pack/tmp_*", "objects/??/tmp_obj_*", "objects/tmp_*", "fast_import_crash_*")


class GitProcess:
    """Starts Git commands in one repository and ends them in time."""

    def __init__(
        self,
        directory: Path,
        *,
        remote: str | None,
        timeout: float,
        access: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directory = directory
        self._timeout = timeout
        self._sleep = sleep
        self._git, self._not_found = _load_git(directory)
        self._environment = git_environment(directory, remote, access)

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """See `flows.repository.plumbing.Runner`.

        Another process's lock is waited for; one that is older than any command may live
        was left by a dead process and is removed.
        """
        give_up = time.monotonic() + self._timeout + _LOCK_SLACK
        done = self._spawn(command, stdin, environment)
        while done.status != 0 and time.monotonic() < give_up:
            lock = self._own_lock(done.stderr)
            if lock is None:
                break
            if not self._remove_stale(lock):
                self._sleep(_LOCK_POLL)
                if lock.exists():
                    continue
            done = self._spawn(command, stdin, environment)
        if done.status >= _FATAL or done.status < 0:  # below 0: ended by a signal
            self.sweep()
        return done

    def sweep(self) -> None:
        """Remove what killed commands left: half packs would fill the disk, run by run."""
        for path in self._leftovers():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > self._timeout:
                    path.unlink()

    def _leftovers(self) -> Iterator[Path]:
        for pattern in _LEFTOVERS:
            with contextlib.suppress(OSError):
                yield from self._directory.glob(pattern)

    def _spawn(
        self, command: Sequence[str], stdin: bytes, environment: Mapping[str, str] | None
    ) -> Done:
        if not self._directory.is_dir():
            return Done(_FATAL, b"", f"fatal: not a git repository: '{self._directory}'\n")
        try:
            process = self._git.execute(
                ["git", f"--git-dir={self._directory}", *command],
                istream=subprocess.PIPE,
                as_process=True,
                env={**self._environment, **(environment or {})},
                start_new_session=True,
            )
        except (OSError, self._not_found) as exc:
            raise PermanentError("git cannot be started: install it and put it on PATH") from exc
        try:
            stdout, stderr = process.communicate(stdin, timeout=self._timeout)
        except subprocess.TimeoutExpired as exc:
            _kill_group(process)
            self.sweep()
            raise DeadlineExceededError(
                f"git {_name(command)} did not finish in {self._timeout:g} s"
            ) from exc
        except BaseException:  # a person's Ctrl-C: no child may outlive us
            _kill_group(process)
            raise
        return Done(process.returncode, stdout, stderr.decode(errors="replace"))

    def _own_lock(self, stderr: str) -> Path | None:
        """The lock in this repository that kept a command from its work."""
        told = _STALE_LOCK.search(stderr)
        lock = Path(told[1]).resolve() if told else None
        return lock if lock is not None and lock.is_relative_to(self._directory) else None

    def _remove_stale(self, lock: Path) -> bool:
        """Remove a lock that is older than any command may live; false: it is younger."""
        with contextlib.suppress(OSError):
            if time.time() - lock.stat().st_mtime > self._timeout:
                lock.unlink()
                _log.warning("stale_git_lock_removed", file=lock.name)
                return True
        return False


def _name(command: Sequence[str]) -> str:
    """The command without what stands before it."""
    words = list(command)
    while len(words) > 2 and words[0] == "-c":
        del words[:2]
    return words[0]


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
