"""Who ended a target, by the engine's own record of what was asked of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.comparison.drift import Drift
from flows.plan import EngineDeed, Evidence
from flows.reporting.status import Condition, ConditionType, PastIncident, Step, TargetStatus
from infrastructure.drift_kinds import DriftKind
from tests.unit.dossier.builders import INCIDENT, NOW, SHOP, Engine, collect

EVENTS = ("get_events", SHOP.target)


def event(second: int, action: str, **details: str) -> dict[str, str]:
    at = NOW + timedelta(seconds=second)
    return {"time": at.isoformat(), "action": action, "instance": "shop-1", **details}


KILLED = (event(5, "kill", signal="9"), event(5, "die", exitCode="137"))


def status(*history: PastIncident) -> dict[str, TargetStatus]:
    """Of a target that is well since `NOW`."""
    ready = Condition(
        type=ConditionType.READY, status="True", reason="R", message="", last_transition_time=NOW
    )
    made = TargetStatus(
        target=SHOP.target,
        observed_revision="main@none",
        spec_digest=SHOP.spec_digest,
        sync="Synced",
        health="Healthy",
        conditions=(ready,),
        history=history,
    )
    return {SHOP.target: made}


def past(second: int, result: str, *steps: Step) -> PastIncident:
    return PastIncident(
        at=NOW + timedelta(seconds=second),
        run_id="r",
        spec_digest=SHOP.spec_digest,
        incident_class="c",
        kinds=("Stopped",),
        planner="runbook",
        steps=steps,
        result=result,
    )


def seen(
    *events: dict[str, str],
    kind: DriftKind = DriftKind.STOPPED,
    statuses: dict[str, TargetStatus] | None = None,
) -> Evidence:
    incident = replace(INCIDENT, drifts=(Drift(SHOP.target, kind),))
    known = status() if statuses is None else statuses
    return collect(Engine({EVENTS: {"events": list(events)}}), incident=incident, statuses=known)


def told(evidence: Evidence) -> str:
    return evidence.ended_by.words if evidence.ended_by else ""


@pytest.mark.parametrize(
    ("events", "kind", "words"),
    [
        (KILLED, DriftKind.STOPPED, "killed through the Docker API (signal 9)"),
        (
            (event(4, "kill", signal="15"), event(5, "stop"), event(5, "die", exitCode="0")),
            DriftKind.STOPPED,
            "stopped through the Docker API (signal 15)",
        ),
        ((*KILLED, event(6, "destroy")), DriftKind.MISSING, "removed through the Docker API"),
        # It ended by itself, or the host killed it: no call is recorded, and nothing is said.
        ((event(5, "die", exitCode="137"),), DriftKind.STOPPED, ""),
        # The signal was no end: it was started again, and then ended by itself.
        ((*KILLED, event(6, "start"), event(9, "die", exitCode="1")), DriftKind.STOPPED, ""),
        # A signal that asks for something else, and an end of its own.
        ((event(4, "kill", signal="10"), event(5, "die", exitCode="7")), DriftKind.STOPPED, ""),
        (
            (event(4, "kill", signal="10"), event(5, "die", exitCode="138")),
            DriftKind.STOPPED,
            "killed through the Docker API (signal 10)",
        ),
        # Started with --rm, it ended by itself, and its engine cleared up.
        (
            (event(5, "die", exitCode="1"), event(6, "destroy")),
            DriftKind.MISSING,
            "",
        ),
        # What had ended long ago, somebody removed.
        (
            (event(5, "die", exitCode="1"), event(55, "destroy")),
            DriftKind.MISSING,
            "removed through the Docker API",
        ),
        # A signal to another instance.
        (({**KILLED[0], "instance": "shop-2"}, KILLED[1]), DriftKind.STOPPED, ""),
        # It runs, and is sick: who stopped it once does not matter.
        (KILLED, DriftKind.UNHEALTHY, ""),
    ],
)
def test_who_ended_it_is_told_where_the_engine_has_recorded_it(
    events: tuple[dict[str, str], ...], kind: DriftKind, words: str
) -> None:
    assert told(seen(*events, kind=kind)) == words


def test_it_is_told_when_and_that_it_was_none_of_ours() -> None:
    deed = seen(*KILLED).ended_by
    assert deed == EngineDeed(
        "killed through the Docker API (signal 9)", NOW + timedelta(seconds=5), not_ours=True
    )
    assert deed.told == (
        "killed through the Docker API (signal 9), not by UICI, at 2026-01-01 00:00:05Z"
    )


@pytest.mark.parametrize(
    ("history", "ours"),
    [
        ((past(2, "recovered"),), False),
        ((past(-9, "failed"),), False),  # all was well after it
        ((past(2, "failed"),), True),
        ((past(7, "recovered"),), True),
    ],
)
def test_what_may_have_been_a_try_of_ours_is_laid_to_nobody(
    history: tuple[PastIncident, ...], ours: bool
) -> None:
    assert (told(seen(*KILLED, statuses=status(*history))) == "") is ours


@pytest.mark.parametrize(("target", "ours"), [(SHOP.target, True), ("local-docker/till", False)])
def test_a_try_in_the_incident_of_another_may_have_been_it(target: str, ours: bool) -> None:
    step = Step(operation="stop", parameters={}, target=target)
    known = status()
    other = known[SHOP.target].model_copy(
        update={"target": "local-docker/db", "history": (past(7, "failed", step),)}
    )
    found = seen(*KILLED, statuses={**known, other.target: other})
    assert (told(found) == "") is ours


def test_a_target_that_no_run_has_told_of_may_be_anybodys() -> None:
    deed = seen(*KILLED, statuses={}).ended_by
    assert deed is not None
    assert "not by UICI" not in deed.told


def test_events_of_before_all_was_well_are_of_another_incident() -> None:
    found = seen(event(-60, "kill", signal="9"), event(-60, "die", exitCode="137"), *KILLED)
    lines = [line for line in found.changes if "engine:" in line]
    assert len(lines) == 2
    assert not any("times" in line for line in lines)


@pytest.mark.parametrize("at", ["", "yesterday", "2026-01-01T00:00:05"])
def test_a_time_that_can_not_be_read_does_not_break_the_dossier(at: str) -> None:
    evidence = seen({**KILLED[0], "time": at}, {**KILLED[1], "time": at})
    assert (evidence.ended_by is not None) is (at == "2026-01-01T00:00:05")
    if evidence.ended_by is not None:
        assert evidence.ended_by.at == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_hostile_events_are_only_words() -> None:
    hostile: Any = {"time": KILLED[0]["time"], "action": "kill", "instance": "shop-1"}
    hostile["signal"] = "\x1b[31m9\n# head"
    words = told(seen(hostile, KILLED[1]))
    assert "\x1b" not in words
    assert "\n" not in words
