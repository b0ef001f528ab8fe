"""Ctrl-C in a command that changes something."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.command_line import manual
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
            os.kill(os.getpid(), signal.SIGINT)

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
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = manual.Asked("create", "shop", {})
    with stopping() as end:
        listener = end.listener(Interrupts("operation"))
        done = manual.run(asked, world.runtime, listener, run_id="run-1")
    assert done.report is not None
    assert [i.result for i in done.report.incidents] == [IncidentResult.RECOVERED]
    assert len(world.reports()) > 1
    assert "stopping before the next step" in capsys.readouterr().err


def test_before_anything_was_done_there_is_nothing_to_report(world: LoopWorld) -> None:
    with stopping() as end, pytest.raises(RunStoppedError):
        world.run(listener=end.listener(Interrupts("look")))
    assert end.report is None
    assert [call.primitive for _, call in world.engine.calls] == []


def test_the_second_one_ends_at_once_and_afterwards_it_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping() as end:
        os.kill(os.getpid(), signal.SIGINT)
        assert end.asked.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
