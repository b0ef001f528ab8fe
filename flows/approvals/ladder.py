"""Approve, then alone: what people have allowed often enough, and what has always helped.

Pure. Counted from the histories in the statuses: approved plans of the same class of incident
with the same operations, in the order in which they were carried out. One that did not help,
approved or not, and the count begins anew; so does one after which the fault came back
(`flows.learning.relapse`). One that found nothing to change does not count. The guard lets
such a plan's steps run alone only where they can be undone (`flows.guard`). Neighbour:
`flows.cases`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from flows.learning.relapse import undone
from flows.plan import Plan
from flows.reporting.status import PastIncident, TargetStatus

_HELPED = "recovered"
_NEVER = datetime.min.replace(tzinfo=UTC)


def earned(
    plan: Plan,
    incident_class: str,
    statuses: Iterable[TargetStatus],
    *,
    after: int | None,
    within: timedelta,
    relapsed: Sequence[PastIncident] = (),
) -> str | None:
    """Why a plan may run alone, in a sentence; None: it may not.

    Args:
        plan: what would be done.
        incident_class: name of the incident's class, as histories have it.
        statuses: of all targets.
        after: so many approved ones that helped, in a row; None: never.
        within: learning.relapseWithin.
        relapsed: recoveries that the present incident shows to have been none.
    """
    if after is None or not plan.steps:
        return None
    operations = tuple(step.operation for step in plan.steps)
    past: list[tuple[datetime, bool, PastIncident]] = []
    for status in statuses:
        in_vain = (*relapsed, *undone(status.history, within))
        at = _NEVER
        for each in status.history:
            at = max(at, each.at)  # no clock makes a failure older than what it came after
            if _is_alike(each, incident_class, operations):
                past.append((at, each.result != _HELPED or each in in_vain, each))
    count = _in_a_row(sorted(past, key=lambda each: each[:2]))
    if count < after:
        return None
    return (
        f"people approved {', '.join(operations)} for {incident_class} {count} times in a row"
        f" and it helped: approvals.trustAfter is {after}"
    )


def _is_alike(past: PastIncident, incident_class: str, operations: Sequence[str]) -> bool:
    done = [step.operation for step in past.steps]
    return past.incident_class == incident_class and done == list(operations)


def _in_a_row(past: Iterable[tuple[datetime, bool, PastIncident]]) -> int:
    """Approved ones that helped since the last that did not, or whose end nobody saw."""
    count = 0
    for _, failed, each in past:
        if failed:
            count = 0
        elif each.approval and not each.idle:
            count += 1
    return count
