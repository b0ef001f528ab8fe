"""Stage 1, observe: look at the world once, in bounded time, and judge nothing.

In: desired state, sources and executors of each environment. Out: an `Observation`.
Each environment is looked at on its own thread with its own deadline; what does not
answer is Unknown for its own targets and for nobody else's. Next stage: compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from infrastructure.observed import (
    Alert,
    EngineSnapshot,
    MetricReading,
    ProbeReading,
    Silence,
)


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """A source that could not be read. Its facts are unknown, not bad.

    `source` is `engine`, `prometheus` or `alertmanager`.
    """

    environment: str
    source: str
    error: str


@dataclass(frozen=True, slots=True)
class EnvironmentObservation:
    """What was seen of one environment. `engine` None: the engine did not answer.

    `alerts` and `silences` None: no Alertmanager answered. Metric readings have an entry
    for every check of every target (UNKNOWN where there is no fresh sample).
    """

    environment: str
    engine: EngineSnapshot | None
    probes: tuple[ProbeReading, ...] = ()
    metrics: tuple[MetricReading, ...] = ()
    alerts: tuple[Alert, ...] | None = None
    silences: tuple[Silence, ...] | None = None
    failures: tuple[SourceFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """The world at one moment, by environment."""

    taken_at: datetime
    environments: Mapping[str, EnvironmentObservation]
