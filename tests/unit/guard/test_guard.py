"""Stage 4: every rule stops what it must, nothing stopped reaches an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import infrastructure.config
from flows.comparison.drift import Drift, Incident
from flows.guard import (
    Decision,
    GuardDeniedError,
    GuardedInterface,
    GuardInput,
    Verdict,
    attempts_gate,
    judge,
)
from flows.plan import Plan, PlannerKind, PlanStep
from flows.reporting.status import Attempts
from infrastructure.config_models import BlastRadius, Operations, Policy
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import NativeObject
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus, Risk
from infrastructure.service import Backoff, Mode, Overrun, Service
from tests.builders import AGENT, ENVIRONMENT, NOW, service, services

CONFIG = Path(next(iter(infrastructure.config.__path__)))
REGISTRY = OperationRegistry(
    Operations.model_validate(yaml.safe_load((CONFIG / "operations.yml").read_text()))
)
SERVICE = service(
    replicas=2, env={"LOG_LEVEL": "info"}, resources={"memory": "256Mi", "cpu": "0.5"}
)
BACKOFF = Backoff(initial=timedelta(seconds=30), max=timedelta(minutes=15))
POLICY = Policy(
    mode=Mode.ENFORCE,
    allow_up_to=Risk.HIGH,
    approve_up_to=Risk.DESTRUCTIVE,
    max_attempts=3,
    backoff=BACKOFF,
    cool_down=timedelta(0),
    replica_share=1,
    overrun=Overrun.STOP,
)
ALL_OPERATIONS = frozenset(REGISTRY.names())


def incident(*targets: str) -> Incident:
    names = targets or (SERVICE.target,)
    drifts = tuple(Drift(name, DriftKind.STOPPED) for name in names)
    return Incident("f" * 16, ENVIRONMENT, names[0], names, drifts)


def step(operation: str = "start", target: str = SERVICE.target, **parameters: Any) -> PlanStep:
    return PlanStep(operation, target, parameters, "because")


def plan(*steps: PlanStep) -> Plan:
    return Plan("f" * 16, PlannerKind.RUNBOOK, "r", "d", 1.0, (), steps)


def rules(
    all_services: Mapping[str, Service] | None = None, policy: Policy = POLICY, **changes: Any
) -> GuardInput:
    known = all_services if all_services is not None else services(SERVICE)
    given_rules = GuardInput(
        services=known,
        policies=dict.fromkeys(known, policy),
        catalogue=REGISTRY,
        capabilities=lambda _environment: ALL_OPERATIONS,
        identity=AGENT,
        blast_radius=BlastRadius(targets_per_run=3, steps_per_run=5, steps_per_incident=3),
        always_approve=frozenset({"execute_command"}),
        now=NOW,
    )
    return replace(given_rules, **changes)


def verdict(one: PlanStep, given_rules: GuardInput | None = None) -> Verdict:
    targets = (SERVICE.target,) if one.target == SERVICE.target else (SERVICE.target, one.target)
    return judge(plan(one), incident(*targets), given_rules or rules())[0]


def test_a_repair_that_restores_desired_state_is_allowed() -> None:
    assert verdict(step()).decision is Decision.ALLOWED


def test_what_the_target_itself_can_not_do_is_denied_with_its_reason() -> None:
    one = step()
    given = rules(refusal=lambda call: f"not for a pool ({call.operation} {call.target})")
    told = verdict(one, given)
    assert (told.decision, told.rule) == (Decision.DENIED, "capability")
    assert told.reason.endswith(f"not for a pool ({one.operation} {one.target})")


@pytest.mark.parametrize(
    ("one", "changes", "rule"),
    [
        (step(target="local-docker/unknown"), {}, "in-desired-state"),
        (step("format_disk"), {}, "capability"),
        (step(), {"capabilities": lambda _e: frozenset({"stop"})}, "capability"),
        (step("scale", replicas="two"), {}, "schema"),
        (step("scale"), {}, "schema"),
        (step("start", force=True), {}, "schema"),
        (step(), {"breaker": {ENVIRONMENT: "everything is down"}}, "breaker"),
        (step(), {"held": {SERVICE.target: "suspended"}}, "held"),
        (step(), {"used_targets": frozenset({"a", "b", "c"})}, "blast-radius"),
        (step(), {"used_steps": 5}, "blast-radius"),
        (step("stop"), {}, "desired-state-bounds"),
        (step("pause"), {}, "desired-state-bounds"),
        (step("scale", replicas=0), {}, "desired-state-bounds"),
        (step("scale", replicas=1), {}, "desired-state-bounds"),
        (step("scale", replicas=3), {}, "desired-state-bounds"),
        (step("set_image", image="evil:1"), {}, "desired-state-bounds"),
        (step("set_resources", memory="1Gi"), {}, "desired-state-bounds"),
        (step("set_resources", memory="nonsense"), {}, "desired-state-bounds"),
        (step("set_env", env={"LOG_LEVEL": "debug"}), {}, "desired-state-bounds"),
        (step("set_env", env={"NEW": "x"}), {}, "desired-state-bounds"),
        (step("rollback_service"), {}, "desired-state-bounds"),
    ],
)
def test_each_rule_denies(one: PlanStep, changes: dict[str, Any], rule: str) -> None:
    answer = verdict(one, rules(**changes))
    assert (answer.decision, answer.rule) == (Decision.DENIED, rule), answer.reason


@pytest.mark.parametrize(
    ("planner", "confidence", "decision"),
    [
        (PlannerKind.LLM, 0.49, Decision.DENIED),
        (PlannerKind.LLM, 0.5, Decision.ALLOWED),
        (PlannerKind.RUNBOOK, 0.1, Decision.ALLOWED),
    ],
)
def test_a_model_that_is_not_sure_changes_nothing(
    planner: PlannerKind, confidence: float, decision: Decision
) -> None:
    unsure = replace(plan(step(), step("get_status")), planner=planner, confidence=confidence)
    change, read = judge(unsure, incident(), rules(min_confidence=0.5))
    assert change.decision is decision
    assert (change.rule == "confidence") is (decision is Decision.DENIED)
    assert read.decision is Decision.ALLOWED


def test_a_step_that_waits_for_a_person_says_by_which_rule() -> None:
    always = verdict(step(), rules(always_approve=frozenset({"start"})))
    assert (always.decision, always.rule) == (Decision.NEEDS_APPROVAL, "always-approve")
    assert "guard.alwaysApprove names it" in always.reason
    cautious = POLICY.model_copy(update={"allow_up_to": Risk.READ})
    risky = verdict(step(), rules(policy=cautious))
    assert (risky.decision, risky.rule) == (Decision.NEEDS_APPROVAL, "risk")
    assert "risk low is above read" in risky.reason


@pytest.mark.parametrize(
    "one",
    [
        step("scale", replicas=2),
        step("set_image", image="market-predictor:1.0.0"),
        step("set_resources", memory="256Mi", cpu="500m"),
        step("set_resources", memory=268435456),
        step("set_env", env={"LOG_LEVEL": "info"}),
        step("restart", strategy="rolling"),
        step("recreate"),
    ],
)
def test_what_git_itself_says_may_be_set(one: PlanStep) -> None:
    answer = verdict(one)
    assert answer.decision is Decision.ALLOWED, answer.reason


def test_a_target_outside_of_the_incident_is_not_touched() -> None:
    other = service("other")
    known = rules(services(SERVICE, other))
    answer = judge(plan(step(target=other.target)), incident(), known)[0]
    assert (answer.decision, answer.rule) == (Decision.DENIED, "in-incident")


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PROPOSE])
def test_only_enforce_changes_the_world(mode: Mode) -> None:
    policy = POLICY.model_copy(update={"mode": mode})
    assert verdict(step(), rules(policy=policy)).rule == "mode"
    assert verdict(step("get_status"), rules(policy=policy)).decision is Decision.ALLOWED


def test_risk_decides_between_running_alone_asking_and_never() -> None:
    low = POLICY.model_copy(update={"allow_up_to": Risk.LOW, "approve_up_to": Risk.LOW})
    asks = POLICY.model_copy(update={"allow_up_to": Risk.LOW})
    assert verdict(step("recreate")).decision is Decision.ALLOWED
    assert verdict(step("recreate"), rules(policy=asks)).decision is Decision.NEEDS_APPROVAL
    assert verdict(step("recreate"), rules(policy=low)).decision is Decision.DENIED


def test_some_operations_always_wait_for_a_person() -> None:
    answer = verdict(step("execute_command", argv=["true"]))
    assert answer.decision is Decision.NEEDS_APPROVAL


PROTECTED = [
    ("name", service("devops-ai-agent"), ()),
    ("replica suffix", service("devops-ai-agent-1"), ()),
    ("compose project", service("stack-devops-ai-agent"), ()),
    ("what it lives on", service("prefect-server"), ()),
    ("its own id", SERVICE, (NativeObject("container", "a" * 64, "renamed"),)),
    ("a prefix of its id", SERVICE, (NativeObject("container", "a" * 12, "renamed"),)),
    ("its label", SERVICE, (NativeObject("container", "1" * 64, "x", {"uici.role": "agent"}),)),
    (
        "compose label",
        SERVICE,
        (
            NativeObject(
                "container", "1" * 64, "x", {"com.docker.compose.service": "devops-ai-agent"}
            ),
        ),
    ),
]


@pytest.mark.parametrize(
    ("wanted", "natives"), [p[1:] for p in PROTECTED], ids=[p[0] for p in PROTECTED]
)
@pytest.mark.parametrize("operation", ["start", "get_logs", "restart"])
def test_no_step_on_the_agent_whatever_it_is_called(
    wanted: Service, natives: tuple[NativeObject, ...], operation: str
) -> None:
    known = rules(services(wanted), natives={wanted.target: natives})
    answer = judge(plan(step(operation, wanted.target)), incident(wanted.target), known)[0]
    assert (answer.decision, answer.rule) == (Decision.DENIED, "self-exclusion")


def test_a_similar_name_is_not_the_agent() -> None:
    for name in ("devops-ai-agent-web", "prefect-server-proxy", "my-prefect-server", "agent"):
        wanted = service(name)
        known = rules(services(wanted))
        answer = judge(plan(step(target=wanted.target)), incident(wanted.target), known)[0]
        assert answer.decision is Decision.ALLOWED, name


def attempts(count: int, *, ago: float = 3600, digest: str = SERVICE.spec_digest) -> Attempts:
    last = NOW - timedelta(seconds=ago)
    return Attempts(
        spec_digest=digest,
        count=count,
        last_at=last,
        not_before=last + BACKOFF.initial * 2 ** (count - 1),
    )


@pytest.mark.parametrize(
    ("known", "stopped"),
    [
        (None, False),
        (attempts(1), False),
        (attempts(1, ago=5), True),
        (attempts(3), True),
        (attempts(3, digest="another"), False),
    ],
)
def test_attempts_and_back_off_are_kept_by_target_and_spec(
    known: Attempts | None, stopped: bool
) -> None:
    assert (attempts_gate(SERVICE, POLICY, known, NOW) is not None) is stopped
    given_rules = rules(attempts={SERVICE.target: known} if known else {})
    assert (verdict(step(), given_rules).rule == "attempts") is stopped


def test_a_plan_with_too_many_steps_is_cut_by_the_blast_radius() -> None:
    verdicts = judge(plan(*[step() for _ in range(5)]), incident(), rules())
    assert [v.decision for v in verdicts] == [Decision.ALLOWED] * 3 + [Decision.DENIED] * 2


class RecordingInterface:
    """Notes every call that reaches it."""

    def __init__(self) -> None:
        self.calls: list[OperationCall] = []

    def run(self, call: OperationCall, *, deadline: datetime | None) -> OperationOutcome:  # noqa: ARG002 - the protocol's
        self.calls.append(call)
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW)


def test_only_an_allowed_verdict_reaches_the_interface() -> None:
    reached = RecordingInterface()
    guarded = GuardedInterface(reached, REGISTRY, AGENT, now=lambda: NOW)
    for decision in (Decision.DENIED, Decision.NEEDS_APPROVAL):
        with pytest.raises(GuardDeniedError):
            guarded.run(Verdict(step(), decision, "rule", "reason"), deadline=None)
    assert reached.calls == []
    guarded.run(Verdict(step(), Decision.ALLOWED, "rule", "reason"), deadline=None)
    assert [call.operation for call in reached.calls] == ["start"]


def test_even_an_allowed_verdict_does_not_reach_the_agent() -> None:
    reached = RecordingInterface()
    guarded = GuardedInterface(reached, REGISTRY, AGENT, now=lambda: NOW)
    own = step(target="local-docker/devops-ai-agent")
    with pytest.raises(GuardDeniedError):
        guarded.run(Verdict(own, Decision.ALLOWED, "rule", "reason"), deadline=None)
    with pytest.raises(GuardDeniedError):
        guarded.read(own.call, deadline=None)
    assert reached.calls == []


def test_reading_is_for_reads_only() -> None:
    reached = RecordingInterface()
    guarded = GuardedInterface(reached, REGISTRY, AGENT, now=lambda: NOW)
    with pytest.raises(GuardDeniedError):
        guarded.read(step("restart").call, deadline=None)
    assert reached.calls == []
    guarded.read(step("get_status").call, deadline=None)
    assert len(reached.calls) == 1


PROTECTIONS = st.sampled_from(
    [
        {"breaker": {ENVIRONMENT: "x"}},
        {"held": {SERVICE.target: "x"}},
        {"attempts": {SERVICE.target: attempts(3)}},
        {"used_steps": 5},
        {"used_targets": frozenset({"a", "b", "c"})},
        {"always_approve": ALL_OPERATIONS},
        {"capabilities": lambda _e: frozenset()},
        {"natives": {SERVICE.target: (NativeObject("container", "a" * 64, "x"),)}},
    ]
)
STEPS = st.sampled_from(
    [
        step(),
        step("restart"),
        step("scale", replicas=2),
        step("scale", replicas=0),
        step("recreate"),
        step("stop"),
        step("execute_command", argv=["x"]),
    ]
)


@given(st.lists(STEPS, min_size=1, max_size=6), st.lists(PROTECTIONS, max_size=3))
def test_adding_a_protection_never_allows_more(
    steps: list[PlanStep], protections: list[dict[str, Any]]
) -> None:
    rank = [Decision.DENIED, Decision.NEEDS_APPROVAL, Decision.ALLOWED]
    given_rules = rules()
    before = judge(plan(*steps), incident(), given_rules)
    for protection in protections:
        given_rules = replace(given_rules, **protection)
        after = judge(plan(*steps), incident(), given_rules)
        for old, new in zip(before, after, strict=True):
            assert rank.index(new.decision) <= rank.index(old.decision)
        before = after


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=20)


@given(NAMES, NAMES, st.dictionaries(NAMES, st.none() | st.integers() | NAMES, max_size=3))
def test_whatever_a_plan_says_only_declared_operations_on_declared_targets_pass(
    operation: str, target: str, parameters: dict[str, Any]
) -> None:
    wild = PlanStep(operation, f"{ENVIRONMENT}/{target}", parameters, "")
    answer = judge(plan(wild), incident(SERVICE.target, wild.target), rules())[0]
    if answer.decision is not Decision.DENIED:
        assert operation in ALL_OPERATIONS
        assert wild.target == SERVICE.target
