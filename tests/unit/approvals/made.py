"""Requests, decisions and what they are judged by, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flows.approvals.asking import Asker
from flows.approvals.decision import Answer, Decision, Way
from flows.approvals.ledger import Ledger
from flows.approvals.request import ApprovalRequest
from flows.approvals.standing import Given
from flows.comparison.drift import Drift, Incident
from flows.guard import Decision as Verdicts
from flows.guard import Verdict
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from infrastructure.drift_kinds import DriftKind
from infrastructure.redaction import Redactor
from tests.builders import NOW
from tests.unit.guard.policies import REGISTRY, SERVICE

HOURS = timedelta(hours=4)
CONTENT = "c" * 64
REDACTOR = Redactor([r"hunter2\S*"])
INCIDENT = Incident(
    "f" * 16,
    SERVICE.metadata.environment,
    SERVICE.target,
    (SERVICE.target,),
    (Drift(SERVICE.target, DriftKind.STOPPED, "", "running", "exited 137", "it is not running"),),
)


def plan(operation: str = "recreate", **parameters: Any) -> Plan:
    step = PlanStep(operation, SERVICE.target, parameters, "it has ended")
    return Plan(
        INCIDENT.fingerprint, PlannerKind.LLM, "asked", "it has ended", 0.9, ("exit 137",), (step,)
    )


def request(wanted: Plan | None = None, **changes: Any) -> ApprovalRequest:
    """A request asked at NOW, under its own id."""
    made = wanted or plan()
    content = changes.pop("content", CONTENT)
    asker = Asker(
        catalogue=REGISTRY,
        redactor=REDACTOR,
        run_id="run-1",
        desired_revision="main@sha1:" + "d" * 40,
        content=lambda: content,
        expire_after=changes.pop("expire_after", HOURS),
        undo=lambda operation, target: f"nothing, of {operation} on {target}",
    )
    verdicts = [Verdict(s, Verdicts.NEEDS_APPROVAL, "risk", "too risky") for s in made.steps]
    asked = asker.ask(
        changes.pop("incident", INCIDENT),
        made,
        verdicts,
        evidence=Evidence(facts=("restarted 3 times",)),
        spec_digest=SERVICE.spec_digest,
        now=changes.pop("now", NOW),
    )
    return asked.model_copy(update=changes)


def decision(about: ApprovalRequest, **changes: Any) -> Decision:
    """An approval that is bound to this request."""
    values: dict[str, Any] = {
        "request": about.id,
        "answer": Answer.APPROVE,
        "plan_digest": about.plan_digest,
        "desired_content": about.desired_content,
        "expires_at": about.expires_at,
        "by": "ann",
        "way": Way.COMMAND,
        "at": NOW + timedelta(minutes=5),
    }
    return Decision(**{**values, **changes})


def ledger(
    *requests: ApprovalRequest,
    decisions: tuple[Decision, ...] = (),
    uses: Mapping[str, tuple[str, ...]] | None = None,
) -> Ledger:
    by_id: dict[str, tuple[Decision, ...]] = {}
    for each in decisions:
        by_id[each.request] = (*by_id.get(each.request, ()), each)
    return Ledger({r.id: r for r in requests}, by_id, dict(uses or {}))


def given(known: Ledger, **changes: Any) -> Given:
    """Ten minutes after NOW, nothing changed in Git."""
    now = NOW + timedelta(minutes=10)
    return replace(Given(known, CONTENT, now, HOURS), **changes)
