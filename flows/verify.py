"""Stage 6, verify: did the service really recover?

Looks again, at the incident's root only, until everything that must hold holds or the
deadline is reached. Unknown is never success, and silence is not recovery: what must
hold is desired state. Next stage: report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flows.compare import CompareInput, compare
from flows.comparison.drift import Drift, HealthStatus, Incident, TargetState
from flows.comparison.lifecycle_drifts import how_it_ended
from flows.observe import EnvironmentObservation, Observation
from infrastructure.config_models import VerifySettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.limits import within_limit
from infrastructure.observed import (
    AlertState,
    EngineHealth,
    InstanceState,
    MetricReading,
    ObservedInstance,
    ObservedService,
    Reading,
)
from infrastructure.operations import Effect
from infrastructure.service import Service


class CheckState(StrEnum):
    """Result of one check."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    PENDING = "pending"  # not well yet, and recovery does not wait for it: the next run looks


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `name`: engine, spec, effect, probe, metric/<n>, alert/<n>."""

    target: str
    name: str
    state: CheckState
    detail: str


class VerificationResult(StrEnum):
    """The end of it."""

    RECOVERED = "recovered"
    NOT_RECOVERED = "not_recovered"
    UNKNOWN = "unknown"  # what should tell did not answer
    NOT_RUN = "not_run"  # nothing was executed


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict about one incident, with the last state of each check.

    `left`: how the root stands where it has not recovered, if that could be told.
    """

    fingerprint: str
    result: VerificationResult
    checks: tuple[Check, ...]
    seconds: float
    left: TargetState | None = None


@dataclass(frozen=True, slots=True)
class VerifyInput:
    """What verification works on.

    `before` is the root as observed before the plan ran; `effects` what its operations
    promised; `acted_at` when the last of them ended.
    """

    incident: Incident
    before: tuple[ObservedInstance, ...]
    effects: frozenset[Effect]
    acted_at: datetime
    settings: VerifySettings
    compare: CompareInput  # selected: the root only


def verify(
    given: VerifyInput,
    *,
    look: Callable[[], Observation],
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    deadline: datetime,
    looked: Callable[[tuple[Check, ...]], None] = lambda _: None,
) -> Verification:
    """Look until recovered or out of time.

    Args:
        given: see VerifyInput.
        look: observes the root now.
        now: clock with time zone.
        sleep: waits, seconds.
        deadline: the run's; the stage's own comes from settings.
        looked: told how the checks stand each time that it is looked again.
    """
    started = now()
    until = min(deadline, started + given.settings.deadline)
    stable_since: datetime | None = None
    while True:
        seen = look()
        checks = tuple(assess(given, seen, now=now()))
        well = all(check.state in (CheckState.PASSED, CheckState.PENDING) for check in checks)
        at = now()
        if not well:
            stable_since = None
        elif stable_since is None:
            stable_since = at
        if stable_since is not None and at - stable_since >= _settle(given):
            return _result(given, VerificationResult.RECOVERED, checks, at - started)
        if at >= until:
            failed = any(check.state is CheckState.FAILED for check in checks)
            result = VerificationResult.NOT_RECOVERED if failed else VerificationResult.UNKNOWN
            found = _result(given, result, checks, at - started)
            return replace(found, left=_left(given, seen, at)) if failed else found
        looked(checks)
        sleep(given.settings.interval.total_seconds())


def _result(
    given: VerifyInput, result: VerificationResult, checks: tuple[Check, ...], took: timedelta
) -> Verification:
    return Verification(given.incident.fingerprint, result, checks, took.total_seconds())


def _left(given: VerifyInput, seen: Observation, at: datetime) -> TargetState | None:
    """How the root stands now; None: that can't be told, or not yet."""
    state = compare(given.compare, seen, now=at).states.get(given.incident.root)
    unclear = (HealthStatus.UNKNOWN, HealthStatus.PROGRESSING)
    return state if state is not None and state.health not in unclear else None


def _settle(given: VerifyInput) -> timedelta:
    """How long a service has to be well: at once where something vouches for its health."""
    service = given.compare.services[given.incident.root]
    vouched = service.spec.health.http is not None or any(
        instance.health is not EngineHealth.NONE for instance in given.before
    )
    return timedelta(0) if vouched else given.settings.stable_for


def assess(given: VerifyInput, seen: Observation, *, now: datetime) -> Iterator[Check]:
    """Every check about the root at one moment. Pure."""
    service = given.compare.services[given.incident.root]
    environment = seen.environments.get(service.metadata.environment)
    if environment is None or environment.engine is None:
        error = next((f.error for f in environment.failures), "") if environment else ""
        yield Check(service.target, "engine", CheckState.UNKNOWN, error or "no answer")
        return
    observed = environment.engine.services.get(service.target)
    if observed is None:
        why = environment.engine.unseen.get(service.target, "no answer")
        yield Check(service.target, "engine", CheckState.UNKNOWN, why)
        return
    instances = observed.instances
    yield _engine(service, observed)
    yield from _effects(given, service, instances)
    drifts = compare(given.compare, seen, now=now).drifts
    yield _spec(service, drifts)
    yield from _probes(service, environment, instances)
    yield from _signals(given, service, environment)


