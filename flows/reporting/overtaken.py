"""Statuses that others have written since a run has read them: their word stands.

A run's own commit may come on top of another's without a replay, because something in the same
clone has fetched meanwhile: `uici pause`, a second process. Pure. Neighbours: `flows.git_state`
(asks), `flows.repository.reports_branch` (the same rule, in a replay).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import TargetStatus

Statuses = Mapping[str, TargetStatus]  # by target


def overtaken(
    ours: Statuses, stands: Statuses, seen: Sequence[Statuses], run_id: str
) -> frozenset[str]:
    """Targets of which another has told since, and this run has done nothing there.

    Args:
        ours: what the run would write.
        stands: what the branch tells now.
        seen: what the run has read, and what it has written itself; any of them is no news.
        run_id: of the run.
    """
    return frozenset(
        target
        for target, status in ours.items()
        if not any(_same(stands.get(target), known.get(target)) for known in seen)
        and not _done_by(status, run_id)
    )


def _same(first: TargetStatus | None, second: TargetStatus | None) -> bool:
    # Mostly nobody has written meanwhile, and then they are the same objects.
    return first is second or first == second


def _done_by(status: TargetStatus, run_id: str) -> bool:
    last = status.last_incident
    if last is None or last.run_id != run_id:
        return False
    return last.result != IncidentResult.HELD.value  # never begun: it tells of a look only
