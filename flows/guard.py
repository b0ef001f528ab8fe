"""Stage 4, guard: which steps of a plan may run. Deterministic, deny by default.

`judge` is pure: a list of rules, each of which can only stop a step; what none stops is
allowed up to the risk that policy names. `GuardedInterface` wraps the universal
interface: nothing that changes the world reaches an executor without a verdict from
here. Next stage: execute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from pydantic.alias_generators import to_snake

from flows.comparison.drift import Incident
from flows.plan import Plan, PlannerKind, PlanStep
from flows.reporting.status import Attempts
from infrastructure.config_models import BlastRadius, Operation, Policy
from infrastructure.errors import PermanentError, UiciError
from infrastructure.identity import AgentIdentity
from infrastructure.observed import NativeObject, empty
from infrastructure.operations import Effect, OperationCall, OperationOutcome, Risk
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import Mode, Service, ServiceSpec


class Decision(StrEnum):
    """Three answers; everything that is not ALLOWED reaches no engine."""

    ALLOWED = "allowed"
    NEEDS_APPROVAL = "needs_approval"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one step. `rule` is a stable kebab-case name, `reason` a sentence."""

    step: PlanStep
    decision: Decision
    rule: str
    reason: str


class GuardDeniedError(PermanentError):
    """Something tried to run a step without a verdict that allows exactly this step."""


