"""The loop's memory as others wrote it: a damaged file is told, and ends no run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.report import IncidentResult
from infrastructure.observed import InstanceState
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, loop_world, service_yaml

STATUS = f"status/{ENVIRONMENT}/a.json"
NAIVE = "2026-11-22T10:00:00"
# Moments that Python can't tell in every zone, or add a length to.
EDGES = ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59Z", NAIVE)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as opened:
        opened.commit(a=service_yaml("a"))
        opened.run()
        yield opened


def wrote(world: LoopWorld, path: str, text: str) -> None:
    """A commit on the reports branch by somebody else."""
    work = world.root / "others"
    git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(work))
    (work / path).parent.mkdir(parents=True, exist_ok=True)
    (work / path).write_text(text)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "by hand")
    git(work, "push", "-q")


def attempts(**changes: Any) -> Change:
    def change(status: dict[str, Any]) -> None:
        at = "2026-11-22T10:00:00Z"
        given = {"specDigest": status["specDigest"], "count": 1, "lastAt": at, "notBefore": at}
        status["attempts"] = {**given, **changes}

    return change


def tried(at: str) -> Change:
    plan = {"remedy": "r", "planner": "p", "steps": [], "at": at, "result": "not_recovered"}
    return attempts(tried=[plan])


def history(**changes: Any) -> Change:
    def change(status: dict[str, Any]) -> None:
        given = {
            "at": "2026-11-22T10:00:00Z",
            "runId": "r",
            "specDigest": status["specDigest"],
            "incidentClass": "stopped",
            "kinds": ["Stopped"],
            "planner": "runbook",
            "steps": [],
            "result": "recovered",
        }
        status["history"] = [{**given, **changes}]

    return change


def condition(at: str) -> Change:
    def change(status: dict[str, Any]) -> None:
        status["conditions"][0]["lastTransitionTime"] = at

    return change


CHANGES = {
    f"{name} {at}": change
    for at in EDGES
    for name, change in {
        "notBefore": attempts(notBefore=at),
        "lastAt": attempts(lastAt=at),
        "tried": tried(at),
        "history": history(at=at),
        "condition": condition(at),
    }.items()
} | {
    "count": attempts(count=-(10**9)),
    "many": attempts(count=10**12),
    "seconds": history(seconds=-1.0),
    "endless": history(seconds=float("inf")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_status_with_an_impossible_value_counts_as_absent_and_is_told(
    world: LoopWorld, name: str
) -> None:
    status = json.loads(world.file(STATUS))
    CHANGES[name](status)
    wrote(world, STATUS, json.dumps(status))
    world.engine.kill("a")
    report = world.run()
    assert report.incidents[0].result is IncidentResult.RECOVERED
    assert world.engine.named("a").state is InstanceState.RUNNING
    assert STATUS not in str(world.runtime.git.reported().damaged)  # written anew


@pytest.mark.parametrize("at", EDGES)
@pytest.mark.parametrize("key", ["at", "until"])
def test_an_intent_without_a_usable_moment_is_still_an_intent(
    world: LoopWorld, key: str, at: str
) -> None:
    intent = {"apiVersion": "uici/v1", "runId": "x", key: at, "incidents": [{"targets": ["a"]}]}
    wrote(world, "intents/x.json", json.dumps(intent))
    world.runtime.git.refresh()
    (found,) = world.runtime.git.open_intents()
    assert (found.run_id, found.targets) == ("x", ("a",))
    assert getattr(found, key) is None
    world.engine.kill("a")
    assert world.run().incidents[0].result is IncidentResult.RECOVERED


@pytest.mark.parametrize("at", EDGES)
def test_a_proposal_note_without_a_usable_moment_is_told(world: LoopWorld, at: str) -> None:
    note = {
        "target": f"{ENVIRONMENT}/a",
        "field": "/x",
        "old": "",
        "new": "",
        "specDigest": "d",
        "branch": "uici/propose/q",
        "commit": "1",
        "state": "open",
        "at": at,
        "runId": "r",
    }
    wrote(world, "proposals/q.json", json.dumps(note))
    world.engine.kill("a")
    assert world.run().incidents[0].result is IncidentResult.RECOVERED
    assert "proposals/q.json" in str(world.runtime.git.reported().damaged)
