"""Trust is earned by approvals that helped, one after the other, and lost by one that did not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.approvals.ladder import earned
from flows.plan import Plan, PlannerKind, PlanStep
from flows.reporting.status import PastIncident, Step, TargetStatus
from tests.builders import NOW

CLASS = "docker-stopped"
HOUR = timedelta(hours=1)
PLAN = Plan("f", PlannerKind.RUNBOOK, "", "", 1.0, (), (PlanStep("start", "e/shop", {}, ""),))
YES, ALONE, NO = ("recovered", "0" * 12), ("recovered", None), ("failed", "0" * 12)


def past(at: int, result: str, approval: str | None, **changes: Any) -> PastIncident:
    values: dict[str, Any] = {
        "at": NOW + timedelta(minutes=at),
        "run_id": f"run-{at}",
        "spec_digest": "s",
        "incident_class": CLASS,
        "kinds": ("Stopped",),
        "planner": "runbook",
        "steps": (Step(operation="start", parameters={}),),
        "result": result,
        "approval": approval,
    }
    return PastIncident.model_validate(values | changes)


def status(*history: PastIncident, target: str = "e/shop") -> TargetStatus:
    return TargetStatus(
        target=target,
        observed_revision="main@none",
        spec_digest="s",
        sync="Synced",
        health="Healthy",
        conditions=(),
        history=history,
    )


def told(*past_ones: tuple[str, str | None], after: int | None = 2) -> str | None:
    history = [past(n, *each) for n, each in enumerate(past_ones)]
    return earned(PLAN, CLASS, [status(*history)], after=after, within=HOUR)


@pytest.mark.parametrize(
    ("history", "trusted"),
    [
        ((), False),
        ((YES,), False),
        ((YES, YES), True),
        ((YES, ALONE, YES), True),
        ((ALONE, ALONE, ALONE), False),
        ((YES, YES, NO), False),
        ((YES, NO, YES), False),
        ((YES, YES, ("failed", None)), False),
        ((YES, YES, ("interrupted", None)), False),
        ((YES, YES, ("unknown", None)), False),
        ((NO, YES, YES), True),
    ],
)
def test_so_many_in_a_row(history: tuple[tuple[str, str | None], ...], *, trusted: bool) -> None:
    assert (told(*history) is not None) is trusted


def test_unset_nothing_is_ever_trusted() -> None:
    assert told(*[YES] * 100, after=None) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"incident_class": "docker-missing"},
        {"steps": (Step(operation="restart", parameters={}),)},
        {"steps": (Step(operation="start", parameters={}),) * 2},
    ],
)
def test_only_the_same_class_and_the_same_operations_count(changes: dict[str, Any]) -> None:
    history = [past(n, *YES, **changes) for n in range(5)]
    assert earned(PLAN, CLASS, [status(*history)], after=2, within=HOUR) is None


def test_the_order_is_that_of_time_across_targets() -> None:
    shop = status(past(0, *YES), past(3, *NO))
    bank = status(past(1, *YES), past(2, *YES), target="e/bank")
    assert earned(PLAN, CLASS, [shop, bank], after=2, within=HOUR) is None


def trusted(*history: PastIncident, **changes: Any) -> bool:
    return earned(PLAN, CLASS, [status(*history)], after=2, within=HOUR, **changes) is not None


def test_a_recovery_after_which_the_fault_came_back_was_none() -> None:
    crash: dict[str, Any] = {"by_itself": True}
    first, second = past(0, *YES, **crash), past(30, *YES, **crash)
    assert not trusted(first, second)  # the second shows that the first has not helped
    assert trusted(first, past(90, *YES, **crash))  # not so soon
    assert trusted(past(0, *YES), past(30, *YES))  # somebody stopped it twice: no relapse
    assert trusted(first, past(30, *YES, spec_digest="t", **crash))  # of another spec
    third = past(40, *YES, **crash)
    assert not trusted(past(-90, *YES, **crash), first, third)


def test_a_relapse_counts_whatever_was_done_about_it() -> None:
    crash: dict[str, Any] = {"by_itself": True}
    other = past(30, *YES, steps=(Step(operation="restart", parameters={}),), **crash)
    early = past(-200, *YES, **crash)
    assert trusted(early, past(0, *YES, **crash))
    assert not trusted(early, past(0, *YES, **crash), other)


def test_the_incident_itself_may_show_that_the_last_recovery_was_none() -> None:
    history = past(0, *YES), past(90, *YES)
    assert trusted(*history)
    assert not trusted(*history, relapsed=(history[1],))


def test_a_clock_that_was_set_back_makes_no_failure_older() -> None:
    assert trusted(past(0, *YES), past(1, *YES))
    assert not trusted(past(0, *YES), past(1, *YES), past(-600, *NO))
    assert not trusted(past(0, *YES), past(10**6, *YES), past(2, *NO))


def test_a_recovery_for_which_nothing_was_changed_earns_nothing() -> None:
    assert not trusted(past(0, *YES), past(1, *YES, idle=True))
    assert trusted(past(0, *YES), past(1, *YES, idle=True), past(2, *YES))


@given(st.lists(st.sampled_from([YES, ALONE, NO]), max_size=9), st.integers(1, 4))
def test_one_more_failure_never_earns_trust(
    history: list[tuple[str, str | None]], after: int
) -> None:
    assert told(*history, NO, after=after) is None
