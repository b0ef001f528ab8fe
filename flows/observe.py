"""Stage 1, observe: look at the world once, in bounded time, and judge nothing.

In: desired state, sources and executors of each environment. Out: an `Observation`.
Each environment's engine, Prometheus and Alertmanager are asked at the same time, each
on its own thread; an environment waits for them until its own deadline, and what has not
answered by then is Unknown for its own targets and for nobody else's. Next stage: compare.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from executors.contract import Executor
from infrastructure.config_models import Environment, HttpSource, ObserveSettings
from infrastructure.errors import PermanentError, UiciError
from infrastructure.observed import (
    Alert,
    EngineSnapshot,
    MetricReading,
    ObservedService,
    ProbeReading,
    Reading,
    Silence,
)
from infrastructure.quantities import format_duration
from infrastructure.service import MetricCheck, SecretRef, Service
from monitoring.alertmanager import AlertSnapshot, read_alerts
from monitoring.background import start
from monitoring.http_source import MonitoringClients
from monitoring.probe import probe_services, unprobed
from monitoring.prometheus import read_metrics

# Seconds for a thread to hand over what it finished at the deadline.
_HANDOVER = 0.25
# Where an engine keeps a value apart, it tells the place instead: `(secretKeyRef web-env)`.
_ELSEWHERE = re.compile(r"\([^()]*\)")
T = TypeVar("T")
_Checks = tuple[tuple[str, MetricCheck], ...]


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


@dataclass(frozen=True, slots=True)
class _Place:
    """One environment's part of the question, and the answers that are under way."""

    name: str
    environment: Environment
    services: tuple[Service, ...]
    deadline: float
    engine: Future[EngineSnapshot]
    probes: Future[tuple[ProbeReading, ...]]
    metrics: Future[Mapping[str, tuple[MetricReading, ...]]] | None
    alerts: Future[AlertSnapshot] | None


def observe(
    services: Sequence[Service],
    *,
    environments: Mapping[str, Environment],
    executors: Mapping[str, Executor],
    settings: ObserveSettings,
    all_services: bool,
    clients: MonitoringClients,
    now: Callable[[], datetime],
) -> Observation:
    """Look at the world once.

    Returns no later than a moment after the longest deadline of the environments. Nothing
    that a source does raises here: what could not be read is a `SourceFailure`, its
    readings are UNKNOWN. An environment without an Alertmanager has no alerts, and
    without a Prometheus its metric checks are UNKNOWN.

    Args:
        services: the targets to look at. Their environments are observed.
        environments: configuration by name.
        executors: by environment name. One that is missing here could not be started.
        settings: limits.
        all_services: whether these are all of desired state; then strays are looked for,
            also in environments that have an executor and no service.
        clients: kept connections to Prometheus and Alertmanager.
        now: the agent's clock, with a time zone.
    """
    taken_at = now()
    by_environment: dict[str, list[Service]] = defaultdict(list)
    for service in services:
        by_environment[service.metadata.environment].append(service)
    if all_services:
        for name in executors:
            by_environment.setdefault(name, [])
    asked = {name: environments[name] for name in sorted(by_environment) if name in environments}
    shared = _SharedSources(clients, settings, now)
    metrics = shared.metrics({name: (asked[name], by_environment[name]) for name in asked})
    alerts = shared.alerts(asked)
    places = [
        _start_engine(
            name,
            environment,
            tuple(by_environment[name]),
            executor=executors.get(name),
            settings=settings,
            all_services=all_services,
            metrics=metrics.get(name),
            alerts=alerts.get(name),
        )
        for name, environment in asked.items()
    ]
    seen = {place.name: _gather(place) for place in places}
    for name in by_environment.keys() - asked.keys():
        seen[name] = _unconfigured(name, by_environment[name])
    return Observation(taken_at, seen)


def secrets_seen(services: Sequence[Service], seen: Observation) -> Iterator[str]:
    """Values of secrets as engines tell them: of what Git declares as one, or did when it was set.

    What runs may have another value than the reference has now, and a process that only looks
    may not be able to resolve it.
    """
    for service in services:
        place = seen.environments.get(service.metadata.environment)
        engine = place.engine if place is not None else None
        observed = engine.services.get(service.target) if engine is not None else None
        if observed is None:
            continue
        declared = {k for k, value in service.spec.env.items() if isinstance(value, SecretRef)}
        specs = [instance.spec for instance in observed.instances]
        specs += [observed.workload.spec] if observed.workload is not None else []
        for spec in specs:
            names = declared | spec.secret_env if declared or spec.secret_env else ()
            found = (spec.env[name] for name in names if name in spec.env)
            yield from (value for value in found if not _ELSEWHERE.fullmatch(value))


