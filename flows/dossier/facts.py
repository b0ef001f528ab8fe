"""What this run saw of a target, in sentences for a model and for people. Pure.

Each has a rank: 0 tells most. Neighbours: `flows.observe` saw it; `flows.dossier.collect`
puts it in order, cleans, redacts and cuts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from flows.observe import EnvironmentObservation
from infrastructure.observed import (
    Alert,
    AlertState,
    EngineHealth,
    InstanceState,
    ObservedInstance,
    ObservedService,
    Reading,
    Workload,
)
from infrastructure.quantities import format_cpu, format_memory
from infrastructure.service import Service

# From this share of its limit on, the memory in use is what tells most.
_TIGHT = 0.9


class Rank(IntEnum):
    """How telling a fact is."""

    BROKEN = 0  # what the engine says of what does not work
    SYMPTOM = 1  # a probe, a metric, an alert
    RESOURCES = 2
    UNKNOWN = 3  # what could not be read
    FINE = 4


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence about a target, not yet cleaned. No target: about the environment."""

    rank: Rank
    target: str
    text: str

    @property
    def told(self) -> str:
        """With its target."""
        return f"{self.target}: {self.text}" if self.target else self.text


def of_environment(seen: EnvironmentObservation) -> Iterator[Fact]:
    """What could not be read."""
    for failure in seen.failures:
        text = f"{failure.source} of {failure.environment} can't be read: {failure.error}"
        yield Fact(Rank.UNKNOWN, "", text)


def of_target(service: Service, seen: EnvironmentObservation) -> Iterator[Fact]:
    """What engine, Alertmanager, probes and metrics say."""
    target = service.target
    for rank, text in _engine(service, observed_of(seen, target)):
        yield Fact(rank, target, text)
    for probe in seen.probes:
        if probe.target == target and probe.reading is not Reading.PASSED:
            text = f"probe of {probe.instance} {probe.reading.value}: {probe.told}"
            yield Fact(_of_reading(probe.reading), target, text)
    for metric in seen.metrics:
        if metric.target == target and metric.reading is not Reading.PASSED:
            value = "" if metric.value is None else f", value {metric.value:g}"
            text = f"metric {metric.check} {metric.reading.value}{value}: {metric.detail}"
            yield Fact(_of_reading(metric.reading), target, text)
    for alert in seen.alerts or ():
        if any(
            selector.matchers.items() <= alert.labels.items() for selector in service.spec.alerts
        ):
            active = alert.state is AlertState.ACTIVE
            yield Fact(Rank.SYMPTOM if active else Rank.FINE, target, _alert(alert))


def observed_of(seen: EnvironmentObservation, target: str) -> ObservedService | None:
    """What the engine has of a target; None: it did not tell."""
    return None if seen.engine is None else seen.engine.services.get(target)


def engine_words(observed: ObservedService | None) -> Iterator[str]:
    """What the engine itself says is wrong, for error patterns to be found in."""
    if observed is None:
        return
    if observed.workload is not None and observed.workload.reason:
        yield observed.workload.reason
    for instance in observed.instances:
        if instance.oom_killed:
            yield "OOMKilled"
        if instance.reason:
            yield instance.reason


def _of_reading(reading: Reading) -> Rank:
    return Rank.SYMPTOM if reading is Reading.FAILED else Rank.UNKNOWN


def _engine(service: Service, observed: ObservedService | None) -> Iterator[tuple[Rank, str]]:
    if observed is None:
        yield Rank.UNKNOWN, "the engine did not tell its state"
        return
    workload, instances = observed.workload, observed.instances
    if not instances:
        yield Rank.BROKEN, "no instance exists"
    if workload is not None:
        yield _of_workload(workload, len(instances)), _workload(workload, len(instances))
    for text, alike in _alike(instances).items():
        names = ", ".join(instance.native.name for instance in alike)
        yield Rank.FINE if works(alike[0]) else Rank.BROKEN, f"{names}: {text}"
    if instances:
        yield Rank.RESOURCES, _limits(service, instances[0])


def _of_workload(workload: Workload, found: int) -> Rank:
    whole = workload.settled and workload.replicas in {None, found}
    return Rank.FINE if whole else Rank.BROKEN


def _workload(workload: Workload, found: int) -> str:
    """What keeps the instances: what it was asked for, what is there, and its own reason."""
    parts = [f"{workload.native.kind} {workload.native.name}"]
    if workload.replicas is not None:
        parts.append(f"asked to keep {workload.replicas} instances, {found} exist")
    parts.append("settled" if workload.settled else "not settled")
    if workload.reason:
        parts.append(f"reason: {workload.reason}")
    return ", ".join(parts)


def _alike(instances: Sequence[ObservedInstance]) -> dict[str, list[ObservedInstance]]:
    """Instances by what there is to say of them; those that don't just run come first."""
    alike: dict[str, list[ObservedInstance]] = {}
    for instance in sorted(instances, key=works):
        alike.setdefault(_instance(instance), []).append(instance)
    return alike


def works(instance: ObservedInstance) -> bool:
    """Whether it just runs."""
    healthy = instance.health in {EngineHealth.NONE, EngineHealth.HEALTHY}
    return instance.state is InstanceState.RUNNING and healthy


