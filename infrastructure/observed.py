"""What was seen: instances of a service in an engine, readings, alerts.

All of it is data about a moment. Nothing here judges; `flows.compare` does.
Plain slotted dataclasses and not Pydantic: ten thousand of them are made a run, by
code that is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

_EMPTY: Mapping[Any, Any] = MappingProxyType({})
# As shells and engines tell a process that SIGINT, SIGKILL or SIGTERM has ended.
_SIGNALLED = (130, 137, 143)


def empty() -> Mapping[Any, Any]:
    """The one immutable empty mapping: a default that costs nothing."""
    return _EMPTY


class InstanceState(StrEnum):
    """Life of one instance, in universal words."""

    PENDING = "pending"  # created or waiting to be started by the engine
    RUNNING = "running"
    RESTARTING = "restarting"
    PAUSED = "paused"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class EngineHealth(StrEnum):
    """The engine's own health check of an instance."""

    NONE = "none"  # the engine has no check for it
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class NativeObject:
    """The engine's own object: what self-exclusion and audit speak about.

    `id` is the engine's stable identity (container id, pod uid, instance OCID), never a
    name that a person can change.
    """

    kind: str
    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=empty)


@dataclass(frozen=True, slots=True)
class ObservedSpec:
    """The universal fields as they are now. None: the engine does not say.

    `managed_env`: names of the variables that UICI itself set when it made the instance;
    `secret_env`: those of them whose values were references.
    """

    image: str | None = None
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=empty)
    memory: int | None = None  # bytes; 0 = unlimited
    cpu: Decimal | None = None  # cores; 0 = unlimited
    ports: tuple[str, ...] = ()  # as PortMapping prints them
    managed_env: frozenset[str] = frozenset()
    secret_env: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """One replica as the engine tells it."""

    native: NativeObject
    state: InstanceState
    health: EngineHealth = EngineHealth.NONE
    exit_code: int | None = None
    oom_killed: bool = False
    restart_count: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = ""  # the engine's own words: waiting reason, error
    spec: ObservedSpec = ObservedSpec()
    native_config: Mapping[str, Any] = field(default_factory=empty, repr=False)
    # What of its host it can reach: mounted paths, `privileged`, `host processes`, and where
    # its variables say that an engine answers. For the guard.
    host_access: tuple[str, ...] = ()
    address: str | None = None  # host or IP under which the agent reaches container ports
    published: Mapping[int, tuple[str, int]] = field(
        default_factory=empty
    )  # container port → (host, port) if published

    @property
    def failed_by_itself(self) -> bool:
        """Whether it ended by a fault of its own: nobody outside gives such an exit code.

        An end without an error, or by a signal that people and engines end processes with,
        tells nothing about the process.
        """
        ended = self.exit_code not in (None, 0, *_SIGNALLED)
        return self.state in (InstanceState.STOPPED, InstanceState.RESTARTING) and (
            self.oom_killed or ended
        )


@dataclass(frozen=True, slots=True)
class Workload:
    """The engine's own object that keeps the instances: a Deployment, an instance pool.

    `replicas` is what it is asked to keep (None: it has no such number, as a DaemonSet),
    `spec` what it makes instances from, `settled` False while it is still changing them.
    """

    native: NativeObject
    replicas: int | None = None
    spec: ObservedSpec = ObservedSpec()
    native_config: Mapping[str, Any] = field(default_factory=empty, repr=False)
    settled: bool = True
    reason: str = ""  # the engine's own words about why it is not settled, or can't be


@dataclass(frozen=True, slots=True)
class ObservedService:
    """All instances of one target, and what keeps them, where the engine has such a thing.

    Neither instance nor workload: it is missing.
    """

    target: str
    instances: tuple[ObservedInstance, ...] = ()
    workload: Workload | None = None


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """What one `observe` of an environment saw: the asked targets, and strays.

    `services` has an entry for every target asked for but those that the engine could not
    tell of, while it could of others: `unseen` says why, by target. `orphans` are objects that
    carry UICI's own label but belong to no asked target; only filled when all were asked for.
    """

    environment: str
    services: Mapping[str, ObservedService]
    orphans: tuple[NativeObject, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=empty)


class Reading(StrEnum):
    """Answer of a probe or metric check. UNKNOWN is not FAILED."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """One HTTP health probe of one instance."""

    target: str
    instance: str  # NativeObject.name
    reading: Reading
    detail: str  # "503 Service Unavailable", "connection refused", …
    seconds: float = 0.0
    url: str = ""  # what was asked; empty: that is not known

    @property
    def told(self) -> str:
        """The answer, and to what: `http://127.0.0.1:8000/healthz answers 503 Unavailable`."""
        if not self.url:
            return self.detail
        return f"{self.url} {'answers' if self.detail[:1].isdigit() else 'failed:'} {self.detail}"


@dataclass(frozen=True, slots=True)
class MetricReading:
    """One metric check of one target."""

    target: str
    check: str
    reading: Reading
    value: float | None = None
    sampled_at: datetime | None = None
    detail: str = ""


class AlertState(StrEnum):
    """Alertmanager's view: suppressed alerts tell of a person's or a rule's decision."""

    ACTIVE = "active"
    SILENCED = "silenced"
    INHIBITED = "inhibited"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as Alertmanager has it. `fingerprint` is Alertmanager's own."""

    fingerprint: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    state: AlertState
    generator_url: str = ""


@dataclass(frozen=True, slots=True)
class SilenceMatcher:
    """One matcher of a silence, with Alertmanager's semantics."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """An active silence: a person's maintenance window."""

    id: str
    matchers: tuple[SilenceMatcher, ...]
    ends_at: datetime
    created_by: str
    comment: str
