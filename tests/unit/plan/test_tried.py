"""A plan that was tried in vain is known again, however it is written."""

from __future__ import annotations

from typing import Any

import pytest

from flows.plan import Plan, PlannerKind, PlanStep
from flows.planners.tried import TriedPlans
from flows.reporting.status import Step, TriedPlan
from tests.builders import NOW
from tests.unit.learning.made import OTHER, REGISTRY, SHOP

ROOT = SHOP.target
_Steps = list[tuple[str, dict[str, Any]]]


def plan(*steps: PlanStep) -> Plan:
    return Plan("f" * 16, PlannerKind.LLM, "", "", 1.0, (), steps)


def step(operation: str, target: str = ROOT, **parameters: Any) -> PlanStep:
    return PlanStep(operation, target, parameters, "")


def tried(*steps: tuple[str, dict[str, Any]], target: str | None = None) -> TriedPlans:
    done = tuple(Step(operation=o, parameters=p, target=target) for o, p in steps)
    past = TriedPlan(remedy="", planner="llm", steps=done, at=NOW, result="r")
    return TriedPlans({ROOT: (past,)}, REGISTRY)


RESTART = ("restart", {"strategy": "graceful", "grace_seconds": 10})


@pytest.mark.parametrize(
    "again",
    [
        plan(step("restart")),
        plan(step("restart", grace_seconds=9)),
        plan(step("restart", strategy="graceful", grace_seconds=300)),
        plan(step("get_logs", lines=3), step("restart")),
        plan(step("get_logs", OTHER.target), step("restart"), step("check_health")),
        plan(step("restart"), step("escalate_to_human", summary="I have restarted it")),
        plan(step("restart"), step("get_status"), step("restart")),
    ],
)
def test_what_does_the_same_is_the_same(again: Plan) -> None:
    assert tried(RESTART).same(ROOT, again) is not None


@pytest.mark.parametrize(
    "other",
    [
        plan(step("restart", strategy="force")),
        plan(step("recreate")),
        plan(step("restart"), step("recreate")),
        plan(step("restart", OTHER.target)),
        plan(step("restart"), step("restart", OTHER.target)),
        plan(step("escalate_to_human", summary="a person must look")),
        plan(step("get_logs")),
        plan(),
    ],
)
def test_what_does_something_else_is_new(other: Plan) -> None:
    assert tried(RESTART).same(ROOT, other) is None


def test_past_steps_that_only_read_hide_nothing() -> None:
    done = tried(("get_logs", {"lines": 10}), RESTART)
    assert done.same(ROOT, plan(step("restart"))) is not None
    assert done.same(ROOT, plan(step("get_logs", lines=10))) is None


def test_what_was_done_to_another_target_was_not_done_to_this_one() -> None:
    elsewhere = tried(RESTART, target=OTHER.target)
    assert elsewhere.same(ROOT, plan(step("restart"))) is None
    assert elsewhere.same(ROOT, plan(step("restart", OTHER.target))) is not None


def test_steps_that_no_operation_knows_any_more_are_compared_as_they_are() -> None:
    old = tried(("defragment", {"level": 3}))
    assert old.same(ROOT, plan(step("defragment", level=3))) is not None
    assert old.same(ROOT, plan(step("defragment", level=4))) is None
