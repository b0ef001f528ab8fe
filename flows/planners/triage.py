"""Triage: who should plan an incident that nothing learned solves. Pure.

A model costs time and money, and is asked only where it can add something. Whether or not
it is, the decision and its ground stand in the plan's first phase. Neighbours:
`flows.planners.order` (follows it), `flows.planners.runbook` (knows what suffices).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.comparison.drift import Incident
from flows.escalation import ESCALATE
from flows.llm.planner import NoLlm
from flows.plan import Declined, Evidence, Phase, PhaseRecord, Plan, Planner, PlannerKind
from flows.planners.runbook import RunbookPlanner
from flows.planners.tried import NOTHING_TRIED, TriedPlans
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import LastIncident

# Results of a plan that was carried out; a plan that was held was never tried.
_DID_NOT_HELP = (IncidentResult.FAILED.value, IncidentResult.UNKNOWN.value)


@dataclass(frozen=True, slots=True)
class Before:
    """What was done about a target before: its newest incident, and what was tried in vain."""

    last: LastIncident | None = None
    tried: TriedPlans = NOTHING_TRIED


@dataclass(frozen=True, slots=True)
class Triage:
    """The decision. `unasked`: why the model is not asked; None: it is, or there is none."""

    record: PhaseRecord
    unasked: str | None = None


def triage(
    incident: Incident,
    evidence: Evidence,
    planners: Sequence[Planner],
    before: Before,
    *,
    learned: Declined | None = None,
) -> Triage:
    """Decide whether the model is asked.

    Args:
        incident: what is wrong.
        evidence: what is known about it.
        planners: those that are left, in their order.
        before: what was done about it.
        learned: why nothing learned has a plan.
    """
    ground = f"{learned.reason}; " if learned is not None else ""
    model = next((p for p in planners if p.kind is PlannerKind.LLM), None)
    if model is None or isinstance(model, NoLlm):
        return Triage(_record(f"{ground}no model to ask, so the runbooks plan"))
    runbooks = next((p for p in planners if isinstance(p, RunbookPlanner)), None)
    enough = runbooks.sufficing(incident, evidence) if runbooks is not None else None
    if (why := _asked_in_vain(incident, before, enough)) is not None:
        return Triage(_record(ground + why), why)
    # What suffices by the book has not sufficed once something was tried in vain.
    if enough is not None and not before.tried.of(incident.root):
        why = f"the LLM is not asked: {_nothing_to_gain(enough)}"
        return Triage(_record(ground + why), why)
    return Triage(_record(f"{ground}the model is asked"))


def _record(finding: str) -> PhaseRecord:
    return PhaseRecord(Phase.TRIAGE, "rules", finding)


def _nothing_to_gain(enough: Plan) -> str:
    if all(step.operation == ESCALATE for step in enough.steps):
        return f"by runbook {enough.runbook} only a person helps"
    return f"runbook {enough.runbook} fits, and a model could add nothing"


def _asked_in_vain(incident: Incident, before: Before, enough: Plan | None) -> str | None:
    """Whether the model was asked about the same already: it would answer the same again."""
    last = before.last
    if last is None or last.fingerprint != incident.fingerprint:
        return None
    if last.result not in _DID_NOT_HELP:
        return None
    tried_by = {past.planner for past in before.tried.of(incident.root)} | {last.planner}
    by_the_book = last.planner == PlannerKind.RUNBOOK.value and enough is not None
    not_asked_then = last.planner == PlannerKind.LEARNED.value or by_the_book
    if not_asked_then and PlannerKind.LLM.value not in tried_by:
        return None
    return (
        f"the LLM is not asked again about an unchanged incident: the plan of run {last.run_id} "
        f"({last.planner}) ended as {last.result}"
    )
