"""Since when a fault has been there, and by whose word: what is known of its beginning.

The engine dates a stop and an alert itself; that a container is missing, that a probe fails
or that a value differs nobody dates. Then the engine's event tells it, or another drift of the
same target. Each is named, because they are not worth the same. Pure. Neighbours:
`flows.reporting.text` (durations), `flows.reporting.markdown` (the page).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from flows.comparison.drift import Drift
from flows.plan import EngineDeed
from flows.reporting.text import fault_began, moment, root_drifts
from flows.reporting.values import IncidentReport
from infrastructure.drift_kinds import DriftKind

_ENDED = frozenset({DriftKind.MISSING, DriftKind.STOPPED})  # what an engine's event explains
# What differs from Git may do so since long before something failed.
_DIFFERS = frozenset({DriftKind.CONFIG_DRIFT, DriftKind.SCALE_DRIFT, DriftKind.ORPHAN})
_BY_EVENT = "by the engine's event"


@dataclass(frozen=True, slots=True)
class Since:
    """A moment. `by` says whose word it is; empty: the drift's own."""

    at: datetime
    by: str = ""

    @property
    def told(self) -> str:
        """`2026-11-22 11:59:30Z, by the engine's event`."""
        return f"{moment(self.at)}, {self.by}" if self.by else moment(self.at)


def since(report: IncidentReport, drift: Drift) -> Since | None:
    """Since when one drift of an incident has been there; None: nothing tells."""
    if drift.since is not None:
        return Since(drift.since)
    deed = _deed(report, drift)
    if deed is not None:
        return Since(deed.at, _BY_EVENT)
    if drift.kind in _DIFFERS:
        return None
    return min(_beside(report, drift), key=lambda found: found.at, default=None)


def began(report: IncidentReport) -> Since | None:
    """When the root's fault began, as early as anything tells; None: nothing does."""
    at = fault_began(report)
    if at is None:
        return None
    dated = [drift for drift in root_drifts(report) if drift.since == at]
    if not dated:
        return Since(at, _BY_EVENT)
    alert = all(drift.kind is DriftKind.ALERT_FIRING for drift in dated)
    return Since(at, "by an alert" if alert else "by the engine")


def _deed(report: IncidentReport, drift: Drift) -> EngineDeed | None:
    """What somebody had the engine do, where that is how this drift came about."""
    about = drift.target == report.incident.root and drift.kind in _ENDED
    return report.evidence.ended_by if about else None


def _beside(report: IncidentReport, drift: Drift) -> Iterator[Since]:
    """What else is wrong with the same target, and says since when."""
    for other in report.incident.drifts:
        if other.target != drift.target or other.since is None or other.kind in _DIFFERS:
            continue
        alert = other.kind is DriftKind.ALERT_FIRING
        yield Since(
            other.since,
            f"by {'alert ' + other.field if alert else 'the drift ' + other.kind.value}",
        )
