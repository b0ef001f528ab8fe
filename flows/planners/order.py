"""Who plans: the planners in their order, the first that has a plan.

Order: learned → LLM → runbook; triage decides whether the model is asked. Why each planner
before it had none stands in the plan. What was tried in vain is not planned again; when
nobody has another plan, a person is told. Neighbours: `flows.plan` (the types), the
planners, `flows.planners.triage`, `flows.guard` (judges what comes out).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flows.comparison.drift import Incident
from flows.escalation import escalation
from flows.llm.planner import NoLlm
from flows.plan import (
    Declined,
    Evidence,
    Hindered,
    Phase,
    PhaseRecord,
    Plan,
    Planner,
    PlannerKind,
)
from flows.planners.triage import Before, Triage, triage
from flows.planners.tried import NOTHING_TRIED, TriedPlans, told
from flows.reporting.status import LastIncident, TriedPlan


def plan_incident(
    incident: Incident,
    evidence: Evidence,
    planners: Sequence[Planner],
    last: LastIncident | None,
    *,
    tried: TriedPlans = NOTHING_TRIED,
) -> Plan:
    """The first plan that a planner has and that was not tried in vain, or an escalation.

    The model is not asked again about an incident that has not changed since its own plan
    for it did not help: the same question gets the same answer and costs again.

    Args:
        incident: what is wrong.
        evidence: what is known about it.
        planners: in order of preference.
        last: the target's newest incident, as its status has it.
        tried: plans that did not help on the target's present spec.
    """
    tried = tried.about(incident, evidence)
    passed: list[Declined] = []
    decision: Triage | None = None
    for number, planner in enumerate(planners):
        if planner.kind is not PlannerKind.LEARNED and decision is None:
            learned = next((d for d in passed if d.planner is PlannerKind.LEARNED), None)
            before = Before(last, tried)
            decision = triage(incident, evidence, planners[number:], before, learned=learned)
        result = _asked(planner, decision, incident, evidence)
        if isinstance(result, Plan) and (past := tried.same(incident.root, result)) is not None:
            result = _known_in_vain(result, past)
        if isinstance(result, Plan):
            reason = _joined([*_reasons(passed), result.planner_reason])
            phases = _with_triage(result.phases, decision)
            return replace(result, planner_reason=reason, phases=phases, declined=tuple(passed))
        passed.append(result)
    hindered = next((each.hindered for each in passed if each.hindered), None)
    plan = _escalation(incident, _reasons(passed), tried.of(incident.root), hindered)
    return replace(
        plan,
        phases=_with_triage((), decision),
        declined=tuple(passed),
        cause=hindered.cause if hindered is not None else None,
    )


def _asked(
    planner: Planner, decision: Triage | None, incident: Incident, evidence: Evidence
) -> Plan | Declined:
    """What a planner says; a model that triage has ruled out is not asked."""
    ruled_out = decision.unasked if decision is not None else None
    if planner.kind is PlannerKind.LLM and ruled_out and not isinstance(planner, NoLlm):
        return Declined(planner.kind, ruled_out)
    return planner.plan(incident, evidence)


def _known_in_vain(plan: Plan, past: TriedPlan) -> Declined:
    """A plan that would repeat what did not help, with what it has cost."""
    at = past.at.isoformat(timespec="seconds")
    return Declined(
        plan.planner,
        f"{plan.planner.value} plans {told(past)} again, which did not help at {at}",
        usage=plan.usage,
        phases=plan.phases,
        exchanges=plan.exchanges,
    )


def _reasons(passed: Iterable[Declined]) -> list[str]:
    """For the plan's reason. That nothing was learned yet is triage's to say."""
    return [each.reason for each in passed if each.planner is not PlannerKind.LEARNED]


def _with_triage(
    phases: tuple[PhaseRecord, ...], decision: Triage | None
) -> tuple[PhaseRecord, ...]:
    if decision is None or any(record.phase is Phase.TRIAGE for record in phases):
        return phases
    return (decision.record, *phases)


_NO_LLM = "no LLM configured"


def _escalation(
    incident: Incident, passed: Sequence[str], tried: Sequence[TriedPlan], hindered: Hindered | None
) -> Plan:
    kinds = ", ".join(sorted({drift.kind.value for drift in incident.drifts})) or "an incident"
    if tried:
        done = ", ".join(dict.fromkeys(told(past) for past in tried))
        reason = (
            f"tried without success: {done}; no planner has another plan; UICI acts again when "
            f"the fault changes, it recovers, or Git declares another spec"
        )
        known = _outcome(tried[-1])
        summary = f"{incident.root}: {kinds}; {known}; {reason}"
        reason = _joined([reason, *passed])
    elif hindered:
        said = hindered.reason.partition(": ")[2]
        told_of = (each for each in passed if said not in each and not each.startswith(_NO_LLM))
        reason, known = _joined(told_of) or "no planner has another plan", f"{hindered.reason}."
        summary = f"{incident.root}: {kinds}; {hindered.reason}"
    else:
        reason = _joined(passed) or "no planner is configured"
        known = "No planner knows what to do about this incident."
        # That no model is configured is no fault of the service's.
        why = _joined(each for each in passed if not each.startswith(_NO_LLM)) or reason
        summary = f"{incident.root}: {kinds}, and no planner has a plan: {why}"
    return escalation(
        incident,
        reason,
        summary=summary,
        severity="warning",
        diagnosis=known,
        why="nobody has a plan, so a person has to look",
    )


def _outcome(past: TriedPlan) -> str:
    """`restart: did not help: the engine does not answer`: what came of the newest try."""
    did = ", ".join(step.operation for step in past.steps)
    return past.result if past.result.startswith(did) else f"{did}: {past.result}"


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(reason for reason in reasons if reason)
