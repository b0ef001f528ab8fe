"""One child process: started, waited for, ended by its own pid.

Children live in a process group of their own, so that Ctrl-C in a terminal reaches the
parent only, which then ends them in order. Should the parent be killed with -9, the
kernel sends SIGTERM to each child (`setpriv --pdeathsig`, from util-linux). The kernel
ties that signal to the *thread* that started the child: start children from a thread
that lives as long as they should, normally the main thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infrastructure.errors import PermanentError

# Where distributions keep servers; not on every user's PATH.
_SERVER_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_TAIL_LINES = 15
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Child:
    """A running child. `log` has its stdout and stderr."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The last lines of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def wait_until(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Return once `ready` says so.

        Raises:
            PermanentError: the child ended, or was not ready within `timeout` seconds;
                with the tail of its log.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            code = self.process.poll()
            if code is not None:
                raise PermanentError(f"{self.name} ended with exit code {code}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise PermanentError(
                    f"{self.name} was not ready after {timeout:.0f} s:\n{self.tail()}"
                )
            time.sleep(_POLL_SECONDS)
        if self.process.poll() is not None:  # somebody else answered on its address
            raise PermanentError(f"{self.name} ended while it started:\n{self.tail()}")

    def end(self, *, grace: float) -> None:
        """SIGTERM, `grace` seconds to finish, then SIGKILL to the whole process group."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=grace)
        # The leader is gone or does not listen; its own children must not stay.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def child(
    name: str,
    argv: Sequence[str],
    *,
    log: Path,
    environ: Mapping[str, str] | None = None,
    grace: float = 10,
) -> Iterator[Child]:
    """Start `argv` and end it with the context. Does not wait for readiness.

    Args:
        name: what error messages call it.
        argv: program and arguments; the program as a path or by name.
        log: file for its stdout and stderr.
        environ: its whole environment; None: this process' own.
        grace: seconds between SIGTERM and SIGKILL.

    Raises:
        PermanentError: there is no such program.
    """
    program = find_program(argv[0])
    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
            [*guard, program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environ is None else dict(environ),
            start_new_session=True,
        )
    started = Child(name, process, log)
    try:
        yield started
    finally:
        started.end(grace=grace)


def find_program(*names: str) -> str:
    """Path of the first program that is installed.

    Raises:
        PermanentError: none is, with the next step.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SERVER_DIRECTORIES])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise PermanentError(f"{names[0]} is not installed: run `make setup`, or put it on PATH")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET of this loopback address answers 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - our own http address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