def _instance(instance: ObservedInstance) -> str:
    parts = [instance.state.value]
    if instance.health is not EngineHealth.NONE:
        parts.append(f"engine health {instance.health.value}")
    if instance.exit_code is not None and instance.state is not InstanceState.RUNNING:
        parts.append(f"exit code {instance.exit_code}{_signal(instance.exit_code)}")
    if instance.oom_killed:
        parts.append("killed for want of memory (OOM)")
    if instance.restart_count:
        parts.append(f"restarted {instance.restart_count} times")
    if instance.reason:
        parts.append(f"reason: {instance.reason}")
    if instance.state is InstanceState.RUNNING:
        parts += _moment("started", instance.started_at)
    else:
        parts += _moment("ended", instance.finished_at)
    return ", ".join(parts)


# POSIX shells and engines tell the end by a signal as 128 + its number.
_SIGNALS = {134: "aborted", 137: "killed", 139: "segmentation fault", 143: "terminated"}


def _signal(code: int) -> str:
    return f" ({_SIGNALS[code]})" if code in _SIGNALS else ""


def _moment(word: str, at: datetime | None) -> list[str]:
    return [] if at is None else [f"{word} {at.isoformat(timespec='seconds')}"]


def _limits(service: Service, instance: ObservedInstance) -> str:
    """Limits as they are, and as declared where that is another thing."""
    memory, cpu = instance.spec.memory, instance.spec.cpu
    now = (
        _limit(memory, None if memory is None else format_memory(memory)),
        _limit(cpu, None if cpu is None else format_cpu(cpu)),
    )
    wanted = service.spec.resources
    declared = (
        "" if wanted.memory is None else f" (declared {format_memory(wanted.memory)})",
        "" if wanted.cpu is None else f" (declared {format_cpu(wanted.cpu)})",
    )
    told = f"limits: memory {now[0]}{declared[0]}, cpu {now[1]}{declared[1]}"
    return "no limits" if told == _UNLIMITED else told


_UNLIMITED = "limits: memory unlimited, cpu unlimited"


def _limit(value: Any, text: str | None) -> str:
    if text is None:
        return "unknown"
    return text if value else "unlimited"


def _alert(alert: Alert) -> str:
    state = "firing" if alert.state is AlertState.ACTIVE else alert.state.value
    texts = "; ".join(f"{key}: {alert.annotations[key]}" for key in sorted(alert.annotations))
    since = alert.starts_at.isoformat(timespec="seconds")
    return f"alert {alert.name} {state} since {since}" + (f": {texts}" if texts else "")


# ── from read-only operations ───────────────────────────────────────────────────


def of_resources(target: str, output: Any) -> Iterator[Fact]:
    """What `check_resources` found: used against the limits, instance by instance."""
    for usage in instances_of(output):
        share = usage.get("memory_share")
        rank = Rank.RESOURCES
        told = f"{usage.get('instance', 'an instance')} uses memory"
        told += f" {_bytes(usage.get('memory_bytes'))}"
        if isinstance(share, int | float) and usage.get("memory_limit_bytes"):
            told += f" of {_bytes(usage['memory_limit_bytes'])} ({share:.0%})"
            rank = Rank.BROKEN if share >= _TIGHT else rank
        told += f", cpu {usage.get('cpu_cores', 'unknown')}"
        limit = str(usage.get("cpu_limit_cores") or "0")
        yield Fact(rank, target, told + (f" of {limit} cores" if limit != "0" else " cores"))


def of_status(target: str, output: Any) -> Iterator[Fact]:
    """What `get_status` adds to what was observed: the last health checks, failed conditions."""
    for instance in instances_of(output):
        probes = [p for p in instance.get("health_log") or () if isinstance(p, Mapping)]
        failed = [p for p in probes if p.get("exit_code") != 0]
        if failed:
            text = (
                f"{instance.get('instance', 'an instance')}: {len(failed)} of its last "
                f"{len(probes)} health checks failed, the newest with exit code "
                f"{failed[-1].get('exit_code')}: {failed[-1].get('output', '')}"
            )
            yield Fact(Rank.SYMPTOM, target, text)
    workload = output.get("workload") if isinstance(output, Mapping) else None
    conditions = workload.get("conditions") if isinstance(workload, Mapping) else None
    for condition in conditions or ():
        if isinstance(condition, Mapping) and condition.get("message"):
            bad = (condition.get("status") == "True") == (condition.get("type") in _BAD_IF_TRUE)
            words = " ".join(str(condition.get(k) or "") for k in ("type", "status", "reason"))
            if bad:
                yield Fact(Rank.BROKEN, target, f"condition {words}: {condition['message']}")


_BAD_IF_TRUE = frozenset({"ReplicaFailure", "Failed"})  # conditions that should not hold


def health_words(output: Any) -> Iterator[str]:
    """What failed health checks printed, for error patterns to be found in."""
    for instance in instances_of(output):
        for probe in instance.get("health_log") or ():
            if isinstance(probe, Mapping) and probe.get("exit_code") != 0:
                yield str(probe.get("output", ""))


def instances_of(output: Any) -> Sequence[Mapping[str, Any]]:
    """What an operation told, instance by instance; anything else is nothing."""
    found = output.get("instances") if isinstance(output, Mapping) else None
    listed = found if isinstance(found, list | tuple) else ()
    return [each for each in listed if isinstance(each, Mapping)]


def _bytes(value: Any) -> str:
    """Rounded to three digits: `53.1Mi`."""
    if not isinstance(value, int | float):
        return "unknown"
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"
