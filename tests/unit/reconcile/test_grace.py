"""Grace periods of what nobody dates: counted from the first run that saw it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.report import RunResult
from flows.world import Clock
from infrastructure.errors import TemporaryError
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml
from tests.fakes.telemetry import FakePrometheus, prometheus


@dataclass
class Patient:
    """A loop whose time the test moves, with one service and its metric."""

    world: LoopWorld
    metrics: FakePrometheus
    ahead: timedelta = timedelta(0)

    @property
    def memory(self) -> Path:
        return self.world.root / "data" / "first-seen.json"

    def pass_time(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)

    def operations(self) -> list[str]:
        return [call.primitive for _, call in self.world.engine.calls]


@contextmanager
def patient(root: Path, **grace: str) -> Iterator[Patient]:
    with ExitStack() as stack:
        metrics = stack.enter_context(prometheus())
        metrics.values["up_of_a"] = 1
        place = {"prometheus": [metrics.source]}
        world = stack.enter_context(
            loop_world(
                root,
                platform={"compare": {"grace": grace}},
                environments={"environments": {ENVIRONMENT: place}},
            )
        )
        check = {"name": "up", "query": "up_of_a", "expect": "== 1"}
        world.commit(a=service_yaml("a", health={"metrics": [check]}))
        world.engine.run(world.runtime.git.desired().services[f"{ENVIRONMENT}/a"])
        made = Patient(world, metrics)
        clock = Clock(now=lambda: datetime.now(UTC) + made.ahead, sleep=lambda _: None)
        world.runtime = replace(world.runtime, clock=clock)
        assert world.run().result is RunResult.CONVERGED
        yield made


GRACE: dict[str, Any] = {"missing": "30s", "unhealthy": "30s"}


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Patient]:
    with patient(tmp_path, **GRACE) as made:
        yield made


def test_what_is_missing_is_made_after_its_grace_and_not_before(loop: Patient) -> None:
    loop.world.engine.remove("a")
    for _ in range(2):
        report = loop.world.run()
        assert (report.result, report.incidents) == (RunResult.DRIFT_REMAINS, ())
        assert len(report.comparison.pending) == 1
        loop.pass_time(14)
    assert loop.operations() == []
    loop.pass_time(3)
    assert loop.world.run().incidents[0].incident.drifts[0].kind.value == "Missing"
    assert loop.operations() == ["create"]


def test_a_breached_metric_that_mends_itself_within_its_grace_is_left_alone(
    loop: Patient,
) -> None:
    commits = loop.world.reports()
    for _ in range(3):  # each time anew
        loop.metrics.values["up_of_a"] = 0
        loop.world.run()
        assert json.loads(loop.memory.read_text()).keys() == {f"{ENVIRONMENT}/a MetricBreach up "}
        loop.pass_time(20)
        loop.metrics.values["up_of_a"] = 1
        loop.world.run()
        assert json.loads(loop.memory.read_text()) == {}
    assert (loop.operations(), loop.world.reports()) == ([], commits)


def test_a_run_that_could_not_see_neither_ends_nor_forgets_the_grace(loop: Patient) -> None:
    loop.world.engine.remove("a")
    loop.world.run()
    loop.pass_time(20)
    loop.world.engine.broken = TemporaryError("connection refused")
    loop.world.run()
    loop.world.engine.broken = None
    loop.pass_time(11)
    loop.world.run()
    assert loop.operations() == ["create"]


def test_a_moment_noted_while_the_clock_was_wrong_holds_nothing_for_ever(loop: Patient) -> None:
    loop.world.engine.remove("a")
    for moment in ("9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-12:00"):
        loop.world.run()
        key = f"{ENVIRONMENT}/a Missing  "
        loop.memory.write_text(json.dumps({key: moment}))
        loop.world.run()
        noted = datetime.fromisoformat(json.loads(loop.memory.read_text())[key])
        assert noted < datetime.now(UTC) + timedelta(minutes=5)
    loop.pass_time(31)
    loop.world.run()
    assert loop.operations() == ["create"]


def test_a_run_about_others_leaves_it_as_it_was(loop: Patient) -> None:
    loop.world.commit(b=service_yaml("b"))
    loop.world.engine.remove("a")
    loop.world.run()
    noted = loop.memory.read_text()
    loop.pass_time(31)
    loop.world.run(targets=("b",))
    assert f"{ENVIRONMENT}/a Missing  " in json.loads(noted)
    assert json.loads(loop.memory.read_text())[f"{ENVIRONMENT}/a Missing  "] in noted


def test_a_target_that_left_git_and_came_back_begins_anew(loop: Patient) -> None:
    loop.world.commit(b=service_yaml("b"))
    loop.world.run()
    assert any(key.startswith(f"{ENVIRONMENT}/b ") for key in json.loads(loop.memory.read_text()))
    loop.world.commit(b=None)
    loop.world.run()
    assert json.loads(loop.memory.read_text()) == {}
    loop.pass_time(31)
    loop.world.commit(b=service_yaml("b"))

    loop.world.run()

    assert loop.operations() == []


@pytest.mark.parametrize("rubbish", ["", "[1]", '{"x": 1}', '{"x": "2026-01-01"}', "\x00"])
def test_a_memory_that_can_not_be_read_begins_anew(loop: Patient, rubbish: str) -> None:
    loop.memory.write_text(rubbish)
    loop.world.engine.remove("a")
    loop.world.run()
    loop.pass_time(31)
    loop.world.run()
    assert loop.operations() == ["create"]


def test_without_grace_nothing_is_kept(tmp_path: Path) -> None:
    with patient(tmp_path, missing="0s", unhealthy="0s") as loop:
        loop.memory.write_text("{}")  # of a time with grace periods
        loop.world.engine.remove("a")
        loop.world.run()
        assert loop.operations() == ["create"]
        assert not loop.memory.exists()
