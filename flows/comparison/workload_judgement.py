"""How many instances there are to be, and whether a roll-out gets anywhere. Part of stage 2, pure.

An engine either has instances and nothing else (Docker), or an object of its own that keeps
them (a Deployment, an instance pool). Such an object is what desired state is compared with:
instances come and go below it, and are right when it is. Neighbour: `target_judgement`.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.comparison.drift import Drift
from infrastructure.drift_kinds import DriftKind
from infrastructure.limits import declared_or_within
from infrastructure.observed import InstanceState, ObservedInstance, ObservedService, Workload
from infrastructure.service import Service


def scale_drifts(service: Service, seen: ObservedService) -> Iterator[Drift]:
    """Missing, stopped as a whole, too few or too many.

    Missing is what has neither instances nor a workload. What a workload is asked to keep
    counts, not how many there are at this moment: the difference is the engine's own work.
    """
    if seen.workload is not None:
        yield from _workload_scale(service, seen.workload)
        return
    wanted, found = service.spec.replicas, len(seen.instances)
    if not found and wanted:
        yield Drift(
            service.target,
            DriftKind.MISSING,
            desired=f"{wanted} instance{'s' if wanted > 1 else ''}",
            observed="none",
            message="no instance exists",
        )
    elif not declared_or_within(service.spec, "/replicas", found):
        yield _other_number(service, found, f"{found} instances exist, {wanted} are declared")


def _workload_scale(service: Service, workload: Workload) -> Iterator[Drift]:
    wanted, kept = service.spec.replicas, workload.replicas
    if kept is None or declared_or_within(service.spec, "/replicas", kept):
        return
    name = f"{workload.native.kind} {workload.native.name}"
    if kept == 0:
        yield Drift(
            service.target,
            DriftKind.STOPPED,
            field="/replicas",
            desired=str(wanted),
            observed="0",
            message=f"{name} is asked to keep no instance, {wanted} are declared",
        )
    else:
        told = f"{name} is asked to keep {kept} instances, {wanted} are declared"
        yield _other_number(service, kept, told)


def _other_number(service: Service, found: int, message: str) -> Drift:
    return Drift(
        service.target,
        DriftKind.SCALE_DRIFT,
        field="/replicas",
        desired=str(service.spec.replicas),
        observed=str(found),
        message=message,
    )


def roll_out_drifts(service: Service, workload: Workload | None) -> Iterator[Drift]:
    """A change that the engine has given up, or that it is refused."""
    if workload is not None and workload.reason:
        yield Drift(
            service.target,
            DriftKind.UNHEALTHY,
            field="/health",
            desired="rolled out",
            observed=workload.reason,
            message=f"{workload.native.kind} {workload.native.name}: {workload.reason}",
        )


def is_rolling_out(workload: Workload | None) -> bool:
    """Whether the engine is at work and has not given up."""
    return workload is not None and not workload.settled and not workload.reason


def is_on_its_way(workload: Workload | None, instance: ObservedInstance) -> bool:
    """Whether an instance is merely not up yet: part of a roll-out, and nothing is wrong."""
    waits = instance.state is InstanceState.PENDING and not instance.reason
    return waits and is_rolling_out(workload)
