"""Layer 5 of self-exclusion in a cluster: what a call could reach, and refusing it.

A process knows itself by its pod's uid, by the id of one of its containers, or not at all;
`infrastructure.identity` says which. An agent that does not know its pod could be any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from executors.kubernetes.binding import Json
from executors.kubernetes.objects import meta, native_of, template_of
from executors.kubernetes.reader import read_pods, read_workload
from executors.kubernetes.session import Job
from infrastructure.errors import ProtectedObjectError
from infrastructure.identity import AgentIdentity, place_id
from infrastructure.observed import NativeObject

_WHICH_POD = (
    "the agent runs in a pod and can't tell in which, so it could change itself: give its pod"
    " UICI_POD_UID by the downward API (fieldPath: metadata.uid), see docs/how-to/kubernetes.md"
)
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def refuse_protected(
    job: Job, identity: AgentIdentity, *, own_namespace: bool, page_size: int
) -> None:
    """For the whole target, before anything changes.

    Args:
        job: the call.
        identity: the agent's.
        own_namespace: whether everything in the agent's own namespace is protected.
        page_size: pods in one page of a list.

    Raises:
        ProtectedObjectError: something is the agent's, or the agent does not know its own pod.
    """
    refuse_blind(identity, job.call.primitive)
    touched = _touched(job, own_namespace=own_namespace, page_size=page_size)
    identity.refuse(touched, action=job.call.primitive)


def refuse_blind(identity: AgentIdentity, action: str) -> None:
    """Refuse an agent that runs in a pod and can't tell which.

    Raises:
        ProtectedObjectError: with the remedy.
    """
    if not identity.knows_its_pod:
        raise ProtectedObjectError(f"{action} refused: {_WHICH_POD}")


def pod_natives(pod: Mapping[str, Any]) -> Iterator[NativeObject]:
    """A pod and its containers of any sort, under which a process in one of them knows itself."""
    yield native_of(pod, "pod")
    status: Json = pod.get("status") or {}
    for entry in (entry for kind in _STATUSES for entry in status.get(kind) or ()):
        identity = str(entry.get("containerID") or "").rpartition("/")[2]
        if identity:
            yield NativeObject("container", identity, str(meta(pod).get("name")))


def _touched(job: Job, *, own_namespace: bool, page_size: int) -> Iterator[NativeObject]:
    """Everything that a call could reach: the workload, all its pods, their containers."""
    place = job.place
    yield NativeObject(place.kind.value, "", job.service.metadata.name)
    yield NativeObject(place.kind.value, "", place.name)
    if own_namespace:
        yield NativeObject("namespace", place_id("namespace", place.namespace), "")
    workload = job.workload
    if workload is None:
        # What is there and another target's: `create` would meet it.
        workload = read_workload(job.cluster, place, job.deadline)
        if workload is None:
            return
    else:
        yield native_of(template_of(workload, place), "pod template")
    yield native_of(workload, place.kind.value)
    # Those on their way out, too: one of them may be the agent.
    for pod in read_pods(job.cluster, place, workload, job.deadline, size=page_size):
        yield from pod_natives(pod)
