"""What a run asks of people: a waiting plan becomes a request, and a request a plan again.

Pure. A plan that waits is carried out as it was shown or not at all: no planner is asked
again while it waits. Neighbours: `flows.approvals.view` (calls), `flows.approvals.request`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from flows.approvals.request import (
    ApprovalRequest,
    AskedPlan,
    AskedStep,
    Difference,
)
from flows.comparison.drift import Drift, Incident
from flows.guard import Verdict
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from infrastructure.config_models import Operation

_FACTS = 12
_DRIFTS = 30
_TEXT = 500  # characters of one text


class Catalogue(Protocol):
    """What is needed of `infrastructure.operation_registry.OperationRegistry`."""

    def get(self, name: str) -> Operation:
        """The declared operation. Raises UiciError for an unknown one."""
        ...


class Redactor(Protocol):
    """Cuts secrets out of texts and data."""

    def text(self, text: str, /) -> str:
        """A text without secrets."""
        ...

    def data(self, value: Any, /) -> Any:
        """JSON-able data without secrets."""
        ...


@dataclass(frozen=True, slots=True)
class Asker:
    """What every request of a run has in common.

    `content`: digest over what desired state says (`flows.approvals.store`), read when asked.
    `undo`: operation and target → what takes it back where no other operation does.
    """

    catalogue: Catalogue
    redactor: Redactor
    run_id: str
    desired_revision: str
    content: Callable[[], str]
    expire_after: timedelta
    undo: Callable[[str, str], str]

    def ask(
        self,
        incident: Incident,
        plan: Plan,
        verdicts: Sequence[Verdict],
        *,
        evidence: Evidence,
        spec_digest: str,
        now: datetime,
        renews: str = "",
    ) -> ApprovalRequest:
        """A request for exactly this plan, from now on for `expire_after`."""
        why = {id(v.step): v.reason for v in verdicts}
        asked = AskedPlan(
            planner=plan.planner.value,
            planner_reason=self._text(plan.planner_reason),
            diagnosis=self._text(plan.diagnosis),
            confidence=plan.confidence,
            evidence=tuple(self._text(each) for each in plan.evidence[:_FACTS]),
            steps=tuple(self._step(step, why.get(id(step), "")) for step in plan.steps),
            rollback=tuple(self._step(step, "") for step in plan.rollback),
            runbook=plan.runbook,
            learned=plan.learned,
        )
        return ApprovalRequest(
            target=incident.root,
            fingerprint=incident.fingerprint,
            plan_digest=plan.digest,
            plan=asked,
            diff=tuple(self._difference(drift) for drift in incident.drifts[:_DRIFTS]),
            facts=tuple(self._text(fact) for fact in evidence.facts[:_FACTS]),
            spec_digest=spec_digest,
            desired_revision=self.desired_revision,
            desired_content=self.content(),
            run_id=self.run_id,
            requested_at=now,
            expires_at=now + self.expire_after,
            renews=renews,
        ).identified()

    def _step(self, step: PlanStep, verdict: str) -> AskedStep:
        operation = self.catalogue.get(step.operation)
        inverse = operation.inverse
        return AskedStep(
            operation=step.operation,
            target=step.target,
            parameters=self.redactor.data(dict(step.parameters)),
            why=self._text(step.why),
            expected_effect=self._text(step.expected_effect),
            risk=operation.risk,
            undo=inverse.operation if inverse else self.undo(step.operation, step.target),
            verdict=self._text(verdict),
        )

    def _difference(self, drift: Drift) -> Difference:
        return Difference(
            target=drift.target,
            kind=drift.kind.value,
            field=self._text(drift.field),
            desired=self._text(drift.desired),
            observed=self._text(drift.observed),
            message=self._text(drift.message),
        )

    def _text(self, text: str) -> str:
        clean = "".join(c if c.isprintable() else " " for c in self.redactor.text(text))
        return clean if len(clean) <= _TEXT else clean[: _TEXT - 1] + "…"


def plan_of(request: ApprovalRequest) -> Plan | None:
    """The plan of a request, as it was made.

    None where a secret was cut out of what is kept of it: then its planner has to make it
    again, and only the very same plan is approved.
    """
    kept = request.plan
    try:
        planner = PlannerKind(kept.planner)
    except ValueError:
        return None
    plan = Plan(
        fingerprint=request.fingerprint,
        planner=planner,
        planner_reason=kept.planner_reason,
        diagnosis=kept.diagnosis,
        confidence=kept.confidence,
        evidence=kept.evidence,
        steps=tuple(_step_of(step) for step in kept.steps),
        rollback=tuple(_step_of(step) for step in kept.rollback),
        runbook=kept.runbook,
        learned=kept.learned,
    )
    return plan if plan.digest == request.plan_digest else None


def is_shown(
    plan: Plan, request: ApprovalRequest, redact: Callable[[Mapping[str, Any]], Any]
) -> bool:
    """Whether a request shows people this plan and no other; `redact` as when it was asked."""
    shown = [(s.operation, s.target, s.parameters) for s in request.plan.steps]
    is_so = [(s.operation, s.target, redact(dict(s.parameters))) for s in plan.steps]
    return plan.digest == request.plan_digest and shown == is_so


def _step_of(step: AskedStep) -> PlanStep:
    return PlanStep(
        operation=step.operation,
        target=step.target,
        parameters=step.parameters,
        why=step.why,
        expected_effect=step.expected_effect,
    )
