"""Small, complete values for tests: each builder takes only what its test is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from flows.compare import CompareInput
from flows.observe import EnvironmentObservation, Observation, SourceFailure
from infrastructure.config_models import (
    BreakerSettings,
    CompareSettings,
    CrashLoopSettings,
    GraceSettings,
)
from infrastructure.identity import AgentIdentity
from infrastructure.observed import (
    Alert,
    AlertState,
    EngineSnapshot,
    InstanceState,
    MetricReading,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ObservedSpec,
    ProbeReading,
    Silence,
)
from infrastructure.service import SecretRef, Service

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ENVIRONMENT = "local-docker"
AGENT = AgentIdentity(
    agent="devops-ai-agent",
    names=frozenset({"devops-ai-agent"}),
    lives_on=frozenset({"prefect-server"}),
    native_ids=frozenset({"a" * 64}),
    labels={"uici.role": "agent"},
)


def service(name: str = "market-predictor", **spec: Any) -> Service:
    """A Service with an image; `spec` in the YAML's camelCase."""
    environment = spec.pop("environment", ENVIRONMENT)
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": environment},
            "spec": {"image": f"{name}:1.0.0", **spec},
        }
    )


def services(*items: Service) -> dict[str, Service]:
    return {item.target: item for item in items}


def instance_of(wanted: Service, index: int = 0, **changes: Any) -> ObservedInstance:
    """A running instance that is exactly as declared, long up; `changes` spoil it."""
    name = wanted.metadata.name + (f"-{index + 1}" if wanted.spec.replicas > 1 else "")
    spec = ObservedSpec(
        image=wanted.spec.image,
        command=wanted.spec.command,
        env={k: "•" if isinstance(v, SecretRef) else v for k, v in wanted.spec.env.items()},
        memory=wanted.spec.resources.memory or 0,
        cpu=wanted.spec.resources.cpu or Decimal(0),
        ports=tuple(str(port) for port in wanted.spec.ports),
        managed_env=frozenset(wanted.spec.env),
        secret_env=frozenset(k for k, v in wanted.spec.env.items() if isinstance(v, SecretRef)),
    )
    spec = replace(spec, **{k: changes.pop(k) for k in list(changes) if hasattr(spec, k)})
    native = NativeObject("container", f"{index:012x}" + "b" * 52, name)
    values: dict[str, Any] = {
        "native": native,
        "state": InstanceState.RUNNING,
        "started_at": NOW - timedelta(hours=1),
        "native_config": wanted.spec.native,
        "spec": spec,
    }
    return ObservedInstance(**{**values, **changes})


def stopped(
    wanted: Service, index: int = 0, *, ago: float = 60, **changes: Any
) -> ObservedInstance:
    """An instance that ended `ago` seconds before NOW."""
    return instance_of(
        wanted,
        index,
        state=InstanceState.STOPPED,
        finished_at=NOW - timedelta(seconds=ago),
        exit_code=137,
        **changes,
    )


def as_declared(wanted: Service) -> ObservedService:
    return ObservedService(
        wanted.target, tuple(instance_of(wanted, i) for i in range(wanted.spec.replicas))
    )


def observation(
    engine: Iterable[ObservedService] | None,
    *,
    probes: Sequence[ProbeReading] = (),
    metrics: Sequence[MetricReading] = (),
    alerts: Sequence[Alert] | None = (),
    silences: Sequence[Silence] | None = (),
    orphans: Sequence[NativeObject] = (),
    failures: Sequence[SourceFailure] = (),
    unseen: Mapping[str, str] = MappingProxyType({}),
) -> Observation:
    """The world of one environment. `engine` None: it does not answer."""
    snapshot = None
    if engine is not None:
        told = {s.target: s for s in engine}
        snapshot = EngineSnapshot(ENVIRONMENT, told, tuple(orphans), unseen)
    seen = EnvironmentObservation(
        ENVIRONMENT,
        snapshot,
        tuple(probes),
        tuple(metrics),
        None if alerts is None else tuple(alerts),
        None if silences is None else tuple(silences),
        tuple(failures),
    )
    return Observation(NOW, {ENVIRONMENT: seen})


def alert(name: str = "MarketPredictorDown", *, ago: float = 600, **labels: str) -> Alert:
    return Alert(
        fingerprint=name + "".join(sorted(labels.values())),
        name=name,
        labels={"alertname": name, **labels},
        annotations={"summary": f"{name} fires"},
        starts_at=NOW - timedelta(seconds=ago),
        state=AlertState.ACTIVE,
    )


def compare_settings(**grace: float) -> CompareSettings:
    """Thresholds as they are shipped, but for the grace periods (seconds) given."""
    seconds = {"missing": 0, "stopped": 0, "starting": 60, "unhealthy": 0, "confirm_after": 1}
    values = {name: timedelta(seconds=s) for name, s in {**seconds, **grace}.items()}
    return CompareSettings(
        grace=GraceSettings(**values),
        crash_loop=CrashLoopSettings(restarts=3, within=timedelta(minutes=5)),
        breaker=BreakerSettings(share=0.6, minimum=5),
    )


def comparing(
    all_services: Mapping[str, Service],
    *,
    settings: CompareSettings | None = None,
    secrets: Mapping[str, str] | None = None,
    covers: Callable[[Silence, Mapping[str, str]], bool] = lambda _silence, _labels: False,
) -> CompareInput:
    return CompareInput(
        services=all_services,
        selected=tuple(all_services),
        settings=settings or compare_settings(),
        identity=AGENT,
        secrets=secrets or {},
        covers=covers,
    )
