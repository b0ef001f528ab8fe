"""One target: what was observed of it against what Git says. Part of stage 2, pure.

`judge_target` is called once a target a run; `flows.compare` adds what only the whole
can tell (breaker, incidents, strays).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flows.comparison.config_drifts import config_drifts
from flows.comparison.drift import Drift, HealthStatus, Sync, TargetState
from flows.comparison.lifecycle_drifts import lifecycle_drifts
from flows.comparison.workload_judgement import (
    is_on_its_way,
    is_rolling_out,
    roll_out_drifts,
    scale_drifts,
)
from infrastructure.config_models import CompareSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import (
    Alert,
    AlertState,
    EngineHealth,
    InstanceState,
    MetricReading,
    ObservedService,
    ProbeReading,
    Reading,
    Silence,
)
from infrastructure.service import Service

# Reason and message of a target that is as it should be.
WELL = ("Healthy", "every instance and every health check is well")
# Kinds with a grace period of which nobody tells when they began.
UNDATED = frozenset({DriftKind.MISSING, DriftKind.UNHEALTHY, DriftKind.METRIC_BREACH})
_NEVER: Mapping[str, datetime] = {}
_NOTHING_LACKS: Mapping[str, str] = {}
_CONFIG_KINDS = frozenset({DriftKind.MISSING, DriftKind.CONFIG_DRIFT, DriftKind.SCALE_DRIFT})


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """Everything that was observed about one target. `engine` None: it did not answer."""

    engine: ObservedService | None
    engine_error: str = ""
    probes: tuple[ProbeReading, ...] = ()
    metrics: tuple[MetricReading, ...] = ()
    alerts: tuple[Alert, ...] = ()
    silence: Silence | None = None


@dataclass(frozen=True, slots=True)
class TargetJudgement:
    """What stage 2 says about one target. `pending`: differs, but within its grace.

    `starting`: an instance was started so lately that signals may still be of before.
    """

    state: TargetState
    drifts: tuple[Drift, ...]
    pending: tuple[Drift, ...]
    starting: bool = False


def judge_target(
    service: Service,
    facts: TargetFacts,
    *,
    settings: CompareSettings,
    secrets: Mapping[str, str],
    now: datetime,
    first_seen: Mapping[str, datetime] = _NEVER,
    repaired: datetime | None = None,
    carried_out: Callable[[str], bool] = lambda _: False,
    lacking: Mapping[str, str] = _NOTHING_LACKS,
) -> TargetJudgement:
    """Judge one target.

    Args:
        service: desired state.
        facts: observation.
        settings: grace periods and thresholds.
        secrets: secret reference → value, for comparing environment variables; a
            reference that is absent could not be resolved and is not compared.
        now: the moment of judgement, with time zone.
        first_seen: `Drift.key` → when an earlier run first saw a drift that nobody dates;
            one that is absent is seen now for the first time.
        repaired: when it was last verified as repaired: what let it go on without a start
            (a container that was paused) leaves signals of before, too.
        carried_out: whether a target was in sync with its present spec before.
        lacking: secret reference → why it could not be resolved.
    """
    if facts.engine is None:
        state = TargetState(
            service.target,
            service.spec_digest,
            Sync.UNKNOWN,
            HealthStatus.UNKNOWN,
            "EngineUnreachable",
            facts.engine_error or "the engine did not answer",
            held=_held(service, facts, now),
        )
        return TargetJudgement(state, (), ())
    look = _Look(service, facts.engine, facts, settings, now, carried_out)
    found = [d for d in _all_drifts(look, secrets) if not _ignored(service, d)]
    starting = _is_starting(facts.engine, settings, now) or (
        repaired is not None and timedelta(0) <= now - repaired < settings.grace.starting
    )
    drifts: list[Drift] = []
    pending: list[Drift] = []
    for drift in _deduplicated(found):
        since = drift.since
        if since is None and drift.kind in UNDATED:
            since = first_seen.get(drift.key, now)
        waits = _within_grace(drift.kind, since, settings, starting=starting, now=now)
        (pending if waits else drifts).append(drift)
    state = _state(look, tuple(drifts), tuple(pending))
    if lacking and (uncompared := tuple(_uncompared(service, lacking))):
        state = replace(state, uncompared=uncompared)
    return TargetJudgement(state, tuple(drifts), tuple(pending), starting)


def _uncompared(service: Service, lacking: Mapping[str, str]) -> Iterator[str]:
    for name, reference in service.secrets.items():
        if reference in lacking:
            yield f"{name} can't be compared, nor given to a new instance: {lacking[reference]}"


@dataclass(frozen=True, slots=True)
class _Look:
    """One target at one moment, with an engine that answered."""

    service: Service
    engine: ObservedService
    facts: TargetFacts
    settings: CompareSettings
    now: datetime
    carried_out: Callable[[str], bool]


def waiting(judged: TargetJudgement, cause: str) -> TargetJudgement:
    """The judgement of a target whose symptoms may be explained by what it needs.

    Args:
        judged: all of its drifts are symptoms.
        cause: the dependency that differs within its grace, or has only just started.
    """
    message = f"it needs {cause}, which is not settled yet"
    state = replace(
        judged.state,
        health=HealthStatus.PROGRESSING,
        reason="WaitsForDependency",
        message=message,
    )
    return replace(judged, state=state, drifts=(), pending=(*judged.drifts, *judged.pending))


def _all_drifts(look: _Look, secrets: Mapping[str, str]) -> Iterator[Drift]:
    service = look.service
    workload = look.engine.workload
    yield from scale_drifts(service, look.engine)
    yield from roll_out_drifts(service, workload)
    if workload is not None:
        # What instances are made from: those that are left of before are being replaced.
        yield from config_drifts(service, workload, secrets, look.carried_out)
    for instance in look.engine.instances:
        if not is_on_its_way(workload, instance):
            yield from lifecycle_drifts(
                service, instance, loop=look.settings.crash_loop, now=look.now
            )
        if workload is None:
            yield from config_drifts(service, instance, secrets, look.carried_out)
    for probe in look.facts.probes:
        if probe.reading is Reading.FAILED:
            yield Drift(
                service.target,
                DriftKind.UNHEALTHY,
                field="/health/http",
                desired="answers 200–399",
                observed=probe.told,
                message=f"health probe of {probe.instance}: {probe.told}",
                instance=probe.instance,
            )
    yield from _signals(service, look.facts)


def _signals(service: Service, facts: TargetFacts) -> Iterator[Drift]:
    expectations = {check.name: check for check in service.spec.health.metrics}
    probed = service.spec.health.http is not None
    for metric in facts.metrics:
        if metric.reading is Reading.FAILED and metric.check in expectations:
            check = expectations[metric.check]
            yield Drift(
                service.target,
                DriftKind.METRIC_BREACH,
                field=metric.check,
                desired=check.expect,
                observed=f"{metric.value:g}" if metric.value is not None else "breached",
                message=f"metric {metric.check}: {metric.detail or 'breached'}",
                probed=probed,
            )
    for alert in facts.alerts:
        if alert.state is AlertState.ACTIVE:
            yield Drift(
                service.target,
                DriftKind.ALERT_FIRING,
                field=alert.name,
                desired="silent",
                observed="firing",
                message=alert.annotations.get("summary", alert.name),
                since=alert.starts_at,
                probed=probed,
            )


def _ignored(service: Service, drift: Drift) -> bool:
    return any(
        drift.field == pointer or drift.field.startswith(pointer + "/")
        for pointer in service.spec.ignore_differences
    )


def _deduplicated(drifts: Iterable[Drift]) -> Iterator[Drift]:
    """One drift a kind, field and instance: probe and engine may say the same."""
    seen: set[tuple[DriftKind, str | None]] = set()
    for drift in drifts:
        key = (drift.kind, drift.instance)
        if drift.kind is DriftKind.UNHEALTHY and key in seen:
            continue
        seen.add(key)
        yield drift


def _is_starting(engine: ObservedService, settings: CompareSettings, now: datetime) -> bool:
    """Whether an instance was started so lately that its signals may still be of before."""
    started = [i.started_at for i in engine.instances if i.started_at is not None]
    return bool(started) and now - max(started) < settings.grace.starting


def _within_grace(
    kind: DriftKind,
    since: datetime | None,
    settings: CompareSettings,
    *,
    starting: bool,
    now: datetime,
) -> bool:
    grace = settings.grace
    match kind:
        case DriftKind.STOPPED:
            return _younger(since, grace.stopped, now)
        case DriftKind.MISSING:
            return _younger(since, grace.missing, now)
        case DriftKind.UNHEALTHY | DriftKind.METRIC_BREACH | DriftKind.ALERT_FIRING:
            return starting or _younger(since, grace.unhealthy, now)
        case (
            DriftKind.CONFIG_DRIFT
            | DriftKind.SCALE_DRIFT
            | DriftKind.ORPHAN
            | DriftKind.CRASH_LOOPING
        ):
            return False


def _younger(since: datetime | None, grace: timedelta, now: datetime) -> bool:
    """Whether a grace period lasts. Clocks differ: what lies far ahead dates nothing."""
    return since is not None and abs(now - since) < grace


def _held(service: Service, facts: TargetFacts, now: datetime) -> str | None:
    suspend = service.spec.suspend
    if suspend is not None and (suspend.until is None or now < suspend.until):
        until = f" until {suspend.until.isoformat()}" if suspend.until else ""
        return f"suspended{until}: {suspend.reason}"
    if facts.silence is not None:
        silence = facts.silence
        until = silence.ends_at.isoformat(timespec="seconds")
        return f"silenced by {silence.created_by} until {until}: {silence.comment}"
    return None


def _state(look: _Look, drifts: tuple[Drift, ...], pending: tuple[Drift, ...]) -> TargetState:
    held = _held(look.service, look.facts, look.now)
    configured = any(d.kind in _CONFIG_KINDS for d in (*drifts, *pending))
    health, reason, message = _health(look, drifts, pending)
    state = TargetState(
        look.service.target,
        look.service.spec_digest,
        Sync.DRIFTED if configured else Sync.SYNCED,
        health,
        reason,
        message,
        held=held,
    )
    if held and held.startswith("suspended"):
        state = replace(state, health=HealthStatus.SUSPENDED, reason="Suspended", message=held)
    return state


def _health(
    look: _Look, drifts: tuple[Drift, ...], pending: tuple[Drift, ...]
) -> tuple[HealthStatus, str, str]:
    if drifts:
        first = min(drifts, key=lambda d: list(DriftKind).index(d.kind))
        if first.kind is DriftKind.MISSING:
            return HealthStatus.MISSING, first.kind.value, first.message
        works = all(d.kind in _CONFIG_KINDS for d in drifts)
        status = HealthStatus.HEALTHY if works else HealthStatus.DEGRADED
        return status, first.kind.value, first.message
    if pending:
        return HealthStatus.PROGRESSING, "WithinGracePeriod", pending[0].message
    return _unknown(look) or (HealthStatus.HEALTHY, *WELL)


def _unknown(look: _Look) -> tuple[HealthStatus, str, str] | None:
    """What keeps a target without any drift from being called healthy."""
    workload = look.engine.workload
    if workload is not None and is_rolling_out(workload):
        message = f"{workload.native.kind} {workload.native.name} is being rolled out"
        return HealthStatus.PROGRESSING, "RollingOut", message
    if any(i.health is EngineHealth.STARTING for i in look.engine.instances):
        # The engine gives it as long as its own start period says; so do we.
        message = "the engine's health check has not passed yet"
        return HealthStatus.PROGRESSING, "Starting", message
    if any(i.state is InstanceState.UNKNOWN for i in look.engine.instances):
        return HealthStatus.UNKNOWN, "EngineStateUnknown", "the engine does not know the state"
    signals = [(s.reading, s.detail) for s in look.facts.probes]
    signals += [(s.reading, s.detail) for s in look.facts.metrics]
    unknown = [detail for reading, detail in signals if reading is Reading.UNKNOWN]
    if unknown and _is_starting(look.engine, look.settings, look.now):
        return HealthStatus.PROGRESSING, "WithinGracePeriod", "its first samples are not due yet"
    if unknown:
        return HealthStatus.UNKNOWN, "SignalsUnknown", unknown[0] or "no fresh sample"
    return None
