"""A run that is asked to end in the middle: what was done is told, the rest is not begun."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State

from flows.listener import Listeners, NullListener, RunRequest, RunStoppedError, StopListener
from flows.prefect_edge.flow import Loop, _guarded, stop_requested
from flows.prefect_edge.listener import Outbox, Told
from flows.reconcile import reconcile
from flows.report import IncidentResult, RunReport, RunResult, report_path
from infrastructure.operations import OperationOutcome
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, loop_world, service_yaml

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient


class Stopper(NullListener):
    """A person who cancels after so many operations, and keeps the report."""

    def __init__(self, after: int) -> None:
        self._left = after
        self.report: RunReport | None = None

    def stopped(self) -> bool:
        return self._left <= 0

    def operation_finished(self, incident: object, outcome: OperationOutcome) -> None:  # noqa: ARG002 - the protocol's
        self._left -= 1

    def run_finished(self, report: RunReport) -> None:
        self.report = report


class LateStopper(Stopper):
    """Cancels once the intent is committed, before the first operation."""

    def intent_committed(self, result: object) -> None:  # noqa: ARG002 - the protocol's
        self._left = 0


def stop_run(world: LoopWorld, person: Stopper) -> RunReport:
    """A run that the person stops; what it reported."""
    with pytest.raises(RunStoppedError, match="the next run looks again"):
        world.run(listener=Listeners(person, StopListener(person.stopped)))
    assert person.report is not None
    return person.report


def operations(world: LoopWorld) -> list[str]:
    return [call.primitive for _, call in world.engine.calls]


def open_intents(world: LoopWorld) -> list[str]:
    names = git(world.remote, "ls-tree", "-r", "--name-only", "uici/reports").splitlines()
    return [name for name in names if name.startswith("intents/")]


def test_a_run_stopped_between_two_incidents_tells_both_and_begins_no_other(
    tmp_path: Path,
) -> None:
    # One at a time: otherwise both may have begun when the person cancels.
    with loop_world(tmp_path, platform={"reconcile": {"concurrentIncidents": 1}}) as world:
        world.commit(a=service_yaml("a"), b=service_yaml("b"))
        world.run()
        world.engine.calls.clear()
        world.engine.kill("a")
        world.engine.kill("b")
        report = stop_run(world, Stopper(after=1))
        assert operations(world) == ["start"]
        assert {r.incident.root: r.result for r in report.incidents} == {
            f"{ENVIRONMENT}/a": IncidentResult.RECOVERED,
            f"{ENVIRONMENT}/b": IncidentResult.HELD,
        }
        assert report.result is RunResult.DRIFT_REMAINS
        assert "stopped before start" in report.stopped
        # What was done is in Git, no intent is left open, no attempt counted that was none.
        assert report.report_commit is not None
        assert open_intents(world) == []
        status = json.loads(world.file(f"status/{ENVIRONMENT}/b.json"))
        assert "attempts" not in status

        assert world.run().result is RunResult.CONVERGED
        assert operations(world) == ["start", "start"]


def test_a_run_stopped_after_its_intent_touches_nothing_and_closes_it(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    report = stop_run(world, LateStopper(after=99))
    assert [r.result for r in report.incidents] == [IncidentResult.HELD]
    assert operations(world) == []
    assert open_intents(world) == []
    assert world.run().result is RunResult.CONVERGED


def test_a_run_stopped_before_it_plans_commits_nothing(world: LoopWorld) -> None:
    told = world.reports()
    world.engine.kill("market-predictor")
    person = Stopper(after=0)
    with pytest.raises(RunStoppedError):
        world.run(listener=Listeners(person, StopListener(person.stopped)))
    assert person.report is None
    assert (world.reports(), operations(world)) == (told, [])


def test_the_stop_is_in_the_reports_json(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    report = stop_run(world, LateStopper(after=99))
    committed = json.loads(world.file(f"{report_path(report)}.json"))
    assert "before start" in committed["stopped"]


def test_in_prefect_it_is_cancelled_and_not_a_drift_that_remains(world: LoopWorld) -> None:
    """Through the flow's outermost boundary, with a Prefect that takes everything."""
    world.engine.kill("market-predictor")
    person = LateStopper(after=99)

    async def state() -> State[None]:
        stop_requested.set(person.stopped)
        request = RunRequest(environments=None, targets=None, mode=None, run_id=str(uuid4()))
        loop = Loop(
            run=lambda asked, listener: reconcile(
                asked, world.runtime, Listeners(person, listener)
            ),
            render=str,
            redactor=world.runtime.redactor,
        )
        nowhere = cast("PrefectClient", None)
        outbox = Silent(nowhere, uuid4())
        try:
            return await _guarded(lambda: nullcontext(loop), request, outbox, Told())
        finally:
            await outbox.close()

    ended = asyncio.run(state())
    assert ended.is_cancelled()
    assert "before start" in str(ended.message)
    assert operations(world) == []


class Silent(Outbox):
    """Takes everything and sends nothing."""

    def put(self, send: object) -> None:
        """Dropped."""

    def log(self, level: int, text: str, *, task_run_id: UUID | None) -> None:
        """Dropped."""


def test_a_run_that_nobody_stops_is_not_stopped(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    person = Stopper(after=99)
    report = world.run(listener=Listeners(person, StopListener(person.stopped)))
    assert (report.stopped, report.result) == ("", RunResult.CONVERGED)
