"""Kubernetes' objects → universal words. Pure: no SDK, no cluster; `now` is an argument.

Field names and their meaning are those of the Kubernetes API reference (apps/v1, batch/v1,
core/v1). Objects are plain JSON, of which only what is needed is read: servers differ in the
rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from executors.kubernetes.binding import Json, Place, WorkloadKind
from executors.kubernetes.secrets import FINGERPRINTS, known_values
from infrastructure.observed import (
    EngineHealth,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedSpec,
    Workload,
    empty,
)

SERVICE_LABEL = "uici.service"
ENVIRONMENT_LABEL = "uici.environment"
TARGET = "uici.target"  # an annotation: a label's value can't hold a slash
DIGEST = "uici.spec-digest"
DECLARED_ENV = "uici.env"  # names of the variables that desired state had when it was laid over
STOPPED_REPLICAS = "uici.replicas-before-stop"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_PROGRESS = frozenset({"", "ContainerCreating", "PodInitializing"})  # waits that are normal
_CRASHING = frozenset({"CrashLoopBackOff", "RunContainerError", "StartError"})
# Of a pod that says no more than that.
_PHASES = {
    "Unknown": InstanceState.UNKNOWN,
    "Failed": InstanceState.STOPPED,
    "Succeeded": InstanceState.STOPPED,
}
_REASON_LENGTH = 300
_TEMPLATE_HASH = "pod-template-hash"
_QUANTITY = re.compile(r"^([0-9.]+)([eE][0-9]+|[A-Za-z]*)$")
_UNITS = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


# ── reading parts ───────────────────────────────────────────────────────────────


def meta(item: Mapping[str, Any]) -> Json:
    """An object's metadata."""
    found: Json = item.get("metadata") or {}
    return found


def notes_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    """An object's annotations."""
    return meta(item).get("annotations") or empty()


def template_of(workload: Mapping[str, Any], place: Place) -> Json:
    """The pod template of a workload."""
    found: Any = workload
    for part in place.facts.template:
        found = found.get(part) or {}
    template: Json = found
    return template


_MOST_DIGITS = 30  # an exabyte has 19


@lru_cache(maxsize=4096)
def quantity(text: str | float) -> Decimal:
    """`"500m"`, `"64Mi"`, `"1e3"`, 2 → a number.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None or (match[2] not in _UNITS and match[2][:1] not in "eE"):
        raise ValueError(f"no quantity: {text}")
    made = (
        Decimal(match[1]) * _UNITS[match[2]] if match[2] in _UNITS else Decimal(match[1] + match[2])
    )
    if made and abs(made.adjusted()) > _MOST_DIGITS:  # to write it out would take for ever
        raise ValueError(f"no quantity: {text}")
    return made


def timestamp(text: str | None) -> datetime | None:
    """An RFC 3339 time."""
    return datetime.fromisoformat(text) if text else None


def container_name(pod_spec: Mapping[str, Any], place: Place, defaults: Mapping[str, str]) -> str:
    """The container that the service is about; see `Binding.container`."""
    names = [str(c.get("name")) for c in pod_spec.get("containers") or ()]
    wanted = (place.container, defaults.get(_DEFAULT_CONTAINER), place.name)
    return next((name for name in wanted if name in names and name), names[0] if names else "")


def container_of(item: Mapping[str, Any], place: Place) -> Json:
    """The service's container of a pod or a pod template; empty if there is none."""
    spec: Json = item.get("spec") or {}
    name = container_name(spec, place, notes_of(item))
    return next((c for c in spec.get("containers") or () if c.get("name") == name), {})


# ── specs ───────────────────────────────────────────────────────────────────────


def observed_spec(
    item: Mapping[str, Any], place: Place, secrets: Mapping[str, str] | None = None
) -> ObservedSpec:
    """The universal fields of a pod or a pod template.

    Args:
        item: with `metadata` and `spec`.
        place: of the workload.
        secrets: variable → declared value, for those that desired state takes from secrets.
    """
    container = container_of(item, place)
    limits: Json = (container.get("resources") or {}).get("limits") or {}
    words = (*(container.get("command") or ()), *(container.get("args") or ()))
    env = {
        str(entry["name"]): _env_value(entry, secrets or {}) for entry in container.get("env") or ()
    }
    if secrets:
        env.update(known_values(notes_of(item).get(FINGERPRINTS), place, secrets))
    return ObservedSpec(
        image=container.get("image"),
        command=words or None,
        env=env or empty(),
        memory=int(quantity(limits.get("memory", 0))),
        cpu=quantity(limits.get("cpu", 0)).normalize() if limits.get("cpu") else Decimal(0),
        ports=tuple(_ports(container)),
    )


def _env_value(entry: Json, secrets: Mapping[str, str]) -> str:
    """The value, or where it comes from.

    A secret that somebody else refers to is taken to be the declared one: nobody can tell,
    and what is not known is no drift.
    """
    source: Json = entry.get("valueFrom") or {}
    if not source:
        return str(entry.get("value") or "")
    if entry["name"] in secrets and "secretKeyRef" in source:
        return secrets[entry["name"]]
    kind, reference = next(iter(source.items()))
    named = reference.get("name") or reference.get("fieldPath") or ""
    return f"({kind} {named})"


def _ports(container: Mapping[str, Any]) -> Iterable[str]:
    for port in container.get("ports") or ():
        protocol = str(port.get("protocol", "TCP")).lower()
        text = f"{port['containerPort']}" + ("" if protocol == "tcp" else f"/{protocol}")
        yield text
        if port.get("hostPort"):
            address = f"{port['hostIP']}:" if port.get("hostIP") else ""
            yield f"{address}{port['hostPort']}:{text}"


def native_config(workload: Mapping[str, Any], place: Place) -> Json:
    """What `native` is compared with: the workload's spec, the pod's, and the container's."""
    template = template_of(workload, place)
    return {
        "workload": workload.get("spec") or {},
        "pod": template.get("spec") or {},
        "container": container_of(template, place),
    }


# ── workloads ───────────────────────────────────────────────────────────────────


def native_of(item: Mapping[str, Any], kind: str) -> NativeObject:
    """For self-exclusion and audit. The target is told beside the labels, as in other engines."""
    labels = meta(item).get("labels") or empty()
    target = notes_of(item).get(TARGET)
    return NativeObject(
        kind,
        str(meta(item).get("uid", "")),
        str(meta(item).get("name", "")),
        {**labels, TARGET: target} if target else labels,
    )


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


# ── pods ────────────────────────────────────────────────────────────────────────


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


def one_line(text: str) -> str:
    """Without line breaks, bounded."""
    return " ".join(text.split())[:_REASON_LENGTH]
