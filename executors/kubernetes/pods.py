"""Pods in universal words: whose they are, how they live, how well. Pure; `now` is an argument.

Neighbours: `objects` reads the parts that workloads and pods share, `workloads` the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from executors.kubernetes.binding import Json, Place, WorkloadKind
from executors.kubernetes.objects import (
    container_of,
    meta,
    native_of,
    one_line,
    timestamp,
)
from infrastructure.observed import (
    EngineHealth,
    InstanceState,
    ObservedInstance,
    ObservedSpec,
    empty,
)

_PROGRESS = frozenset({"", "ContainerCreating", "PodInitializing"})  # waits that are normal
_CRASHING = frozenset({"CrashLoopBackOff", "RunContainerError", "StartError"})
# Of a pod that says no more than that.
_PHASES = {
    "Unknown": InstanceState.UNKNOWN,
    "Failed": InstanceState.STOPPED,
    "Succeeded": InstanceState.STOPPED,
}
_TEMPLATE_HASH = "pod-template-hash"


def is_instance(pod: Mapping[str, Any], kind: WorkloadKind) -> bool:
    """Whether a pod counts: not on its way out, and not one that was replaced when it ended.

    Pods of a Job that failed count; those that are done do not.
    """
    if meta(pod).get("deletionTimestamp"):
        return False
    phase = (pod.get("status") or {}).get("phase")
    if kind in (WorkloadKind.JOB, WorkloadKind.CRON_JOB):
        return phase != "Succeeded"
    return phase not in ("Failed", "Succeeded")


def owner_of(pod: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Kind, name and uid of a pod's controller."""
    for owner in meta(pod).get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner.get("kind")), str(owner.get("name")), str(owner.get("uid"))
    return None


def belongs_to(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind and name of the workload that a pod is of, without asking for what is between.

    A Deployment names its ReplicaSets by itself and the hash that their pods have as a
    label, a CronJob its Jobs by itself and their time.
    """
    owner = owner_of(pod)
    if owner is None:
        return None
    kind, name, _ = owner
    if kind == "ReplicaSet":
        suffix = (meta(pod).get("labels") or {}).get(_TEMPLATE_HASH)
        if suffix and name.endswith(f"-{suffix}"):
            return WorkloadKind.DEPLOYMENT.value, name[: -len(suffix) - 1]
    return kind, name


def is_of(pod: Mapping[str, Any], place: Place) -> bool:
    """Whether a pod of the workload's namespace is the workload's."""
    found = belongs_to(pod)
    if found is None:
        return False
    kind, name = found
    if place.kind is WorkloadKind.CRON_JOB:
        stem, _, number = name.rpartition("-")
        return kind == "Job" and stem == place.name and number.isdigit()
    return (kind, name) == (place.kind.value, place.name)


def observed_pod(
    pod: Mapping[str, Any],
    place: Place,
    *,
    spec: ObservedSpec,
    now: datetime,
    keep_native: bool = False,
) -> ObservedInstance:
    """A pod in universal words.

    Raises:
        ValueError: a time or a quantity in it is none.
    """
    status: Json = pod.get("status") or {}
    container = container_of(pod, place)
    entry = _container_status(status, str(container.get("name")))
    state, reason = _life(status, entry, str((pod.get("spec") or {}).get("restartPolicy", "")))
    current: Json = entry.get("state") or {}
    ended: Json = (
        current.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
    )
    running: Json = current.get("running") or {}
    created = timestamp(meta(pod).get("creationTimestamp"))
    started = timestamp(running.get("startedAt") or ended.get("startedAt"))
    return ObservedInstance(
        native=native_of(pod, "pod"),
        state=state,
        health=_health(status, entry, container, now) if running else EngineHealth.NONE,
        exit_code=ended.get("exitCode") if state is not InstanceState.RUNNING else None,
        oom_killed=ended.get("reason") == "OOMKilled",
        restart_count=int(entry.get("restartCount") or 0),
        started_at=started if started is not None else created,
        finished_at=timestamp(ended.get("finishedAt")),
        reason=reason,
        spec=spec,
        native_config=(
            {"pod": pod.get("spec") or {}, "container": container} if keep_native else empty()
        ),
        host_access=_host_access(pod.get("spec") or {}, container),
        address=status.get("podIP"),
    )


def _host_access(pod: Json, container: Json) -> tuple[str, ...]:
    """See `ObservedInstance`."""
    paths = ((volume.get("hostPath") or {}).get("path") for volume in pod.get("volumes") or ())
    found = [str(path) for path in paths if path]
    if (container.get("securityContext") or {}).get("privileged"):
        found.append("privileged")
    if pod.get("hostPID"):
        found.append("host processes")
    return tuple(found)


def _container_status(status: Json, name: str) -> Json:
    found = (s for s in status.get("containerStatuses") or () if s.get("name") == name)
    return next(found, {})


def _life(status: Json, entry: Json, restart_policy: str) -> tuple[InstanceState, str]:
    """State and, where something is wrong, the cluster's words about it."""
    ended = _PHASES.get(str(status.get("phase")))
    if ended is not None:
        return ended, one_line(_words(status))
    current: Json = entry.get("state") or {}
    if "running" in current:
        return InstanceState.RUNNING, ""
    if "terminated" in current:
        again = restart_policy != "Never"
        state = InstanceState.RESTARTING if again else InstanceState.STOPPED
        return state, one_line(_words(current["terminated"]))
    waiting: Json = current.get("waiting") or {}
    if waiting.get("reason", "") in _PROGRESS:
        return InstanceState.PENDING, _unscheduled(status) or _init_trouble(status)
    crashing = waiting.get("reason") in _CRASHING
    state = InstanceState.RESTARTING if crashing else InstanceState.PENDING
    return state, one_line(_words(waiting))


def _unscheduled(status: Json) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return one_line(_words(condition))
    return ""


def _init_trouble(status: Json) -> str:
    """What a failing init container says; empty while all goes well."""
    for entry in status.get("initContainerStatuses") or ():
        waiting: Json = (entry.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") not in _PROGRESS:
            return one_line(f"init container {entry.get('name')}: {_words(waiting)}")
    return ""


def _words(part: Mapping[str, Any]) -> str:
    reason, message = str(part.get("reason") or ""), str(part.get("message") or "")
    return f"{reason}: {message}" if reason and message else reason or message


def _health(status: Json, entry: Json, container: Json, now: datetime) -> EngineHealth:
    """What the readiness probe says; a container without one is not judged.

    One that has never been ready is starting for as long as its probe allows.
    """
    probe: Json | None = container.get("readinessProbe")
    if not probe:
        return EngineHealth.NONE
    if entry.get("ready"):
        return EngineHealth.HEALTHY
    if entry.get("started") is False:
        return EngineHealth.STARTING
    started = timestamp((entry.get("state") or {}).get("running", {}).get("startedAt"))
    ready: Json = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    changed = timestamp(ready.get("lastTransitionTime"))
    if started is None or (changed is not None and changed > started + timedelta(seconds=1)):
        return EngineHealth.UNHEALTHY
    allowed = int(probe.get("initialDelaySeconds", 0)) + int(probe.get("timeoutSeconds", 1))
    allowed += int(probe.get("periodSeconds", 10)) * int(probe.get("failureThreshold", 3))
    waited = now - started > timedelta(seconds=allowed)
    return EngineHealth.UNHEALTHY if waited else EngineHealth.STARTING
