"""Stage 4, guard: which steps of a plan may run. Deterministic, deny by default.

`judge` is pure: a list of rules (`flows.guarding.rules`), each of which can only stop a
step; what none stops is allowed up to the risk that policy names. `GuardedInterface` wraps
the universal interface: nothing that changes the world reaches an executor without a
verdict from here. Next stage: execute.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from flows.comparison.drift import Incident
from flows.guarding.frequency import acted_before, attempts_gate
from flows.guarding.rules import CHANGE_RULES, IDENTITY_RULES, PASSING_RULES, begin_by
from flows.guarding.verdict import (
    Acted,
    Approval,
    Decision,
    GuardInput,
    OperationCatalogue,
    Subject,
    Verdict,
)
from flows.guarding.windows import Closed, standing
from flows.plan import Plan
from infrastructure.config_models import Policy
from infrastructure.errors import PermanentError
from infrastructure.identity import AgentIdentity
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus, Risk
from infrastructure.service import Service

__all__ = [
    "PASSING_RULES",
    "Acted",
    "Approval",
    "Decision",
    "GuardDeniedError",
    "GuardInput",
    "GuardedInterface",
    "OperationCatalogue",
    "Verdict",
    "acted_before",
    "attempts_gate",
    "judge",
    "waits_for",
]


class GuardDeniedError(PermanentError):
    """Something tried to run a step without a verdict that allows exactly this step."""


def judge(plan: Plan, incident: Incident, given: GuardInput) -> tuple[Verdict, ...]:
    """One verdict a step, in order."""
    verdicts: list[Verdict] = []
    changing, before = 0, timedelta(0)
    for step in plan.steps:
        subject = Subject(step, plan, incident, changing, before, given)
        verdict = _judge_step(subject)
        verdicts.append(verdict)
        if verdict.rule == "read-only":
            continue
        changing += 1
        if verdict.decision is not Decision.DENIED:
            before += subject.operation.timeout
    return tuple(verdicts)


def _judge_step(subject: Subject) -> Verdict:
    for name, rule in IDENTITY_RULES:
        if (reason := rule(subject)) is not None:
            return Verdict(subject.step, Decision.DENIED, name, reason)
    if subject.operation.risk is Risk.READ:
        return Verdict(subject.step, Decision.ALLOWED, "read-only", "it changes nothing")
    for name, rule in CHANGE_RULES:
        if (reason := rule(subject)) is not None:
            return Verdict(subject.step, Decision.DENIED, name, reason)
    return _by_risk(subject)


def _by_risk(subject: Subject) -> Verdict:
    step, policy, risk = subject.step, subject.policy, subject.operation.risk
    asks = step.operation in subject.given.always_approve
    if risk.rank <= policy.allow_up_to.rank and not asks:
        reason = f"risk {risk.value} runs alone up to {policy.allow_up_to.value}"
        return Verdict(step, Decision.ALLOWED, "risk", reason, begin_by(subject))
    if risk.rank <= policy.approve_up_to.rank:
        approval = subject.given.approved.get(subject.plan.digest)
        if approval is not None and subject.given.now < approval.expires_at:
            return _approved(subject, approval)
        trust = subject.given.trusted.get(subject.plan.digest)
        if trust is not None and subject.operation.inverse is not None and not asks:
            return Verdict(step, Decision.ALLOWED, "trusted", trust, begin_by(subject))
        rule = "always-approve" if asks else "risk"
        reason = (
            f"{step.operation} always waits for a person: guard.alwaysApprove names it"
            if asks
            else f"risk {risk.value} is above {policy.allow_up_to.value}, the most that runs "
            f"without a person: {step.operation} waits for one"
        )
        return Verdict(step, Decision.NEEDS_APPROVAL, rule, reason, begin_by(subject))
    reason = f"risk {risk.value} is above {policy.approve_up_to.value}, the most that is allowed"
    return Verdict(step, Decision.DENIED, "risk", reason)


def _approved(subject: Subject, approval: Approval) -> Verdict:
    """A person has allowed exactly this plan; it is begun before that ends, or not at all."""
    until = begin_by(subject)
    if subject.position == 0:
        until = approval.expires_at if until is None else min(until, approval.expires_at)
    reason = f"approved by {approval.by} ({approval.way}, {approval.request})"
    return Verdict(subject.step, Decision.ALLOWED, "approved", reason, until, approval)


def waits_for(service: Service, policy: Policy, given: GuardInput) -> str | None:
    """Why nothing can be done about a target now and time alone helps: no plan is needed.

    A pause, a freeze, a closed window, a back-off that runs. Spent attempts are none of
    these: people are told of them.
    """
    paused = given.paused.get(service.metadata.environment)
    if paused is not None:
        return paused
    state = standing(policy, given.now)
    if isinstance(state, Closed):
        return str(state)
    attempts = given.attempts.get(service.target)
    if attempts is not None and attempts.count >= policy.max_attempts:
        return None
    return attempts_gate(service, policy, attempts, given.now)


class Interface(Protocol):
    """What the guard wraps: `infrastructure.universal_interface`."""

    def run(self, call: OperationCall, *, deadline: datetime | None) -> OperationOutcome:
        """Carry out one operation; failures are in the outcome."""
        ...


def _nobody(_environment: str) -> str | None:
    """Nobody has paused anything."""
    return None


class GuardedInterface:
    """The only way from the flows to an engine."""

    def __init__(
        self,
        interface: Interface,
        catalogue: OperationCatalogue,
        identity: AgentIdentity,
        *,
        now: Callable[[], datetime],
        paused: Callable[[str], str | None] = _nobody,
    ) -> None:
        """Wrap an interface.

        Args:
            interface: what is wrapped.
            catalogue: the declared operations.
            identity: the agent's.
            now: clock with time zone.
            paused: environment → why nothing may be done there at this moment.
        """
        self._interface = interface
        self._catalogue = catalogue
        self._identity = identity
        self._now = now
        self._paused = paused

    def run(self, verdict: Verdict, *, deadline: datetime | None) -> OperationOutcome:
        """Carry out a step that was allowed.

        SKIPPED, with nothing called, when its window has closed since, or somebody has
        paused the environment.

        Raises:
            GuardDeniedError: the verdict is not ALLOWED, or names the agent. Nothing was
                called.
        """
        call, now = verdict.step.call, self._now()
        if verdict.decision is not Decision.ALLOWED:
            raise GuardDeniedError(
                f"{call.operation} on {call.target}: {verdict.decision.value} by {verdict.rule}"
            )
        if self._catalogue.get(call.operation).risk is not Risk.READ:
            stopped = self._paused(call.target.partition("/")[0])
            if stopped is None and verdict.begin_by is not None and now > verdict.begin_by:
                ended = "its approval has ended, or " if verdict.approval is not None else ""
                stopped = f"{ended}its window closes too soon by now"
            if stopped is not None:
                return OperationOutcome(call, OutcomeStatus.SKIPPED, now, now, error=stopped)
        return self._call(call, deadline)

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
