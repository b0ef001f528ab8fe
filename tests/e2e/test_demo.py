"""The main job as a newcomer sees it: `uici demo`, on real parts, judged from outside."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from flows.local_stack import STACK_LABEL, docker
from flows.local_stack.engine import MACHINE_HOST, engine_answers
from flows.local_stack.remote import git

# Seconds. It takes a few; the bound keeps a hang from being taken for slowness.
TEAR_DOWN = 60
pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@contextlib.contextmanager
def demo(scratch: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`uici demo` as a child, with its scratch directory below `scratch`."""
    # Tests that run in the background of a shell ignore SIGINT, and a child inherits that.
    mind_ctrl_c = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{mind_ctrl_c}; from flows.cli import main; main()"
    environ = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    with subprocess.Popen(
        [sys.executable, "-c", code, "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environ, "TMPDIR": str(scratch)},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=TEAR_DOWN)


def nothing_is_left(pid: int, scratch: Path) -> None:
    """No container, network, image, process or file of that demo."""
    assert [path.name for path in scratch.iterdir()] == []
    label = f"label={STACK_LABEL}=demo-{pid}"
    if engine_answers(MACHINE_HOST):
        for listing in (("ps", "--all"), ("network", "ls"), ("images",)):
            assert docker(MACHINE_HOST, *listing, "--quiet", "--filter", label) == ""
    assert processes_below(scratch) == []


def processes_below(scratch: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(scratch) in (command := path.read_text(errors="replace")):
                found.append(command.replace("\0", " "))
    return found


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Short, because sockets lie below it; its own, to see that nothing stays."""
    with tempfile.TemporaryDirectory(prefix="uici-e2e-") as directory:
        yield Path(directory)


def test_the_demo_heals_everything_stays_on_request_and_leaves_nothing(scratch: Path) -> None:
    began = time.monotonic()
    with demo(scratch, "--keep") as process:
        assert process.stdout is not None
        lines = list(until(process.stdout, "stop"))
        assert time.monotonic() - began < 240  # twice the aim, for a busy machine
        output = "".join(lines)
        everything_was_proved(output)
        the_addresses_answer(output)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=TEAR_DOWN)
    assert process.returncode == 0, output + rest
    assert "Traceback" not in rest
    nothing_is_left(process.pid, scratch)


def until(lines: Iterable[str], label: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.startswith(label):
            return


def everything_was_proved(output: str) -> None:
    assert "all healed, verified and committed" in output, output
    assert "NOT PROVED" not in output
    for title in ("container killed", "container removed", "/health answers 503"):
        assert title in output
    assert "DevOpsAIAgentDown" in output
    assert "\x1b" not in output  # a pipe gets no colours and no spinners
    assert max(len(line) for line in output.splitlines()) <= 80


def the_addresses_answer(output: str) -> None:
    last = output[output.rindex("Still running") :]
    addresses = dict(re.findall(r"^(Prefect|Prometheus|Alerts) +(http://\S+)", last, re.MULTILINE))
    assert set(addresses) == {"Prefect", "Prometheus", "Alerts"}, output
    for url in addresses.values():
        with urllib.request.urlopen(url, timeout=5) as response:
            assert response.status == 200
    (remote,) = re.findall(r"^state repo +(\S+)", last, re.MULTILINE)
    assert "uici/reports" in git("branch", "--list", repository=Path(remote))


def test_ctrl_c_in_the_middle_clears_up(scratch: Path) -> None:
    with demo(scratch) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Prometheus and Alertmanager" in line:
                break
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=TEAR_DOWN)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    nothing_is_left(process.pid, scratch)