class OperationCatalogue(Protocol):
    """What the guard needs of `infrastructure.operation_registry.OperationRegistry`."""

    def get(self, name: str) -> Operation:
        """The declared operation. Raises UiciError for an unknown one."""
        ...

    def validate(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with defaults. Raises UiciError when they do not fit the schema."""
        ...


def _nothing_known(_: OperationCall) -> str | None:
    """Of a target alone."""
    return None


@dataclass(frozen=True, slots=True)
class GuardInput:
    """Everything that verdicts rest on. The same input gives the same verdicts.

    `natives` are the engine objects of each target as last observed; `held` and
    `breaker` say by target or environment why nothing may be done; `used_targets` and
    `used_steps` what this run has allowed already. `refusal`: why a target can't do what its
    environment can.
    """

    services: Mapping[str, Service]
    policies: Mapping[str, Policy]
    catalogue: OperationCatalogue
    capabilities: Callable[[str], frozenset[str]]
    identity: AgentIdentity
    blast_radius: BlastRadius
    always_approve: frozenset[str]
    now: datetime
    natives: Mapping[str, tuple[NativeObject, ...]] = field(default_factory=empty)
    held: Mapping[str, str] = field(default_factory=empty)
    breaker: Mapping[str, str] = field(default_factory=empty)
    min_confidence: float = 0.0
    attempts: Mapping[str, Attempts] = field(default_factory=empty)
    used_targets: frozenset[str] = frozenset()
    used_steps: int = 0
    refusal: Callable[[OperationCall], str | None] = _nothing_known


@dataclass(frozen=True, slots=True)
class _Subject:
    """One step under judgement. `position` counts changing steps of this plan before it."""

    step: PlanStep
    plan: Plan
    incident: Incident
    position: int
    given: GuardInput

    @property
    def service(self) -> Service:
        return self.given.services[self.step.target]

    @property
    def policy(self) -> Policy:
        return self.given.policies[self.step.target]

    @property
    def operation(self) -> Operation:
        return self.given.catalogue.get(self.step.operation)


Rule = Callable[[_Subject], str | None]  # the reason to deny, or None


def judge(plan: Plan, incident: Incident, given: GuardInput) -> tuple[Verdict, ...]:
    """One verdict a step, in order."""
    verdicts: list[Verdict] = []
    changing = 0
    for step in plan.steps:
        verdict = _judge_step(_Subject(step, plan, incident, changing, given))
        verdicts.append(verdict)
        changing += verdict.rule != "read-only"
    return tuple(verdicts)


def _judge_step(subject: _Subject) -> Verdict:
    for name, rule in _IDENTITY_RULES:
        if (reason := rule(subject)) is not None:
            return Verdict(subject.step, Decision.DENIED, name, reason)
    if subject.operation.risk is Risk.READ:
        return Verdict(subject.step, Decision.ALLOWED, "read-only", "it changes nothing")
    for name, rule in _CHANGE_RULES:
        if (reason := rule(subject)) is not None:
            return Verdict(subject.step, Decision.DENIED, name, reason)
    return _by_risk(subject)


def _by_risk(subject: _Subject) -> Verdict:
    step, policy, risk = subject.step, subject.policy, subject.operation.risk
    asks = step.operation in subject.given.always_approve
    if risk.rank <= policy.allow_up_to.rank and not asks:
        reason = f"risk {risk.value} runs alone up to {policy.allow_up_to.value}"
        return Verdict(step, Decision.ALLOWED, "risk", reason)
    if risk.rank <= policy.approve_up_to.rank:
        rule = "always-approve" if asks else "risk"
        reason = (
            f"{step.operation} always waits for a person: guard.alwaysApprove names it"
            if asks
            else f"risk {risk.value} is above {policy.allow_up_to.value}, the most that runs "
            f"without a person: {step.operation} waits for one"
        )
        return Verdict(step, Decision.NEEDS_APPROVAL, rule, reason)
    reason = f"risk {risk.value} is above {policy.approve_up_to.value}, the most that is allowed"
    return Verdict(step, Decision.DENIED, "risk", reason)


# ── rules for every step, reads included ────────────────────────────────────────


def _in_desired_state(subject: _Subject) -> str | None:
    target = subject.step.target
    if target not in subject.given.services or target not in subject.given.policies:
        return f"{target} is not in desired state"
    return None


def _in_incident(subject: _Subject) -> str | None:
    if subject.step.target not in subject.incident.targets:
        return f"{subject.step.target} is not part of this incident"
    return None


def _not_the_agent(subject: _Subject) -> str | None:
    identity, step = subject.given.identity, subject.step
    name = step.target.partition("/")[2]
    if identity.protects_name(name):
        return f"{name} is the agent itself or something it lives on"
    for native in subject.given.natives.get(step.target, ()):
        reason = identity.reason(native)
        if reason is not None:
            return f"{native.kind} {native.name} is protected: {reason}"
    return None


def _capable(subject: _Subject) -> str | None:
    environment = subject.service.metadata.environment
    if subject.step.operation not in subject.given.capabilities(environment):
        return f"{environment} has no operation {subject.step.operation}"
    step = subject.step
    refusal = subject.given.refusal(OperationCall(step.operation, step.target, step.parameters))
    return None if refusal is None else f"{step.target} can't do {step.operation}: {refusal}"


def _fits_schema(subject: _Subject) -> str | None:
    try:
        subject.given.catalogue.validate(subject.step.operation, subject.step.parameters)
    except UiciError as exc:
        return str(exc)
    return None


# ── rules for steps that change the world ───────────────────────────────────────


def _breaker_closed(subject: _Subject) -> str | None:
    return subject.given.breaker.get(subject.service.metadata.environment)


def _not_held(subject: _Subject) -> str | None:
    return subject.given.held.get(subject.step.target)


def _mode_enforces(subject: _Subject) -> str | None:
    mode = subject.policy.mode
    return None if mode is Mode.ENFORCE else f"the target's mode is {mode.value}, not enforce"


def _sure_enough(subject: _Subject) -> str | None:
    """What a model proposes without being sure of it is left to the next planner."""
    plan, wanted = subject.plan, subject.given.min_confidence
    if plan.planner is not PlannerKind.LLM or plan.confidence >= wanted:
        return None
    return (
        f"the model is {plan.confidence:.0%} sure of its plan, guard.minConfidence is {wanted:.0%}"
    )


def _attempts_left(subject: _Subject) -> str | None:
    return attempts_gate(
        subject.service,
        subject.policy,
        subject.given.attempts.get(subject.step.target),
        subject.given.now,
    )


def attempts_gate(
    service: Service, policy: Policy, attempts: Attempts | None, now: datetime
) -> str | None:
    """Why a target may not be tried now: its attempts are spent, or its back-off runs."""
    if policy.max_attempts == 0:
        return "no attempts are allowed"
    if attempts is None or attempts.spec_digest != service.spec_digest:
        return None
    if attempts.count >= policy.max_attempts:
        return f"{attempts.count} of {policy.max_attempts} attempts have failed"
    if now < attempts.not_before:
        return f"backing off until {attempts.not_before.isoformat(timespec='seconds')}"
    return None


def _within_blast_radius(subject: _Subject) -> str | None:
    limits, given = subject.given.blast_radius, subject.given
    if len(given.used_targets | {subject.step.target}) > limits.targets_per_run:
        return f"this run has reached {limits.targets_per_run} targets, its limit"
    if given.used_steps + subject.position >= limits.steps_per_run:
        return f"this run has reached {limits.steps_per_run} steps, its limit"
    if subject.position >= limits.steps_per_incident:
        return f"the plan has more than {limits.steps_per_incident} steps"
    return None


def _restores_desired_state(subject: _Subject) -> str | None:
    """Live operations only restore what Git declares; anything else is a proposal to Git."""
    operation, spec = subject.operation, subject.service.spec
    if operation.leaves_desired_state:
        return "it would leave the state that Git declares: revert the commit instead"
    if operation.effect in (Effect.STOPPED, Effect.PAUSED) and spec.replicas > 0:
        return "it would take away capacity that Git declares"
    for parameter, pointer in operation.bounds.items():
        value = subject.step.parameters.get(parameter)
        if value is not None and not _same(value, _declared(spec, pointer)):
            return f"{parameter} differs from what Git declares at {pointer}"
    return None


def _declared(spec: ServiceSpec, pointer: str) -> Any:
    """The typed value at a JSON pointer of camelCase names; None where nothing is."""
    value: Any = spec
    for part in pointer[1:].split("/"):
        if isinstance(value, Mapping):
            value = value.get(part)
        else:
            value = getattr(value, to_snake(part), None)
    return value


def _same(value: Any, declared: Any) -> bool:
    """Whether a parameter says what Git declares; a mapping may say a part of it."""
    if isinstance(declared, Mapping) and isinstance(value, Mapping):
        return all(key in declared and _same(v, declared[key]) for key, v in value.items())
    try:
        if isinstance(declared, Decimal):
            return parse_cpu(value) == declared
        if isinstance(declared, int) and isinstance(value, str):
            return parse_memory(value) == declared
    except ValueError:
        return False
    return type(value) is type(declared) and bool(value == declared)


_IDENTITY_RULES: tuple[tuple[str, Rule], ...] = (
    ("in-desired-state", _in_desired_state),
    ("in-incident", _in_incident),
    ("self-exclusion", _not_the_agent),
    ("capability", _capable),
    ("schema", _fits_schema),
)
_CHANGE_RULES: tuple[tuple[str, Rule], ...] = (
    ("breaker", _breaker_closed),
    ("held", _not_held),
    ("mode", _mode_enforces),
    ("confidence", _sure_enough),
    ("attempts", _attempts_left),
    ("blast-radius", _within_blast_radius),
    ("desired-state-bounds", _restores_desired_state),
)


# Denials that end by themselves; the next run tries again without telling anybody.
PASSING_RULES = frozenset({"blast-radius", "held", "breaker", "mode", "attempts"})


class Interface(Protocol):
    """What the guard wraps: `infrastructure.universal_interface`."""

    def run(self, call: OperationCall, *, deadline: datetime | None) -> OperationOutcome:
        """Carry out one operation; failures are in the outcome."""
        ...


class GuardedInterface:
    """The only way from the flows to an engine."""

    def __init__(
        self, interface: Interface, catalogue: OperationCatalogue, identity: AgentIdentity
    ) -> None:
        self._interface = interface
        self._catalogue = catalogue
        self._identity = identity

    def run(self, verdict: Verdict, *, deadline: datetime | None) -> OperationOutcome:
        """Carry out a step that was allowed.

        Raises:
            GuardDeniedError: the verdict is not ALLOWED, or names the agent. Nothing was
                called.
        """
        if verdict.decision is not Decision.ALLOWED:
            raise GuardDeniedError(
                f"{verdict.step.operation} on {verdict.step.target}: "
                f"{verdict.decision.value} by {verdict.rule}"
            )
        return self._call(verdict.step.call, deadline)

    def read(self, call: OperationCall, *, deadline: datetime | None) -> OperationOutcome:
        """Carry out an operation that changes nothing: evidence, a person's question.

        Raises:
            GuardDeniedError: the operation is not a read, or the target is the agent.
        """
        if self._catalogue.get(call.operation).risk is not Risk.READ:
            raise GuardDeniedError(f"{call.operation} is not read-only")
        return self._call(call, deadline)

    def _call(self, call: OperationCall, deadline: datetime | None) -> OperationOutcome:
        if self._identity.protects_name(call.target.partition("/")[2]):
            raise GuardDeniedError(f"{call.target} is the agent itself or something it lives on")
        return self._interface.run(call, deadline=deadline)
