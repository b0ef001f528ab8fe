"""What a look at the world would have brought, made of an incident's file. Pure.

What a file does not say is as declared. Neighbours: `tests.evals.incident_file` (the words),
`tests.evals.world` (who uses it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flows.observe import EnvironmentObservation, Observation, SourceFailure
from infrastructure.errors import PermanentError
from infrastructure.observed import (
    Alert,
    EngineSnapshot,
    InstanceState,
    MetricReading,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ObservedSpec,
    ProbeReading,
    Reading,
    Silence,
    SilenceMatcher,
    Workload,
)
from infrastructure.service import SecretRef, Service
from tests.evals.incident_file import (
    IncidentFile,
    Place,
    SeenInstance,
    SeenService,
    SeenSpec,
    SeenWorkload,
)

# The moment of every incident. Times in files are how long before it.
NOW = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
# What an environment's engine calls the objects.
INSTANCES = {Place.DOCKER: "container", Place.KUBERNETES: "pod", Place.OCI: "containerinstance"}


def over(declared: Any, seen: Any) -> Any:
    """What is declared with what was seen instead, member by member."""
    if not isinstance(declared, Mapping) or not isinstance(seen, Mapping):
        return seen
    return {**declared, **{k: over(declared.get(k), v) for k, v in seen.items()}}


def observe(
    file: IncidentFile, services: Mapping[str, Service], snapshot: EngineSnapshot
) -> Observation:
    """What a look at the world would have brought."""
    name = file.environment.value
    failures = []
    if file.engine_error is not None:
        failures.append(SourceFailure(name, "engine", file.engine_error))
    if file.monitoring_error is not None:
        failures.append(SourceFailure(name, "prometheus", file.monitoring_error))
    seen = EnvironmentObservation(
        environment=name,
        engine=None if file.engine_error is not None else snapshot,
        probes=tuple(_probes(file, services, snapshot)),
        metrics=tuple(_metrics(file, services)),
        alerts=tuple(
            Alert(
                fingerprint=f"{number:016x}",
                name=alert.name,
                labels={"alertname": alert.name, **alert.labels},
                annotations=alert.annotations,
                starts_at=NOW - alert.since,
                state=alert.state,
            )
            for number, alert in enumerate(file.alerts)
        ),
        silences=tuple(
            Silence(
                id=str(number),
                matchers=tuple(
                    SilenceMatcher(label, value, is_regex=False, is_equal=True)
                    for label, value in silence.matchers.items()
                ),
                ends_at=NOW + silence.ends_in,
                created_by=silence.by,
                comment=silence.comment,
            )
            for number, silence in enumerate(file.silences)
        ),
        failures=tuple(failures),
    )
    return Observation(NOW, {name: seen})


def snapshot_of(file: IncidentFile, services: Mapping[str, Service]) -> EngineSnapshot:
    strays = tuple(
        NativeObject(stray.kind, _id(stray.name), stray.name, {"uici.target": stray.name})
        for stray in file.strays
    )
    seen = {
        target: _observed(file, service, file.seen.get(service.metadata.name, SeenService()))
        for target, service in services.items()
    }
    return EngineSnapshot(file.environment.value, seen, strays)


def _observed(file: IncidentFile, service: Service, seen: SeenService) -> ObservedService:
    if seen.missing:
        return ObservedService(service.target)
    written = seen.instances
    if written is None:
        written = (SeenInstance(),) * service.spec.replicas
    name = service.metadata.name
    instances = tuple(
        _instance(file, service, instance, instance.name or f"{name}-{number}")
        for number, instance in enumerate(written, start=1)
    )
    return ObservedService(service.target, instances, _workload(file, service, seen.workload))


def _instance(
    file: IncidentFile, service: Service, seen: SeenInstance, name: str
) -> ObservedInstance:
    labels = {"uici.target": service.target, **seen.labels}
    identity = seen.native_id or _id(f"{service.target} {name}")
    ended = seen.ended
    if ended is None and seen.state in (InstanceState.STOPPED, InstanceState.RESTARTING):
        ended = timedelta(minutes=2)
    return ObservedInstance(
        native=NativeObject(INSTANCES[file.environment], identity, name, labels),
        state=seen.state,
        health=seen.health,
        exit_code=seen.exit_code,
        oom_killed=seen.oom_killed,
        restart_count=seen.restarts,
        started_at=NOW - seen.started,
        finished_at=None if ended is None else NOW - ended,
        reason=seen.reason,
        spec=_spec(service, seen.spec),
        native_config=over(service.spec.native, seen.spec.native),
        address="10.0.0.7",
    )


def _workload(file: IncidentFile, service: Service, seen: SeenWorkload | None) -> Workload | None:
    if file.environment is Place.DOCKER:
        return None
    if seen is None and service.spec.binding.get("kind") in (
        "ComputeInstance",
        "ContainerInstance",
    ):
        return None
    seen = seen or SeenWorkload(kind=service.spec.binding.get("kind", "Deployment"))
    name = service.metadata.name
    return Workload(
        native=NativeObject(seen.kind, _id(f"workload {service.target}"), name, seen.labels),
        replicas=service.spec.replicas if seen.replicas is None else seen.replicas,
        spec=_spec(service, seen.spec),
        native_config=over(service.spec.native, seen.spec.native),
        settled=seen.settled,
        reason=seen.reason,
    )


def _spec(service: Service, seen: SeenSpec) -> ObservedSpec:
    spec = service.spec
    declared = {
        # A secret that can't be resolved here is not compared, whatever stands there.
        key: "•" if isinstance(value, SecretRef) else value
        for key, value in spec.env.items()
        if key not in seen.unset
    }
    ports = tuple(str(port) for port in spec.ports)
    return ObservedSpec(
        image=seen.image or spec.image,
        command=seen.command if seen.command is not None else spec.command,
        env={**declared, **seen.env},
        memory=spec.resources.memory or 0 if seen.memory is None else seen.memory,
        cpu=spec.resources.cpu or Decimal(0) if seen.cpu is None else seen.cpu,
        ports=ports if seen.ports is None else seen.ports,
        managed_env=frozenset(spec.env),
    )


def _id(text: str) -> str:
    return (text.encode().hex() + "0" * 64)[:64]


def _probes(
    file: IncidentFile, services: Mapping[str, Service], snapshot: EngineSnapshot
) -> Iterator[ProbeReading]:
    for target, service in services.items():
        if service.spec.health.http is None:
            continue
        written = file.seen.get(service.metadata.name, SeenService()).instances or ()
        for number, instance in enumerate(snapshot.services[target].instances):
            said = written[number] if written else SeenInstance()
            name = instance.native.name
            if instance.state is not InstanceState.RUNNING:
                continue
            if said.probe_unknown is not None:
                yield ProbeReading(target, name, Reading.UNKNOWN, said.probe_unknown)
            elif said.probe is not None:
                yield ProbeReading(target, name, Reading.FAILED, said.probe)
            else:
                yield ProbeReading(target, name, Reading.PASSED, "200 OK")


def _metrics(file: IncidentFile, services: Mapping[str, Service]) -> Iterator[MetricReading]:
    for target, service in services.items():
        said = {m.check: m for m in file.seen.get(service.metadata.name, SeenService()).metrics}
        if strange := said.keys() - {check.name for check in service.spec.health.metrics}:
            raise PermanentError(f"{target} declares no metric {', '.join(sorted(strange))}")
        for check in service.spec.health.metrics:
            seen = said.get(check.name)
            if file.monitoring_error is not None:
                yield MetricReading(
                    target, check.name, Reading.UNKNOWN, detail=file.monitoring_error
                )
            elif seen is None:
                yield MetricReading(target, check.name, Reading.PASSED, sampled_at=NOW)
            else:
                yield MetricReading(target, check.name, seen.reading, seen.value, NOW, seen.detail)
