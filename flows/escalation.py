"""Telling a person: the operation's name, what it can carry, the plan that does only this.

Every environment can do it: it needs no engine. Neighbours: `flows.planners.order` and
`flows.cases` (make such plans), `flows.act` (tells of what the guard stopped).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from flows.comparison.drift import Incident
from flows.plan import Evidence, News, Plan, PlannerKind, PlanStep

ESCALATE = "escalate_to_human"
# What operations.yml allows for its summary; a test holds the two together.
MAX_SUMMARY = 500

Severity = Literal["info", "warning", "critical"]
# What operations.yml takes where a plan says none; the same test.
USUAL_SEVERITY: Severity = "warning"


def escalation(
    incident: Incident,
    reason: str,
    *,
    summary: str,
    severity: Severity,
    diagnosis: str,
    why: str,
) -> Plan:
    """A plan that only tells a person.

    Args:
        incident: what is wrong.
        reason: why a person is told, as the plan's reason.
        summary: what the person reads first; cut to what the operation takes.
        severity: of the alert.
        diagnosis: what is held to be wrong.
        why: the step's own reason.
    """
    step = PlanStep(
        operation=ESCALATE,
        target=incident.root,
        parameters=telling(summary, severity),
        why=why,
        expected_effect="an alert in Alertmanager tells people about it",
    )
    return Plan(
        fingerprint=incident.fingerprint,
        planner=PlannerKind.NONE,
        planner_reason=reason,
        diagnosis=diagnosis,
        confidence=0.0,
        evidence=(),
        steps=(step,),
    )


def with_suspect(plan: Plan, evidence: Evidence) -> Plan:
    """The plan, its telling with the commit that all was well until; a model says it itself."""
    change = evidence.git_change
    if change is None or change.news is not News.BROKE or plan.planner is PlannerKind.LLM:
        return plan
    suspect = f"; all was well until {change.by}, which is probably the cause"
    room = MAX_SUMMARY - len(suspect)

    def told(step: PlanStep) -> PlanStep:
        if step.operation != ESCALATE:
            return step
        summary = str(step.parameters.get("summary", ""))
        short = summary if len(summary) <= room else f"{summary[: room - 1]}…"
        return replace(step, parameters={**step.parameters, "summary": short + suspect})

    unknown = plan.planner is PlannerKind.NONE and bool(plan.diagnosis)
    return replace(
        plan,
        diagnosis=plan.diagnosis + suspect if unknown else plan.diagnosis,
        steps=tuple(told(step) for step in plan.steps),
    )


def telling(summary: str, severity: Severity) -> dict[str, Any]:
    """The operation's parameters, the summary within its bound."""
    short = summary if len(summary) <= MAX_SUMMARY else f"{summary[: MAX_SUMMARY - 1]}…"
    return {"summary": short, "severity": severity}