class _SharedSources:
    """Asks each set of sources once, also when several environments name the same one."""

    def __init__(
        self, clients: MonitoringClients, settings: ObserveSettings, now: Callable[[], datetime]
    ) -> None:
        self._clients = clients
        self._settings = settings
        self._now = now

    def metrics(
        self, places: Mapping[str, tuple[Environment, Sequence[Service]]]
    ) -> dict[str, Future[Mapping[str, tuple[MetricReading, ...]]]]:
        """By environment: its readings, which come with those of all that share its sources."""
        groups: dict[str, tuple[tuple[HttpSource, ...], dict[str, _Checks]]] = {}
        for name, (environment, services) in places.items():
            if checks := _checks(services):
                key = _key(environment.prometheus)
                groups.setdefault(key, (environment.prometheus, {}))[1][name] = checks
        return {
            name: future
            for sources, checks in groups.values()
            for future in [self._start_metrics(sources, checks)]
            for name in checks
        }

    def alerts(self, places: Mapping[str, Environment]) -> dict[str, Future[AlertSnapshot]]:
        """By environment that has an Alertmanager: all alerts and silences of it."""
        futures: dict[str, Future[AlertSnapshot]] = {}
        for environment in places.values():
            key = _key(environment.alertmanager)
            if environment.alertmanager and key not in futures:
                futures[key] = self._start_alerts(environment.alertmanager)
        return {
            name: futures[_key(environment.alertmanager)]
            for name, environment in places.items()
            if environment.alertmanager
        }

    def _start_metrics(
        self, sources: tuple[HttpSource, ...], checks: Mapping[str, _Checks]
    ) -> Future[Mapping[str, tuple[MetricReading, ...]]]:
        def read() -> Mapping[str, tuple[MetricReading, ...]]:
            everything = tuple(pair for pairs in checks.values() for pair in pairs)
            clients = self._clients.sources(sources)
            readings = iter(read_metrics(clients, everything, self._settings.metrics, self._now()))
            return {name: tuple(next(readings) for _ in own) for name, own in checks.items()}

        return start(read, name="observe prometheus")

    def _start_alerts(self, sources: tuple[HttpSource, ...]) -> Future[AlertSnapshot]:
        clients = self._clients.sources(sources)
        return start(
            lambda: read_alerts(clients, self._settings.alerts), name="observe alertmanager"
        )


def _key(sources: Sequence[HttpSource]) -> str:
    return "\n".join(source.model_dump_json() for source in sources)


def _checks(services: Sequence[Service]) -> _Checks:
    return tuple((s.target, check) for s in services for check in s.spec.health.metrics)


def _start_engine(
    name: str,
    environment: Environment,
    services: tuple[Service, ...],
    *,
    executor: Executor | None,
    settings: ObserveSettings,
    all_services: bool,
    metrics: Future[Mapping[str, tuple[MetricReading, ...]]] | None,
    alerts: Future[AlertSnapshot] | None,
) -> _Place:
    """Ask the engine on one thread and, when it has answered, probe what runs on another."""
    timeout = environment.deadline.total_seconds()
    deadline = time.monotonic() + timeout

    def look() -> EngineSnapshot:
        if executor is None:
            raise PermanentError(f"the executor of environment {name} could not be started")
        return executor.observe(services, all_services=all_services, timeout=timeout)

    engine = start(look, name=f"observe engine {name}")

    def probe() -> tuple[ProbeReading, ...]:
        snapshot = engine.result()
        return probe_services(_seen(services, snapshot), settings.probe, deadline=deadline)

    probes = start(probe, name=f"observe probes {name}")
    return _Place(name, environment, services, deadline, engine, probes, metrics, alerts)


def _gather(place: _Place) -> EnvironmentObservation:
    """Wait for an environment's answers, until its deadline and no longer."""
    failures: list[SourceFailure] = []

    def wait(source: str, future: Future[T]) -> T | None:
        left = max(0.0, place.deadline - time.monotonic()) + _HANDOVER
        try:
            return future.result(timeout=left)
        except TimeoutError:
            limit = format_duration(place.environment.deadline)
            error = f"{source} of environment {place.name} did not answer within {limit}"
        except UiciError as exc:
            error = str(exc)
        failures.append(SourceFailure(place.name, source, error))
        return None

    engine = wait("engine", place.engine)
    metrics = wait("prometheus", place.metrics) if place.metrics is not None else None
    nothing: AlertSnapshot | None = AlertSnapshot((), ())
    alerts = wait("alertmanager", place.alerts) if place.alerts is not None else nothing
    failures += [
        SourceFailure(place.name, "alertmanager", error)
        for error in (alerts.errors if alerts is not None else ())
    ]
    return EnvironmentObservation(
        environment=place.name,
        engine=engine,
        probes=_probes(place, engine),
        metrics=_unread(place.services) if metrics is None else metrics[place.name],
        alerts=alerts.alerts if alerts is not None else None,
        silences=alerts.silences if alerts is not None else None,
        failures=tuple(failures),
    )


def _probes(place: _Place, engine: EngineSnapshot | None) -> tuple[ProbeReading, ...]:
    if engine is None:
        return _blind_probes(place.services, "the engine did not answer")
    try:
        left = max(0.0, place.deadline - time.monotonic()) + _HANDOVER
        return place.probes.result(timeout=left)
    except TimeoutError:
        return unprobed(_seen(place.services, engine), "not probed in the time of this run")


def _seen(
    services: Sequence[Service], snapshot: EngineSnapshot
) -> Iterator[tuple[Service, ObservedService]]:
    for service in services:
        yield service, snapshot.services.get(service.target) or ObservedService(service.target)


def _unread(services: Sequence[Service]) -> tuple[MetricReading, ...]:
    return tuple(
        MetricReading(target, check.name, Reading.UNKNOWN, detail="Prometheus did not answer")
        for target, check in _checks(services)
    )


def _blind_probes(services: Sequence[Service], detail: str) -> tuple[ProbeReading, ...]:
    return tuple(
        ProbeReading(service.target, "", Reading.UNKNOWN, detail)
        for service in services
        if service.spec.health.http is not None
    )


def _unconfigured(name: str, services: Sequence[Service]) -> EnvironmentObservation:
    error = f"environment {name} is not in environments.yml"
    return EnvironmentObservation(
        environment=name,
        engine=None,
        probes=_blind_probes(services, error),
        metrics=_unread(services),
        failures=(SourceFailure(name, "engine", error),),
    )
