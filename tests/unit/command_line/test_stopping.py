"""Ctrl-C in a command that changes something."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer

from flows.command_line import manual
from flows.command_line.commands import acting
from flows.command_line.commands.options import INTERRUPTED
from flows.command_line.session import Session
from flows.command_line.stopping import stopping
from flows.listener import NullListener, RunRequest, RunStoppedError
from flows.report import IncidentResult
from infrastructure.operations import OperationOutcome
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

REQUEST = RunRequest(None, None, None, "run-1")


class Interrupts(NullListener):
    """Presses Ctrl-C at a moment of the run."""

    def __init__(self, moment: str) -> None:
        self._moment = moment

    def _press(self, moment: str) -> None:
        if moment == self._moment:
            signal.raise_signal(signal.SIGINT)

    def drifts_found(self, comparison: object) -> None:  # noqa: ARG002 - the protocol's
        self._press("look")

    def operation_finished(self, incident: object, outcome: OperationOutcome) -> None:  # noqa: ARG002 - the protocol's
        self._press("operation")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    grace = {"compare": {"grace": {"missing": "0s", "confirmAfter": "0s"}}}
    with loop_world(tmp_path, platform=grace) as made:
        made.commit(shop=service_yaml("shop"))
        yield made


def test_what_is_under_way_is_verified_reported_and_committed(
    world: LoopWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = manual.Asked("create", "shop", {})
    with stopping() as end:
        listener = end.listener(Interrupts("operation"))
        done = manual.run(asked, world.runtime, listener, run_id="run-1")
    assert done.report is not None
    assert [i.result for i in done.report.incidents] == [IncidentResult.RECOVERED]
    assert len(world.reports()) > 1
    assert "stopping before the next step" in capfd.readouterr().err


@pytest.fixture
def opened(world: LoopWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands open is that world."""
    session = nullcontext(Session(world.runtime))
    monkeypatch.setattr(acting, "opened", lambda *_, **__: session)


@pytest.mark.usefixtures("opened")
def test_the_exit_code_tells_of_it_where_nothing_was_left_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.log_listener.LogListener", lambda: Interrupts("operation"))
    with pytest.raises(typer.Exit) as ended:
        acting.run_operation("create", "shop")
    assert ended.value.exit_code == INTERRUPTED
    assert "create → recovered" in capsys.readouterr().out


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As a shell starts a command in the foreground; in the background SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("opened", "interruptible")
def test_a_read_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_read(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)  # to this thread, at once

    monkeypatch.setattr(manual, "run", slow_read)
    with pytest.raises(KeyboardInterrupt):
        acting.run_operation("get_logs", "shop")


def test_before_anything_was_done_there_is_nothing_to_report(world: LoopWorld) -> None:
    with stopping() as end, pytest.raises(RunStoppedError):
        world.run(listener=end.listener(Interrupts("look")))
    assert end.report is None
    assert [call.primitive for _, call in world.engine.calls] == []


def test_the_first_one_only_asks_and_afterwards_it_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping() as end:
        signal.raise_signal(signal.SIGINT)
        assert end.asked.is_set()
    assert signal.getsignal(signal.SIGINT) is before


SLOW = """
import os, signal, time
from concurrent.futures import ThreadPoolExecutor
from flows.command_line.stopping import stopping
with stopping(), ThreadPoolExecutor() as pool:
    pool.submit(time.sleep, 60)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
"""


def test_the_second_one_waits_for_no_operation() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == INTERRUPTED
    assert done.stderr.count("\n") == 1


WRITING = """
import os, signal, sys
from flows.command_line.stopping import stopping
class Slow:
    def write(self, text):
        signal.raise_signal(signal.SIGINT)  # in the middle of a line
        raise RuntimeError("reentrant call")
with stopping():
    real, sys.stderr = sys.stderr, Slow()
    signal.raise_signal(signal.SIGINT)
    sys.stderr = real
    print("goes on")
"""


def test_it_is_said_past_what_is_being_written() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITING], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")
    assert done.stderr.startswith("stopping before the next step")
