"""Values of stage 2: what differs, how a target stands, which drifts belong together.

Made by `flows.compare`; every later stage reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from infrastructure.drift_kinds import DriftKind


class Sync(StrEnum):
    """Does the engine hold what Git says?"""

    SYNCED = "Synced"
    DRIFTED = "Drifted"
    UNKNOWN = "Unknown"


class HealthStatus(StrEnum):
    """Does the service work?"""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"  # within a grace period
    DEGRADED = "Degraded"
    MISSING = "Missing"
    SUSPENDED = "Suspended"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between Git and the world.

    `field` is a JSON pointer into the spec (`/resources/memory`), the metric check's or
    the alert's name; empty where the whole service is meant. `desired` and `observed`
    are short, redacted texts for people and the plan. `instance` is the engine's name of
    the one replica it is about, None for the service. `since`: when the engine or the
    alert says it began. `by_itself`: the process ended by a fault of its own, and not by a
    signal from outside. `probed`: of a metric or an alert, that the service has an HTTP probe,
    which says otherwise unless there is an Unhealthy beside it.
    """

    target: str
    kind: DriftKind
    field: str = ""
    desired: str = ""
    observed: str = ""
    message: str = ""
    instance: str | None = None
    since: datetime | None = None
    by_itself: bool = False
    probed: bool = False

    @property
    def key(self) -> str:
        """The same for the same difference in every run; begins with the target."""
        return " ".join((self.target, self.kind.value, self.field, self.instance or ""))


@dataclass(frozen=True, slots=True)
class TargetState:
    """One target's place on the two axes, and why.

    `uncompared`: a sentence for each variable that could not be compared.
    """

    target: str
    spec_digest: str
    sync: Sync
    health: HealthStatus
    reason: str  # CamelCase, for conditions
    message: str
    held: str | None = None  # suspended, silenced …: seen, but nothing is done
    uncompared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """Drifts that belong together: one target, or one root and its dependents.

    `root` is what a plan addresses; `targets` are all that are touched by the fault,
    root first. `fingerprint` is made of targets, drift kinds and fields, and spec
    digests: the same fault has the same fingerprint in every run.
    """

    fingerprint: str
    environment: str
    root: str
    targets: tuple[str, ...]
    drifts: tuple[Drift, ...]
