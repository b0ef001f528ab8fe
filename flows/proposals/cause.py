"""Why another desired state is needed: found in what is remembered of each target. Pure.

Counts the incidents of a target's history (`flows.reporting.status`) that another value of
one field would have spared. It knows no Git, no model and no forge: nothing that recurs
costs nothing. Neighbours: `flows.proposals.value` (which value), `flows.proposals.propose`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from flows.reporting.status import PastIncident, TargetStatus
from flows.reporting.values import IncidentResult
from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models import ProposalSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.service import Mode, Service

MEMORY = "/resources/memory"
REPLICAS = "/replicas"
IMAGE = "/image"

# A process that does not come up shows itself in one of these ways.
_NOT_UP = frozenset({DriftKind.MISSING, DriftKind.STOPPED, DriftKind.CRASH_LOOPING})
# A promise that is broken by load: less work for each instance mends it, while `== 1` or
# `> 0` says that something is there at all.
_UPPER_BOUND = re.compile(r"^<=?")


@dataclass(frozen=True, slots=True)
class Cause:
    """One field of one target's declaration that keeps causing incidents.

    `incidents` are those that count, oldest first, all on the spec that is declared now.
    """

    target: str
    kind: CauseKind
    pointer: str
    spec_digest: str
    incidents: tuple[PastIncident, ...]

    @property
    def slug(self) -> str:
        """The end of its branch's name: the same for the same field of the same target."""
        field = self.pointer.rpartition("/")[2]
        return f"{self.target.replace('/', '-')}-{field}"


@dataclass(frozen=True, slots=True)
class Memory:
    """What detection rests on.

    `pattern_causes`: what each error pattern of runbooks.yml means. `observed_only`: targets
    about which nothing may be done or proposed. `is_protected`: a service's name that is the
    agent's or of what it lives on.
    """

    services: Mapping[str, Service]
    statuses: Mapping[str, TargetStatus]
    pattern_causes: Mapping[str, CauseKind]
    is_protected: Callable[[str], bool]
    observed_only: Collection[str] = ()


def find_causes(memory: Memory, settings: ProposalSettings, now: datetime) -> tuple[Cause, ...]:
    """At most one cause a target, by target: memory before image before replicas."""
    found = []
    for target, status in sorted(memory.statuses.items()):
        if len(status.history) < settings.recurrences:
            continue  # most targets: nothing to count
        service = memory.services.get(target)
        if (
            service is None
            or target in memory.observed_only
            or not _may_be_edited(service, memory.is_protected, now)
        ):
            continue
        recent = tuple(
            incident
            for incident in status.history
            if incident.spec_digest == service.spec_digest
            and _age(incident.at, now) <= settings.within.total_seconds()
        )
        cause = _cause(service, recent, memory.pattern_causes, settings.recurrences)
        if cause is not None:
            found.append(cause)
    return tuple(found)


def _age(earlier: datetime, now: datetime) -> float:
    """Seconds; what lies in the future (a clock was set back) counts as now."""
    return max(0.0, (now - earlier).total_seconds())


def ignores(service: Service, pointer: str) -> bool:
    """Whether somebody else owns this field, or all of what it is in."""
    return any(
        pointer == owned or pointer.startswith(f"{owned}/")
        for owned in service.spec.ignore_differences
    )


def _may_be_edited(service: Service, is_protected: Callable[[str], bool], now: datetime) -> bool:
    suspend = service.spec.suspend
    suspended = suspend is not None and (suspend.until is None or suspend.until > now)
    observed = service.spec.remediation.mode is Mode.OBSERVE
    return not (suspended or observed or is_protected(service.metadata.name))


def _cause(
    service: Service,
    recent: tuple[PastIncident, ...],
    pattern_causes: Mapping[str, CauseKind],
    recurrences: int,
) -> Cause | None:
    memory = tuple(i for i in recent if CauseKind.OUT_OF_MEMORY in _told(i, pattern_causes))
    image = _never_up(recent)
    load = tuple(i for i in recent if _is_load(i, service, _told(i, pattern_causes)))
    for kind, pointer, incidents in (
        (CauseKind.OUT_OF_MEMORY, MEMORY, memory),
        (CauseKind.IMAGE_UNAVAILABLE, IMAGE, image),
        (CauseKind.OVERLOADED, REPLICAS, load),
    ):
        if len(incidents) >= recurrences and not ignores(service, pointer):
            return Cause(service.target, kind, pointer, service.spec_digest, incidents)
    return None


def _told(incident: PastIncident, pattern_causes: Mapping[str, CauseKind]) -> frozenset[CauseKind]:
    return frozenset(pattern_causes[p] for p in incident.patterns if p in pattern_causes)


def _never_up(recent: tuple[PastIncident, ...]) -> tuple[PastIncident, ...]:
    """All of them, if nothing that was tried on this spec ever brought the process up."""
    if any(incident.result == IncidentResult.RECOVERED for incident in recent):
        return ()
    return tuple(i for i in recent if _NOT_UP & _kinds(i) or _image_not_taken(i))


def _image_not_taken(incident: PastIncident) -> bool:
    """The declared image could not take the running one's place."""
    fields = {field.strip("/").partition("/")[0] for field in incident.fields}
    return DriftKind.CONFIG_DRIFT in _kinds(incident) and "image" in fields


def _is_load(incident: PastIncident, service: Service, told: Iterable[CauseKind]) -> bool:
    """A breached upper bound on a service that is up, and no pattern that tells otherwise."""
    kinds = _kinds(incident)
    if DriftKind.METRIC_BREACH not in kinds:
        return False
    if kinds - {DriftKind.METRIC_BREACH, DriftKind.ALERT_FIRING}:
        return False
    if set(told) - {CauseKind.OVERLOADED}:
        return False
    bounds = {c.name for c in service.spec.health.metrics if _UPPER_BOUND.match(c.expect)}
    return bool(bounds & set(incident.fields))


def _kinds(incident: PastIncident) -> frozenset[str]:
    return frozenset(incident.kinds)
