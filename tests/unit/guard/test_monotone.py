"""Properties over generated policies, plans and histories: more protection never allows more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.execute import runnable
from flows.guard import Decision, GuardInput, judge
from flows.plan import PlannerKind, PlanStep
from flows.reporting.conditions import count_attempt
from infrastructure.config_models import EnvironmentBlastRadius, Policy
from infrastructure.observed import NativeObject
from infrastructure.operations import Risk
from infrastructure.service import Freeze, Limits, Mode, Overrun
from tests.builders import ENVIRONMENT, NOW, service
from tests.unit.guard.policies import (
    ALL,
    FROZEN,
    LIMITED,
    OTHER,
    RADIUS,
    SERVICE,
    ago,
    attempts,
    incident,
    plan,
    rules,
    step,
    window,
    with_policy,
)

# ── attempts ────────────────────────────────────────────────────────────────────


@given(st.integers(1, 5), st.lists(st.sampled_from(["fail", "recover", "digest"]), max_size=30))
def test_attempts_never_pass_the_cap(cap: int, history: list[str]) -> None:
    """Counted by target and spec; reset by a verified recovery or a new spec, by nothing else."""
    policy = with_policy(max_attempts=cap)
    now, image, known, made = NOW, 0, None, 0
    for event in history:
        now += timedelta(days=1)  # past every back-off
        wanted = service(image=f"market-predictor:{image}")
        given_rules = rules(
            wanted, policy=policy, now=now, attempts={wanted.target: known} if known else {}
        )
        verdict = judge(plan(step()), incident(wanted.target), given_rules)[0]
        assert (verdict.decision is Decision.ALLOWED) is (made < cap)
        if event == "digest":
            image, made = image + 1, 0
        elif event == "recover":
            known, made = None, 0
        elif verdict.decision is Decision.ALLOWED:
            known = count_attempt(wanted.spec_digest, policy, known, now)
            made += 1
            assert known.count == made <= cap


# ── monotone ────────────────────────────────────────────────────────────────────

RANK = (Decision.DENIED, Decision.NEEDS_APPROVAL, Decision.ALLOWED)
STEPS = st.one_of(
    st.sampled_from(
        [
            step(),
            step("recreate"),
            step("get_logs"),
            step("stop"),
            step("pause"),
            step("resume"),
            step("create"),
            step("rollback_service"),
            step(target=OTHER.target),
            step("execute_command", argv=["sh"]),
        ]
    ),
    st.builds(lambda n: step("scale", replicas=n), st.integers(-1, 6)),
    st.builds(
        lambda s: step("restart", strategy=s), st.sampled_from(["graceful", "force", "rolling"])
    ),
    st.builds(
        lambda m, c: step("set_resources", memory=m, cpu=c),
        st.sampled_from(["128Mi", "256Mi", "512Mi", "2Gi", 0]),
        st.sampled_from(["0.1", "500m", "1", "9"]),
    ),
    st.builds(
        lambda k, v: step("set_env", env={k: v}),
        st.sampled_from(["LOG_LEVEL", "NEW"]),
        st.sampled_from(["info", "debug"]),
    ),
)
HOURS = st.integers(0, 23)
POLICIES = st.builds(
    with_policy,
    mode=st.sampled_from(Mode),
    allow_up_to=st.sampled_from(Risk),
    approve_up_to=st.sampled_from(Risk),
    max_attempts=st.integers(0, 4),
    cool_down=st.sampled_from([timedelta(0), timedelta(minutes=10)]),
    replica_share=st.sampled_from([0.5, 1.0]),
    overrun=st.sampled_from(Overrun),
)


def _narrower(policy: Policy, name: str) -> Policy:
    """The policy with one thing forbidden more."""
    changes: dict[str, Any] = {
        "mode": {"mode": Mode.OBSERVE},
        "allow": {"allow_up_to": Risk.READ},
        "approve": {"approve_up_to": Risk.READ, "allow_up_to": Risk.READ},
        "attempts": {"max_attempts": max(0, policy.max_attempts - 1)},
        "rest": {"cool_down": policy.cool_down + timedelta(minutes=30)},
        "share": {"replica_share": policy.replica_share / 2},
        "stop": {"overrun": Overrun.STOP},
        "freeze": {"freezes": (*policy.freezes, FROZEN)},
        "later freeze": {
            "freezes": (
                *policy.freezes,
                Freeze(start=NOW + timedelta(seconds=90), end=None, reason="later"),
            )
        },
        "window": {"window": (window("11:30", "12:02"),)} if not policy.window else {},
    }
    return policy.model_copy(update=changes[name])


ADDED = st.sampled_from(
    [
        {"breaker": {ENVIRONMENT: "x"}},
        {"held": {SERVICE.target: "x"}},
        {"paused": {ENVIRONMENT: "x"}},
        {"blind": {ENVIRONMENT: "x"}},
        {"engine_access": {SERVICE.target: "x"}},
        {"attempts": {SERVICE.target: attempts(4, ago=5)}},
        {"used_steps": 8},
        {"used_steps": 9},
        {"used_targets": frozenset("abcd")},
        {"used_targets": frozenset("abcde")},
        {"used_steps_in": {ENVIRONMENT: 3}},
        {"environment_blast": {ENVIRONMENT: EnvironmentBlastRadius(steps_per_run=3)}},
        {"environment_blast": {ENVIRONMENT: EnvironmentBlastRadius(targets_per_hour=1)}},
        {"blast_radius": RADIUS.model_copy(update={"targets_per_hour": 1, "steps_per_hour": 2})},
        {"acted": {SERVICE.target: (ago(1), ago(2, "restart")), OTHER.target: (ago(3),)}},
        {"acted": {SERVICE.target: (ago(1, ""),)}},
        {"always_approve": ALL},
        {"capabilities": lambda _environment: frozenset()},
        {"natives": {SERVICE.target: (NativeObject("container", "a" * 64, "x"),)}},
        {"min_confidence": 1.0},
    ]
)
NARROWER = st.sampled_from(
    [
        "mode",
        "allow",
        "approve",
        "attempts",
        "rest",
        "share",
        "stop",
        "freeze",
        "later freeze",
        "window",
    ]
)


def _more(given_rules: GuardInput, added: dict[str, Any]) -> GuardInput:
    """The input with this on top: what is known grows, nothing is forgotten."""
    ((key, value),) = added.items()
    old = getattr(given_rules, key)
    if key == "acted":
        value = {t: (*old.get(t, ()), *value.get(t, ())) for t in (*old, *value)}
    elif key == "environment_blast" and old:
        stricter = {
            **old[ENVIRONMENT].model_dump(),
            **value[ENVIRONMENT].model_dump(exclude_none=True),
        }
        value = {ENVIRONMENT: EnvironmentBlastRadius(**stricter)}
    elif isinstance(old, frozenset):
        value = old | value
    elif isinstance(old, int | float):
        value = max(old, value)
    return replace(given_rules, **{key: value})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=6),
    POLICIES,
    st.lists(ADDED | NARROWER, min_size=1, max_size=4),
    st.booleans(),
)
def test_more_protection_never_lets_more_through(
    steps: list[PlanStep], policy: Policy, more: list[dict[str, Any] | str], limited: bool
) -> None:
    wanted = LIMITED if limited else SERVICE
    given_rules = rules(wanted, OTHER, policy=policy)
    about = incident(SERVICE.target)
    told = replace(plan(*steps), planner=PlannerKind.LLM, confidence=0.7)
    before = judge(told, about, given_rules)
    for added in more:
        if isinstance(added, str):
            policy = _narrower(policy, added)
            given_rules = replace(given_rules, policies=dict.fromkeys(given_rules.services, policy))
        else:
            given_rules = _more(given_rules, added)
        after = judge(told, about, given_rules)
        for old, new in zip(before, after, strict=True):
            assert RANK.index(new.decision) <= RANK.index(old.decision), (added, old, new)
            if new.decision is not Decision.DENIED and old.begin_by is not None:
                assert new.begin_by is not None
                assert new.begin_by <= old.begin_by
        assert len(runnable(after)) <= len(runnable(before))
        before = after


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=6), POLICIES, st.integers(1, 4), st.booleans())
def test_no_plan_takes_declared_capacity_away(
    steps: list[PlanStep], policy: Policy, replicas: int, limited: bool
) -> None:
    """Whatever the policy: what may run leaves at least as much as Git declares."""
    limits = Limits.model_validate({"replicas": {"max": 5}, "memory": {"max": "512Mi"}})
    wanted = service(
        replicas=replicas,
        resources={"memory": "256Mi", "cpu": "0.5"},
        remediation={"limits": limits.model_dump(by_alias=True, exclude_none=True)}
        if limited
        else {},
    )
    verdicts = judge(plan(*steps), incident(wanted.target), rules(wanted, OTHER, policy=policy))
    for verdict in verdicts:
        if verdict.decision is Decision.DENIED:
            continue
        done, said = verdict.step.operation, verdict.step.parameters
        assert done not in {"stop", "pause", "rollback_service"}
        if done == "scale":
            assert replicas <= said["replicas"] <= (max(replicas, 5) if limited else replicas)
        if done == "set_resources":
            assert said["memory"] in ({"256Mi", "512Mi"} if limited else {"256Mi"})
            assert said["cpu"] == "500m"
