"""What the statuses in Git tell the guard of earlier runs."""

from __future__ import annotations

from datetime import timedelta

from flows.guard import Acted, acted_before
from flows.reporting.status import Attempts, PastIncident, Step, TargetStatus, TriedPlan
from tests.builders import NOW
from tests.unit.guard.policies import SERVICE

LONG_AGO, LATELY = NOW - timedelta(hours=5), NOW - timedelta(minutes=5)


def status(*past: PastIncident, attempts: Attempts | None = None) -> TargetStatus:
    return TargetStatus(
        target=SERVICE.target,
        observed_revision="main@none",
        spec_digest=SERVICE.spec_digest,
        sync="Synced",
        health="Healthy",
        conditions=(),
        attempts=attempts,
        history=past,
    )


def past(operation: str, *, ago: timedelta) -> PastIncident:
    return PastIncident(
        at=NOW - ago,
        run_id="r",
        spec_digest=SERVICE.spec_digest,
        incident_class="c",
        kinds=("Stopped",),
        planner="runbook",
        steps=(Step(operation=operation, parameters={}),),
        result="recovered",
    )


def attempts(*tried: TriedPlan) -> Attempts:
    return Attempts(
        spec_digest=SERVICE.spec_digest, count=1, last_at=LATELY, not_before=NOW, tried=tried
    )


def acted(one: TargetStatus) -> tuple[Acted, ...]:
    return acted_before({one.target: one}).get(one.target, ())


def test_history_and_plans_that_did_not_help_are_what_was_done() -> None:
    plan = TriedPlan(
        remedy="x",
        planner="llm",
        steps=(Step(operation="restart", parameters={}),),
        at=LATELY,
        result="failed",
    )
    one = status(past("start", ago=timedelta(hours=5)), attempts=attempts(plan))
    assert acted(one) == (Acted(LONG_AGO, "start"), Acted(LATELY, "restart"))
    assert acted(status()) == ()


def test_an_attempt_of_which_nothing_tells_may_have_been_anything() -> None:
    one = status(past("start", ago=timedelta(hours=5)), attempts=attempts())
    assert acted(one) == (Acted(LONG_AGO, "start"), Acted(LATELY, ""))


def test_an_attempt_that_history_tells_of_is_counted_once() -> None:
    one = status(past("start", ago=timedelta(minutes=4)), attempts=attempts())
    assert acted(one) == (Acted(NOW - timedelta(minutes=4), "start"),)
