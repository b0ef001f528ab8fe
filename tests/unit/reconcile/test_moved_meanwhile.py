"""The reports branch is moved while a run is under way: what others have told stands.

`uici pause` in the same clone fetches, and so brings another agent's word below the run's own
commit. The run must not take that for what it has read itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flows.compare import Comparison
from flows.listener import NullListener
from flows.report import IncidentResult
from flows.repository.contract import CommitResult
from flows.runtime import open_git
from infrastructure.pause import Pause
from infrastructure.service import Mode
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, service_yaml

PREDICTOR = f"{ENVIRONMENT}/market-predictor"
Change = Callable[[dict[str, Any]], None]


class During(NullListener):
    """Something that happens after the run has looked, and something after its intent."""

    def __init__(self, looked: Callable[[], None], begun: Callable[[], None] | None = None) -> None:
        self._looked = looked
        self._begun = begun

    def drifts_found(self, comparison: Comparison) -> None:
        super().drifts_found(comparison)
        self._looked()

    def intent_committed(self, result: CommitResult) -> None:
        super().intent_committed(result)
        if self._begun is not None:
            self._begun()


def others_tell(world: LoopWorld, target: str, change: Change) -> None:
    """Another agent, in a clone of its own, has written a status."""
    path = f"status/{target}.json"
    work = world.root / "others"
    if not work.exists():
        git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(work))
    git(work, "pull", "-q", "--rebase")
    status = json.loads((work / path).read_text())
    change(status)
    (work / path).write_text(json.dumps(status))
    git(work, "commit", "-qam", "another agent")
    git(work, "push", "-q")


def others_begin(world: LoopWorld, target: str) -> None:
    """Another agent has pushed its intent, of a moment later than ours will be."""
    at = world.runtime.clock.now() + timedelta(seconds=30)
    work = world.root / "beginner"
    git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(work))
    digest = json.loads((work / f"status/{target}.json").read_text())["specDigest"]
    past = {
        "at": at.isoformat(),
        "runId": "theirs",
        "specDigest": digest,
        "incidentClass": "docker-stopped",
        "kinds": ["Stopped"],
        "planner": "runbook",
        "steps": [],
        "result": "interrupted",
    }
    tries = {
        "specDigest": digest,
        "count": 1,
        "lastAt": at.isoformat(),
        "notBefore": at.isoformat(),
    }
    base = git(work, "rev-parse", f"HEAD:status/{target}.json")[:12]
    attempt = {"target": target, "base": base, "specDigest": digest, "kept": 0, "past": past}
    intent = {
        "apiVersion": "uici/v1",
        "kind": "Intent",
        "runId": "theirs",
        "at": at.isoformat(),
        "by": "another",
        "until": (at + timedelta(hours=1)).isoformat(),
        "incidents": [{"root": target, "targets": [target]}],
        "counted": [{**attempt, "attempts": tries}],
    }
    (work / "intents").mkdir(exist_ok=True)
    (work / "intents/theirs.json").write_text(json.dumps(intent))
    git(work, "add", "-A")
    git(work, "commit", "-qm", "another agent's intent")
    git(work, "push", "-q")


def pause(world: LoopWorld) -> None:
    """`uici pause` of an environment that nobody works in, from the same clone."""
    now = world.runtime.clock.now()
    here = open_git(world.config, world.runtime.identity, world.runtime.redactor)
    here.desired()
    made = Pause.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Pause",
            "reason": "a look",
            "until": now + timedelta(hours=1),
            "environments": ["nowhere"],
        }
    )
    assert here.pausing().pause(made, now) is not None


def told(world: LoopWorld, target: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.file(f"status/{target}.json"))
    return found


def repaired(status: dict[str, Any]) -> None:
    status["observedRevision"] = "main@sha1:" + "b" * 40
    status["conditions"][0]["message"] = "another agent has repaired it"


def test_a_pause_in_mid_run_lets_no_stale_status_replace_another_agents(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")

    def meanwhile() -> None:
        others_tell(world, PREDICTOR, repaired)
        pause(world)

    world.run(mode=Mode.OBSERVE, listener=During(meanwhile))
    assert told(world, PREDICTOR)["conditions"][0]["message"] == "another agent has repaired it"
    world.run(mode=Mode.OBSERVE)  # which has read it, and sees that it is not so
    assert told(world, PREDICTOR)["health"] == "Degraded"


@pytest.mark.parametrize("paused", [False, True], ids=["a race", "brought by a pause"])
def test_who_is_second_takes_its_attempt_back_and_the_first_ones_counts(
    world: LoopWorld, *, paused: bool
) -> None:
    world.engine.kill("market-predictor")
    before = world.file(f"status/{PREDICTOR}.json")

    def meanwhile() -> None:
        others_begin(world, PREDICTOR)
        if paused:
            pause(world)

    report = world.run(listener=During(meanwhile))
    assert [each.result for each in report.incidents] == [IncidentResult.HELD]
    assert "theirs" in report.incidents[0].summary
    assert world.engine.calls == []
    # Were the run to die now: neither does anybody wait for it, nor does its attempt count.
    withdrawn = git(world.remote, "log", "--format=%H", "--grep=somebody else", "uici/reports")
    intent = json.loads(git(world.remote, "show", f"{withdrawn}:intents/{report.run_id}.json"))
    assert intent.get("counted", []) == intent.get("incidents", []) == []
    assert world.file(f"status/{PREDICTOR}.json") == before
    found = world.remembered()
    assert found.counted_by == {PREDICTOR: "intents/theirs.json"}
    attempts = found.statuses[PREDICTOR].attempts
    assert attempts is not None
    assert attempts.count == 1
    assert [past.run_id for past in found.statuses[PREDICTOR].history] == ["theirs"]


def test_what_this_run_has_done_stands_whatever_others_write(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")

    def meanwhile() -> None:
        others_tell(world, PREDICTOR, repaired)
        open_git(world.config, world.runtime.identity, world.runtime.redactor).desired()

    report = world.run(listener=During(lambda: None, meanwhile))
    assert [each.result for each in report.incidents] == [IncidentResult.RECOVERED]
    status = told(world, PREDICTOR)
    assert status["lastIncident"]["runId"] == report.run_id
    assert status["history"][-1]["result"] == "recovered"


def test_an_intent_replaces_no_status_that_the_run_has_not_read(world: LoopWorld) -> None:
    world.commit(fresh=service_yaml("fresh"))
    fresh = f"{ENVIRONMENT}/fresh"

    def meanwhile() -> None:
        work = world.root / "others"
        git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(work))
        status = told(world, PREDICTOR) | {"target": fresh}
        (work / f"status/{fresh}.json").write_text(json.dumps(status))
        git(work, "add", "-A")
        git(work, "commit", "-qm", "another agent")
        git(work, "push", "-q")
        pause(world)

    report = world.run(listener=During(meanwhile))
    assert [each.result for each in report.incidents] == [IncidentResult.HELD]
    assert world.engine.calls == []
    assert told(world, fresh) == told(world, PREDICTOR) | {"target": fresh}