def _engine(service: Service, observed: ObservedService) -> Check:
    target, instances, workload = service.target, observed.instances, observed.workload
    wanted = _wanted(service, observed)
    if wanted is not None and len(instances) != wanted:
        detail = f"{len(instances)} of {wanted} instances"
        return Check(target, "engine", CheckState.FAILED, detail)
    if workload is not None and not workload.settled:
        detail = f"{workload.native.kind} {workload.native.name} is not rolled out"
        told = f"{detail}: {workload.reason}" if workload.reason else detail
        return Check(target, "engine", CheckState.FAILED, told)
    if any(i.state is not InstanceState.RUNNING for i in instances):
        ended = dict.fromkeys(
            how_it_ended(i) if i.state is InstanceState.STOPPED else i.state.value
            for i in instances
        )
        return Check(target, "engine", CheckState.FAILED, ", ".join(sorted(ended)))
    health = {i.health for i in instances}
    if EngineHealth.UNHEALTHY in health or EngineHealth.STARTING in health:
        detail = "running, " + ", ".join(sorted(h.value for h in health))
        return Check(target, "engine", CheckState.FAILED, detail)
    return Check(target, "engine", CheckState.PASSED, f"{len(instances)} running")


def _wanted(service: Service, observed: ObservedService) -> int | None:
    """How many instances there have to be; None: any number, as somebody else decides it."""
    scaled_by_others = "/replicas" in service.spec.ignore_differences
    declared = service.spec.replicas
    if observed.workload is not None:
        kept = observed.workload.replicas
        if kept is None or scaled_by_others or within_limit(service.spec, "/replicas", kept):
            return kept
        return declared
    found = len(observed.instances)
    if (scaled_by_others and found) or within_limit(service.spec, "/replicas", found):
        return None
    return declared


def _effects(
    given: VerifyInput, service: Service, instances: tuple[ObservedInstance, ...]
) -> Iterator[Check]:
    """What only a look at before and after can tell; the rest is desired state itself."""
    if Effect.RESTARTED not in given.effects:
        return
    before = {(i.native.id, i.started_at) for i in given.before}
    same = [i.native.name for i in instances if (i.native.id, i.started_at) in before]
    state = CheckState.FAILED if same else CheckState.PASSED
    detail = f"not restarted: {', '.join(same)}" if same else "every instance is a new start"
    yield Check(service.target, "effect", state, detail)


def _spec(service: Service, drifts: tuple[Drift, ...]) -> Check:
    wrong = [
        d
        for d in drifts
        if d.target == service.target
        and d.kind in (DriftKind.CONFIG_DRIFT, DriftKind.SCALE_DRIFT, DriftKind.MISSING)
    ]
    if wrong:
        return Check(service.target, "spec", CheckState.FAILED, wrong[0].message)
    return Check(service.target, "spec", CheckState.PASSED, "as declared in Git")


def _probes(
    service: Service,
    environment: EnvironmentObservation,
    instances: tuple[ObservedInstance, ...],
) -> Iterator[Check]:
    if service.spec.health.http is None:
        return
    readings = {p.instance: p for p in environment.probes if p.target == service.target}
    states = {
        Reading.PASSED: CheckState.PASSED,
        Reading.FAILED: CheckState.FAILED,
        Reading.UNKNOWN: CheckState.UNKNOWN,
    }
    for instance in instances:
        probe = readings.get(instance.native.name)
        if probe is None:
            yield Check(service.target, "probe", CheckState.UNKNOWN, "not probed")
        else:
            detail = probe.told if probe.reading is Reading.FAILED else probe.detail
            yield Check(service.target, "probe", states[probe.reading], detail)


def _signals(
    given: VerifyInput, service: Service, environment: EnvironmentObservation
) -> Iterator[Check]:
    """Metrics and alerts lag. They must hold where nothing else told of the fault."""
    own = [d for d in given.incident.drifts if d.target == service.target]
    due = all(d.kind in (DriftKind.METRIC_BREACH, DriftKind.ALERT_FIRING) for d in own)
    concerned = {(d.kind, d.field) for d in own}
    for metric in environment.metrics:
        if metric.target == service.target:
            must = due and (DriftKind.METRIC_BREACH, metric.check) in concerned
            yield _metric(service, metric, must=must, acted_at=given.acted_at)
    firing = {
        a.name
        for a in environment.alerts or ()
        if a.state is AlertState.ACTIVE
        and any(s.matchers.items() <= a.labels.items() for s in service.spec.alerts)
    }
    for kind, name in sorted(concerned):
        if kind is DriftKind.ALERT_FIRING:
            yield _alert(service, name, environment.alerts is None, firing=firing, due=due)


def _metric(service: Service, metric: MetricReading, *, must: bool, acted_at: datetime) -> Check:
    name = f"metric/{metric.check}"
    fresh = metric.sampled_at is not None and metric.sampled_at > acted_at
    if not fresh:
        state = CheckState.UNKNOWN if must else CheckState.PENDING
        return Check(service.target, name, state, "no sample since the repair")
    if metric.reading is Reading.PASSED:
        return Check(service.target, name, CheckState.PASSED, metric.detail or "as expected")
    state = CheckState.FAILED if must else CheckState.PENDING
    return Check(service.target, name, state, metric.detail or "still breached")


def _alert(service: Service, name: str, unread: bool, *, firing: set[str], due: bool) -> Check:
    check = f"alert/{name}"
    if unread:
        state = CheckState.UNKNOWN if due else CheckState.PENDING
        return Check(service.target, check, state, "Alertmanager did not answer")
    if name not in firing:
        return Check(service.target, check, CheckState.PASSED, "resolved")
    state = CheckState.FAILED if due else CheckState.PENDING
    return Check(service.target, check, state, "still firing")


def summary_of(checks: tuple[Check, ...]) -> Mapping[str, str]:
    """Worst state of each check name, for one-line output."""
    order = [CheckState.PASSED, CheckState.PENDING, CheckState.UNKNOWN, CheckState.FAILED]
    worst: dict[str, CheckState] = {}
    for check in checks:
        worst[check.name] = max(worst.get(check.name, check.state), check.state, key=order.index)
    return {name: state.value for name, state in worst.items()}
