"""What an approval opens in the guard: exactly its plan, up to approveUpTo, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.guard import Approval, Decision, GuardedInterface, GuardInput, Verdict, judge
from flows.plan import Plan, PlannerKind, PlanStep
from infrastructure.observed import NativeObject
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus, Risk
from infrastructure.service import Mode, Service
from tests.builders import AGENT, ENVIRONMENT, NOW, service
from tests.unit.approvals.made import INCIDENT
from tests.unit.guard.policies import PLATFORM, REGISTRY, SERVICE, rules

LOW = PLATFORM.model_copy(update={"allow_up_to": Risk.READ, "approve_up_to": Risk.HIGH})
UNTIL = NOW + timedelta(hours=1)


def plan(*operations: str, **parameters: Any) -> Plan:
    steps = tuple(PlanStep(o, SERVICE.target, parameters, "") for o in operations)
    return Plan(INCIDENT.fingerprint, PlannerKind.RUNBOOK, "r", "d", 1.0, (), steps)


def approval(until: object = UNTIL) -> Approval:
    return Approval("0123456789ab", "ann", "command", until)  # type: ignore[arg-type]  # a moment


def approved(*plans: Plan) -> Mapping[str, Approval]:
    return {each.digest: approval() for each in plans}


def verdicts(wanted: Plan, guard: GuardInput) -> tuple[Verdict, ...]:
    return judge(wanted, INCIDENT, guard)


def test_a_step_that_needs_a_person_runs_with_one() -> None:
    wanted = plan("start")
    (before,) = verdicts(wanted, rules(policy=LOW))
    (after,) = verdicts(wanted, rules(policy=LOW, approved=approved(wanted)))
    assert (before.decision, before.rule) == (Decision.NEEDS_APPROVAL, "risk")
    assert (after.decision, after.rule) == (Decision.ALLOWED, "approved")
    assert after.reason == "approved by ann (command, 0123456789ab)"
    assert after.begin_by == UNTIL
    assert after.approval == approval()


def test_what_runs_alone_uses_up_no_approval() -> None:
    wanted = plan("start")
    (verdict,) = verdicts(wanted, rules(approved=approved(wanted)))
    assert (verdict.rule, verdict.approval) == ("risk", None)


def test_an_operation_that_always_asks_runs_with_a_person_only() -> None:
    wanted = plan("start")
    always: dict[str, Any] = {"always_approve": frozenset({"start"})}
    assert verdicts(wanted, rules(**always))[0].rule == "always-approve"
    (verdict,) = verdicts(wanted, rules(**always, approved=approved(wanted)))
    assert (verdict.decision, verdict.rule) == (Decision.ALLOWED, "approved")


def test_no_approval_reaches_beyond_approve_up_to() -> None:
    policy = LOW.model_copy(update={"approve_up_to": Risk.LOW})
    wanted = plan("recreate")  # of high risk
    (verdict,) = verdicts(wanted, rules(policy=policy, approved=approved(wanted)))
    assert (verdict.decision, verdict.rule) == (Decision.DENIED, "risk")


def test_an_approval_ends_at_its_moment() -> None:
    wanted = plan("start")
    for until in (NOW, NOW - timedelta(hours=1)):
        guard = rules(policy=LOW, approved={wanted.digest: approval(until)})
        assert verdicts(wanted, guard)[0].decision is Decision.NEEDS_APPROVAL


def test_a_plan_that_was_begun_in_time_is_finished() -> None:
    wanted = plan("start", "restart")
    first, second = verdicts(wanted, rules(policy=LOW, approved=approved(wanted)))
    assert first.begin_by == UNTIL
    assert second.begin_by is None


NATIVE = NativeObject("container", "a" * 64, "market-predictor")
STOPPING: list[tuple[dict[str, Any], str]] = [
    ({"paused": {ENVIRONMENT: "paused by ann"}}, "paused"),
    ({"blind": {ENVIRONMENT: "can't tell"}}, "unknown-identity"),
    ({"breaker": {ENVIRONMENT: "everything is down"}}, "breaker"),
    ({"held": {SERVICE.target: "suspended"}}, "held"),
    ({"policy": LOW.model_copy(update={"mode": Mode.PROPOSE})}, "mode"),
    ({"policy": LOW.model_copy(update={"mode": Mode.OBSERVE})}, "mode"),
    ({"policy": LOW.model_copy(update={"max_attempts": 0})}, "attempts"),
    ({"used_steps": 9}, "blast-radius"),
    ({"natives": {SERVICE.target: (NATIVE,)}}, "self-exclusion"),
    ({"capabilities": lambda _environment: frozenset({"stop"})}, "capability"),
    ({"services": {}}, "in-desired-state"),
]


@pytest.mark.parametrize(("changes", "rule"), STOPPING, ids=[rule for _, rule in STOPPING])
def test_every_other_rule_still_holds(changes: dict[str, Any], rule: str) -> None:
    wanted = plan("start")
    given_rules = {"policy": LOW, **changes}
    (verdict,) = verdicts(wanted, rules(**given_rules, approved=approved(wanted)))
    assert (verdict.decision, verdict.rule) == (Decision.DENIED, rule)


@pytest.mark.parametrize("operation", ["stop", "pause"])
def test_nobody_can_approve_what_leaves_desired_state(operation: str) -> None:
    wanted = plan(operation)
    (verdict,) = verdicts(wanted, rules(policy=LOW, approved=approved(wanted)))
    assert (verdict.decision, verdict.rule) == (Decision.DENIED, "desired-state-bounds")


def test_nobody_can_approve_a_step_on_the_agent() -> None:
    agent: Service = service("devops-ai-agent")
    steps = (PlanStep("start", agent.target, {}, ""),)
    wanted = replace(plan(), steps=steps)
    incident = replace(INCIDENT, root=agent.target, targets=(agent.target,))
    guard = rules(agent, policy=LOW, approved=approved(wanted))
    (verdict,) = judge(wanted, incident, guard)
    assert (verdict.decision, verdict.rule) == (Decision.DENIED, "self-exclusion")


# ── approved often enough ───────────────────────────────────────────────────────


def test_a_trusted_plan_runs_alone_where_it_can_be_undone() -> None:
    wanted = plan("start")
    (verdict,) = verdicts(wanted, rules(policy=LOW, trusted={wanted.digest: "it always helped"}))
    assert (verdict.decision, verdict.rule) == (Decision.ALLOWED, "trusted")


def test_trust_reaches_neither_what_can_not_be_undone_nor_what_always_asks() -> None:
    for wanted, always in ((plan("recreate"), frozenset()), (plan("start"), frozenset({"start"}))):
        trusted = {wanted.digest: "it always helped"}
        guard = rules(policy=LOW, trusted=trusted, always_approve=always)
        assert verdicts(wanted, guard)[0].decision is Decision.NEEDS_APPROVAL


@pytest.mark.parametrize(("changes", "rule"), STOPPING, ids=[rule for _, rule in STOPPING])
def test_trust_passes_no_other_rule(changes: dict[str, Any], rule: str) -> None:
    wanted = plan("start")
    guard = rules(**{"policy": LOW, **changes}, trusted={wanted.digest: "it always helped"})
    assert verdicts(wanted, guard)[0].rule == rule


# ── monotone ────────────────────────────────────────────────────────────────────

PLANS = st.builds(
    lambda operations, force: plan(*operations, **({"mode": "force"} if force else {})),
    st.lists(
        st.sampled_from(["start", "restart", "recreate", "stop", "get_logs", "unknown"]),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
POLICIES = st.builds(
    lambda allow, approve, mode: PLATFORM.model_copy(
        update={"allow_up_to": allow, "approve_up_to": approve, "mode": mode}
    ),
    st.sampled_from(Risk),
    st.sampled_from(Risk),
    st.sampled_from(Mode),
)


@given(PLANS, POLICIES, st.lists(PLANS, max_size=4))
def test_approvals_of_other_plans_change_nothing(
    wanted: Plan, policy: Any, others: list[Plan]
) -> None:
    words = approved(*(each for each in others if each.digest != wanted.digest))
    plain = verdicts(wanted, rules(policy=policy))
    assert verdicts(wanted, rules(policy=policy, approved=words)) == plain


@given(PLANS, POLICIES)
def test_an_approval_turns_only_a_question_into_a_yes(wanted: Plan, policy: Any) -> None:
    plain = verdicts(wanted, rules(policy=policy))
    opened = verdicts(wanted, rules(policy=policy, approved=approved(wanted)))
    for before, after in zip(plain, opened, strict=True):
        if before.decision is Decision.NEEDS_APPROVAL:
            assert (after.decision, after.rule) == (Decision.ALLOWED, "approved")
        else:
            assert after == before


# ── at the engine ───────────────────────────────────────────────────────────────


class Engine:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, call: OperationCall, *, deadline: object) -> OperationOutcome:  # noqa: ARG002
        self.calls.append(call.operation)
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW)


def test_an_approval_that_ended_meanwhile_reaches_no_engine() -> None:
    engine, wanted = Engine(), plan("start")
    (verdict,) = verdicts(wanted, rules(policy=LOW, approved=approved(wanted)))
    late = UNTIL + timedelta(seconds=1)
    outcome = GuardedInterface(engine, REGISTRY, AGENT, now=lambda: late).run(
        verdict, deadline=None
    )
    assert outcome.status is OutcomeStatus.SKIPPED
    assert outcome.error.startswith("its approval has ended")
    assert engine.calls == []
