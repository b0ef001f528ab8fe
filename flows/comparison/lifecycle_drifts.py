"""Instances that are not up, restart again and again, or are ill by the engine's own word.

Part of stage 2, pure; used by `flows.comparison.target_judgement`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from flows.comparison.drift import Drift
from infrastructure.config_models import CrashLoopSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import EngineHealth, InstanceState, ObservedInstance
from infrastructure.service import Service


def lifecycle_drifts(
    service: Service, instance: ObservedInstance, *, loop: CrashLoopSettings, now: datetime
) -> Iterator[Drift]:
    """How the life of an instance differs from running, and running well.

    Args:
        service: desired state.
        instance: as the engine tells of it.
        loop: how many restarts within how long are a crash loop.
        now: the moment of judgement, with time zone.
    """
    name, target = instance.native.name, service.target
    match instance.state:
        case InstanceState.STOPPED | InstanceState.PENDING | InstanceState.PAUSED:
            yield Drift(
                target,
                DriftKind.STOPPED,
                desired="running",
                observed=_ending(instance),
                message=f"{name} is {instance.state.value}" + _because(instance),
                instance=name,
                since=_ended(instance),
                by_itself=instance.failed_by_itself,
            )
        case InstanceState.RESTARTING:
            looping = instance.restart_count >= loop.restarts
            yield Drift(
                target,
                DriftKind.CRASH_LOOPING if looping else DriftKind.STOPPED,
                desired="running",
                observed=f"restarting, {instance.restart_count} restarts",
                message=f"{name} restarts again and again" + _because(instance),
                instance=name,
                since=instance.finished_at,
                by_itself=instance.failed_by_itself,
            )
        case InstanceState.RUNNING:
            yield from _running(service, instance, loop=loop, now=now)
        case InstanceState.UNKNOWN:
            return


def how_it_ended(instance: ObservedInstance) -> str:
    """`stopped: killed for using too much memory`, `stopped, exit code 3`."""
    return instance.state.value + _because(instance)


def _running(
    service: Service, instance: ObservedInstance, *, loop: CrashLoopSettings, now: datetime
) -> Iterator[Drift]:
    name, target = instance.native.name, service.target
    # Restarts of long ago are history: an instance that has stayed up since is well.
    started = instance.started_at
    if (
        instance.restart_count >= loop.restarts
        and started is not None
        and now - started < loop.within
    ):
        yield Drift(
            target,
            DriftKind.CRASH_LOOPING,
            desired="running",
            observed=f"{instance.restart_count} restarts",
            message=f"{name} was restarted {instance.restart_count} times" + _because(instance),
            instance=name,
            since=instance.started_at,
        )
    if instance.health is EngineHealth.UNHEALTHY:
        yield Drift(
            target,
            DriftKind.UNHEALTHY,
            field="/health",
            desired="healthy",
            observed=instance.health.value,
            message=f"the engine calls {name} {instance.health.value}" + _because(instance),
            instance=name,
        )


def _ended(instance: ObservedInstance) -> datetime | None:
    """Since when it is not up; one that never was, since it was made."""
    if instance.state is InstanceState.PENDING and instance.finished_at is None:
        return instance.started_at
    return instance.finished_at


def _ending(instance: ObservedInstance) -> str:
    if instance.state is not InstanceState.STOPPED:
        return instance.state.value
    if instance.oom_killed:
        return "stopped: out of memory"
    return "stopped" + (f" (exit {instance.exit_code})" if instance.exit_code is not None else "")


def _because(instance: ObservedInstance) -> str:
    if instance.oom_killed:
        return ": killed for using too much memory"
    if instance.reason:
        return f": {instance.reason}"
    return f", exit code {instance.exit_code}" if instance.exit_code is not None else ""
