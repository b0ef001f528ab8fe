"""Root before symptom: a dependent is looked at again before anything is done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.comparison.drift import Incident
from flows.listener import NullListener
from flows.report import IncidentResult, RunReport
from infrastructure.operations import OperationOutcome
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

DB, API = f"{ENVIRONMENT}/db", f"{ENVIRONMENT}/api"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    """A database and what needs it; both run as declared."""
    with loop_world(tmp_path) as made:
        api = service_yaml("api", env={"LEVEL": "info"}, dependsOn=["db"])
        made.commit("two services", db=service_yaml("db"), api=api)
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        yield made


class After(NullListener):
    """Does something to the world when the database's first operation has ended."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.done: list[tuple[str, str]] = []
        self._then = then

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:
        if incident.root == DB and not self.done:
            self._then()
        self.done.append((outcome.call.target, outcome.call.operation))


def _break(world: LoopWorld) -> Callable[[], None]:
    """Take the database away and spoil its dependent; returns what undoes the latter."""
    world.engine.remove("db")
    spoiled = world.engine.named("api")
    before = dict(spoiled.env)
    spoiled.env = {**before, "LEVEL": "debug"}

    def undo() -> None:
        spoiled.env = before

    return undo


def _results(report: RunReport) -> dict[str, IncidentResult]:
    return {told.incident.root: told.result for told in report.incidents}


def test_a_dependent_whose_drift_went_with_its_cause_is_not_touched(world: LoopWorld) -> None:
    undo = _break(world)
    listener = After(undo)
    report = world.run(listener=listener)
    assert _results(report) == {DB: IncidentResult.RECOVERED, API: IncidentResult.HELD}
    assert {target for target, _ in listener.done} == {DB}
    (held,) = [told for told in report.incidents if told.incident.root == API]
    assert (
        held.summary == f"{DB}, which it needs, has just been mended: the next run looks at it anew"
    )
    assert world.run().incidents == ()


def test_a_dependent_with_a_fault_of_its_own_is_mended_in_the_same_run(world: LoopWorld) -> None:
    _break(world)
    listener = After(lambda: None)
    report = world.run(listener=listener)
    assert _results(report) == {DB: IncidentResult.RECOVERED, API: IncidentResult.RECOVERED}
    assert [target for target, _ in listener.done] == [DB, API]


def test_commits_that_touched_a_target_are_found_newest_first(world: LoopWorld) -> None:
    world.commit("only the database", db=service_yaml("db", env={"A": "1"}))
    world.commit("another of it", db=service_yaml("db", env={"A": "2"}))
    git = world.runtime.git
    desired = git.desired()
    assert desired.files == {DB: "db.yml", API: "api.yml"}
    since = datetime.now(UTC) - timedelta(days=1)
    found = git.changes(desired, (DB, API, "local/gone"), limit=5, since=since)
    assert sorted((change.subject, change.targets) for change in found) == [
        ("another of it", (DB,)),
        ("only the database", (DB,)),
        ("two services", (DB, API)),
    ]
    assert {change.author for change in found} == {"ann"}
    assert len(git.changes(desired, (DB,), limit=1, since=since)) == 1
    later = datetime.now(UTC) + timedelta(days=1)
    assert git.changes(desired, (DB,), limit=5, since=later) == ()
