"""Who plans: the planners in their order, the first that has a plan.

Order: learned → LLM → runbook. Why each planner before it had none stands in the plan's
`planner_reason`. When nobody has a plan, a person is told. Neighbours: `flows.plan` (the
types), the planners, `flows.guard` (judges what comes out).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flows.comparison.drift import Incident
from flows.plan import Evidence, Plan, Planner, PlannerKind, PlanStep
from flows.reporting.status import LastIncident

# Every environment can do this: it needs no engine.
_ESCALATE = "escalate_to_human"
_MAX_SUMMARY = 500
# `flows.report.IncidentResult.RECOVERED`: a later stage's word, so not imported here.
# Results of a plan that was carried out. A plan that was held was never tried.
_DID_NOT_HELP = ("failed", "unknown")


def plan_incident(
    incident: Incident,
    evidence: Evidence,
    planners: Sequence[Planner],
    last: LastIncident | None,
) -> Plan:
    """The first plan that a planner has, or an escalation.

    The model is not asked again about an incident that has not changed since its own plan
    for it did not help: the same question gets the same answer and costs again.

    Args:
        incident: what is wrong.
        evidence: what is known about it.
        planners: in order of preference.
        last: the target's newest incident, as its status has it.
    """
    passed: list[str] = []
    for planner in planners:
        result = _no_use_in_asking(planner, incident, last) or planner.plan(incident, evidence)
        if isinstance(result, Plan):
            return replace(result, planner_reason=_joined([*passed, result.planner_reason]))
        passed.append(result)
    return _escalation(incident, _joined(passed) or "no planner is configured")


def _no_use_in_asking(
    planner: Planner, incident: Incident, last: LastIncident | None
) -> str | None:
    if planner.kind is not PlannerKind.LLM or last is None:
        return None
    tried = last.result in _DID_NOT_HELP
    if last.fingerprint != incident.fingerprint or not tried:
        return None
    return (
        f"the LLM is not asked again about an unchanged incident: the plan of run {last.run_id} "
        f"({last.planner}) ended as {last.result}"
    )


def _escalation(incident: Incident, reason: str) -> Plan:
    kinds = ", ".join(sorted({drift.kind.value for drift in incident.drifts}))
    summary = f"{incident.root}: {kinds or 'an incident'}, and no planner has a plan: {reason}"
    step = PlanStep(
        operation=_ESCALATE,
        target=incident.root,
        parameters={"summary": _shortened(summary), "severity": "warning"},
        why="nobody has a plan, so a person has to look",
        expected_effect="an alert in Alertmanager tells people about it",
    )
    return Plan(
        fingerprint=incident.fingerprint,
        planner=PlannerKind.NONE,
        planner_reason=reason,
        diagnosis="No planner knows what to do about this incident.",
        confidence=0.0,
        evidence=(),
        steps=(step,),
    )


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 1] + "…"
