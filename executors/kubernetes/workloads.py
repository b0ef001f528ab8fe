"""Workloads in universal words, and whether they have done what their spec asks for. Pure.

Neighbours: `objects` reads the parts that workloads and pods share, `pods` reads pods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from executors.kubernetes.binding import Json, Place, WorkloadKind
from executors.kubernetes.objects import (
    DECLARED_ENV,
    meta,
    native_config,
    native_of,
    notes_of,
    observed_spec,
    one_line,
    template_of,
)
from infrastructure.observed import Workload, empty


def observed_workload(
    workload: Mapping[str, Any], place: Place, secrets: Mapping[str, str], *, keep_native: bool
) -> Workload:
    """A workload in universal words.

    Raises:
        ValueError: a quantity in it is none.
    """
    settled, reason = roll_out(workload, place.kind)
    return Workload(
        native=native_of(workload, place.kind.value),
        replicas=replicas_of(workload, place),
        spec=replace(
            observed_spec(template_of(workload, place), place, secrets),
            managed_env=frozenset(notes_of(workload).get(DECLARED_ENV, "").split()),
        ),
        native_config=native_config(workload, place) if keep_native else empty(),
        settled=settled,
        reason=reason,
    )


def replicas_of(workload: Mapping[str, Any], place: Place) -> int | None:
    """How many pods it is asked to keep; None: it has no such number.

    A suspended Job or CronJob, and a DaemonSet that was stopped, keep none.
    """
    spec: Json = workload.get("spec") or {}
    if place.facts.scales:
        return int(spec.get("replicas", 1))
    return 0 if spec.get("suspend") else None


def roll_out(workload: Mapping[str, Any], kind: WorkloadKind) -> tuple[bool, str]:
    """Whether a workload has done all that its spec asks for, and what keeps it from that.

    As `kubectl rollout status` judges. A reason is only told where the cluster has given up
    or is refused something; without one it is under way.
    """
    status: Json = workload.get("status") or {}
    if not is_observed(workload, kind):
        return False, ""
    return _ROLL_OUTS[kind](workload.get("spec") or {}, status), _trouble(status)


def is_observed(workload: Mapping[str, Any], kind: WorkloadKind) -> bool:
    """Whether the status is about the spec as it is now. Batch kinds do not tell: it is."""
    if kind in (WorkloadKind.JOB, WorkloadKind.CRON_JOB):
        return True
    seen = int((workload.get("status") or {}).get("observedGeneration") or 0)
    return seen >= int(meta(workload).get("generation") or 0)


def _deployment(spec: Json, status: Json) -> bool:
    wanted = int(spec.get("replicas", 1))
    return (
        int(status.get("updatedReplicas") or 0) == wanted
        and int(status.get("replicas") or 0) == wanted
        and int(status.get("availableReplicas") or 0) == wanted
    )


def _stateful_set(spec: Json, status: Json) -> bool:
    wanted = int(spec.get("replicas", 1))
    strategy: Json = spec.get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    rolls = strategy.get("type", "RollingUpdate") == "RollingUpdate"
    updated = int(status.get("updatedReplicas") or 0)
    if status.get("currentRevision") == status.get("updateRevision"):
        updated = wanted
    return (
        int(status.get("replicas") or 0) == wanted
        and int(status.get("readyReplicas") or 0) == wanted
        and (not rolls or updated >= wanted - partition)
    )


def _daemon_set(spec: Json, status: Json) -> bool:
    wanted = int(status.get("desiredNumberScheduled") or 0)
    rolls = (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    updated = int(status.get("updatedNumberScheduled") or 0)
    return int(status.get("numberAvailable") or 0) >= wanted and (not rolls or updated >= wanted)


def _job(_spec: Json, status: Json) -> bool:
    """One that runs or is done is settled; one that failed never gets there."""
    return not any(map(_failed, status.get("conditions") or ()))


def _always(_spec: Json, _status: Json) -> bool:
    return True


_ROLL_OUTS: Mapping[WorkloadKind, Callable[[Json, Json], bool]] = {
    WorkloadKind.DEPLOYMENT: _deployment,
    WorkloadKind.STATEFUL_SET: _stateful_set,
    WorkloadKind.DAEMON_SET: _daemon_set,
    WorkloadKind.JOB: _job,
    WorkloadKind.CRON_JOB: _always,
}


def _trouble(status: Json) -> str:
    for condition in status.get("conditions") or ():
        kind, value = condition.get("type"), condition.get("status")
        stuck = kind == "Progressing" and value == "False"
        refused = kind == "ReplicaFailure" and value == "True"
        if stuck or refused or _failed(condition):
            return one_line(f"{condition.get('reason', kind)}: {condition.get('message', '')}")
    return ""


def _failed(condition: Json) -> bool:
    """What a Job has that the cluster has given up."""
    return condition.get("type") == "Failed" and condition.get("status") == "True"
