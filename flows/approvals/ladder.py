"""Approve, then alone: what people have allowed often enough, and what has always helped.

Pure. Counted from the histories in the statuses: approved plans of the same class of incident
with the same operations, in the order in which they were carried out. One that did not help,
approved or not, and the count begins anew. The guard lets such a plan's steps run alone only
where they can be undone (`flows.guard`). Neighbour: `flows.cases`.
"""

from __future__ import annotations

from collections.abc import Iterable

from flows.plan import Plan
from flows.reporting.status import PastIncident, TargetStatus

_HELPED = "recovered"


def earned(
    plan: Plan, incident_class: str, statuses: Iterable[TargetStatus], *, after: int | None
) -> str | None:
    """Why a plan may run alone, in a sentence; None: it may not.

    Args:
        plan: what would be done.
        incident_class: name of the incident's class, as histories have it.
        statuses: of all targets.
        after: so many approved ones that helped, in a row; None: never.
    """
    if after is None or not plan.steps:
        return None
    operations = tuple(step.operation for step in plan.steps)
    past = [
        each
        for status in statuses
        for each in status.history
        if each.incident_class == incident_class
        and tuple(step.operation for step in each.steps) == operations
    ]
    count = _in_a_row(sorted(past, key=lambda each: each.at))
    if count < after:
        return None
    return (
        f"people approved {', '.join(operations)} for {incident_class} {count} times in a row"
        f" and it helped: approvals.trustAfter is {after}"
    )


def _in_a_row(past: Iterable[PastIncident]) -> int:
    """Approved ones that helped since the last that did not, or whose end nobody saw."""
    count = 0
    for each in past:
        if each.result != _HELPED:
            count = 0
        elif each.approval:
            count += 1
    return count
