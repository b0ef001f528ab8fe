"""What the guard is asked and what it answers. Values only; the rules are its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from flows.comparison.drift import Incident
from flows.plan import Plan, PlanStep
from flows.reporting.status import Attempts
from infrastructure.config_models import BlastRadius, EnvironmentBlastRadius, Operation, Policy
from infrastructure.identity import AgentIdentity
from infrastructure.observed import NativeObject, empty
from infrastructure.operations import OperationCall
from infrastructure.service import Service


class Decision(StrEnum):
    """Three answers; everything that is not ALLOWED reaches no engine."""

    ALLOWED = "allowed"
    NEEDS_APPROVAL = "needs_approval"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that is valid now. Given for one plan, and used once.

    `way`: how it was given (`flows.approvals.decision.Way`).
    """

    request: str
    by: str
    way: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one step. `rule` is a stable kebab-case name, `reason` a sentence.

    `begin_by`: after this moment the step is not begun any more; None: at any time.
    `approval`: the person's word that an allowed step rests on; None: it needs none.
    """

    step: PlanStep
    decision: Decision
    rule: str
    reason: str
    begin_by: datetime | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Acted:
    """An operation that was done to a target. Operation empty: not known which."""

    at: datetime
    operation: str


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

    `natives` are the engine objects of each target as last observed; `held`, `breaker`,
    `paused` and `blind` say by target or environment why nothing may be done, `blind`
    because the agent can't tell itself from what runs there. `used_targets` and
    `used_steps` (by environment) are what this run has allowed already, `acted` what
    earlier runs did to each target. `approved`: valid approvals by the digest of the plan
    that they are for; `trusted`: by the same, why a plan whose steps can be undone needs
    none. `engine_access`: by target, what of its host leads to
    the engine. `refusal`: why a target can't do what its environment can. `orphans`: targets
    that UICI made and desired state no longer has, each with why it must stay; they stand in
    `services` as what they were, and only to be removed.
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
    acted: Mapping[str, tuple[Acted, ...]] = field(default_factory=empty)
    paused: Mapping[str, str] = field(default_factory=empty)
    blind: Mapping[str, str] = field(default_factory=empty)
    engine_access: Mapping[str, str] = field(default_factory=empty)
    environment_blast: Mapping[str, EnvironmentBlastRadius] = field(default_factory=empty)
    used_steps_in: Mapping[str, int] = field(default_factory=empty)
    approved: Mapping[str, Approval] = field(default_factory=empty)
    trusted: Mapping[str, str] = field(default_factory=empty)
    orphans: Mapping[str, str | None] = field(default_factory=empty)


@dataclass(frozen=True, slots=True)
class Subject:
    """One step under judgement.

    `position` counts the changing steps of this plan before it; `before` is the longest
    that these may take.
    """

    step: PlanStep
    plan: Plan
    incident: Incident
    position: int
    before: timedelta
    given: GuardInput

    @property
    def service(self) -> Service:
        """The target."""
        return self.given.services[self.step.target]

    @property
    def environment(self) -> str:
        """Of the target."""
        return self.service.metadata.environment

    @property
    def policy(self) -> Policy:
        """The target's, all layers united."""
        return self.given.policies[self.step.target]

    @property
    def operation(self) -> Operation:
        """What the step asks for."""
        return self.given.catalogue.get(self.step.operation)


Rule = Callable[[Subject], str | None]  # the reason to deny, or None
