"""A relapse: the same fault again, so soon that the last repair can't have mended it. Pure.

A verified recovery says that a service worked for some seconds. Whether the plan has mended
the fault shows later: comes the same class back on the same target and the same spec within
`learning.relapseWithin`, it has not. Then its trial counts as a failure, and the plan is not
used against this class again before that time is over, so that the next one is another, and
at last a person is told.

Only a fault of the service's own says something about the last repair. A container that
somebody removes or kills, a limit or a number of replicas that somebody changes, was
restored every time, and the same steps are right the next time, too: how often such a thing
happens says something about the somebody. So a relapse is an incident whose root crash-loops,
fails its health check, breaches a metric or an alert, or has ended with an exit code of its
own or for want of memory; not one that is missing, differs from Git in its configuration or
its number, or ended without an error or by SIGINT, SIGTERM or SIGKILL. Where both are seen
at once, the one from outside may be the cause of the other, and nothing is concluded. The
same holds for the incident before: what was mended then has to be a fault of its own, too.

Neighbours: `flows.planners.tried` (passes such plans over), `flows.learning.lessons` (takes
the success back), `flows.approvals.ladder` (does not count it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.comparison.drift import Incident
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import PastIncident
from infrastructure.drift_kinds import DriftKind

_OWN = frozenset(
    {
        DriftKind.CRASH_LOOPING,
        DriftKind.UNHEALTHY,
        DriftKind.METRIC_BREACH,
        DriftKind.ALERT_FIRING,
    }
)


@dataclass(frozen=True, slots=True)
class RelapseWindow:
    """`within`: learning.relapseWithin, before `now`.

    Beyond it a time in the future counts as little as one long ago: a clock was wrong.
    """

    within: timedelta
    now: datetime

    def of(
        self, history: Iterable[PastIncident], *, incident_class: str, spec_digest: str
    ) -> tuple[PastIncident, ...]:
        """Recoveries that an incident of this class, should it be its own, shows to be none."""
        return tuple(
            past
            for past in history
            if past.by_itself
            and past.result == IncidentResult.RECOVERED
            and (past.incident_class, past.spec_digest) == (incident_class, spec_digest)
            and abs(self.now - past.at) < self.within
        )


def undone(history: Sequence[PastIncident], within: timedelta) -> tuple[PastIncident, ...]:
    """Recoveries of a target that a later incident in its history, oldest first, belies."""
    return tuple(
        past
        for place, past in enumerate(history)
        if any(_belies(later, past, within) for later in history[place + 1 :])
    )


def _belies(later: PastIncident, past: PastIncident, within: timedelta) -> bool:
    began = later.at - timedelta(seconds=later.seconds or 0)
    window = RelapseWindow(within, began)
    return later.by_itself and bool(
        window.of([past], incident_class=later.incident_class, spec_digest=later.spec_digest)
    )


def by_itself(incident: Incident) -> bool:
    """Whether it is a fault of its root's own, and of nobody outside."""
    own = [drift for drift in incident.drifts if drift.target == incident.root]
    return bool(own) and all(drift.kind in _OWN or drift.by_itself for drift in own)
