"""What a workload's controller keeps of its earlier templates, and which pods are of the newest.

For going back (`rollout`), and for waiting (`lifecycle`), which is not for pods that go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from executors.kubernetes.binding import Json, WorkloadKind
from executors.kubernetes.objects import meta, notes_of
from executors.kubernetes.pods import owner_of
from executors.kubernetes.reader import pages
from executors.kubernetes.session import Job
from infrastructure.errors import PermanentError

_REVISION = "deployment.kubernetes.io/revision"
_PAGE = 500


def earlier_templates(job: Job, live: Json) -> tuple[str, list[tuple[int, Json]]]:
    """The current revision's name, and number and pod template of all that are kept."""
    if job.place.kind is WorkloadKind.DEPLOYMENT:
        plural, current = "replicasets", notes_of(live).get(_REVISION, "?")
    elif job.place.facts.rolls:
        plural = "controllerrevisions"
        current = str((live.get("status") or {}).get("updateRevision", "?"))
    else:
        raise PermanentError(f"{job.what}: a {job.place.kind.value} keeps no earlier revisions")
    return f"revision {current}", [_revision(item) for item in _history(job, live, plural)]


def _history(job: Job, live: Json, plural: str) -> Iterator[Json]:
    """What a workload's controller keeps of its revisions."""
    path = f"/apis/apps/v1/namespaces/{job.place.namespace}/{plural}"
    for page in pages(job.cluster, path, what=plural, deadline=job.deadline, size=_PAGE):
        for item in page:
            controller = owner_of(item)
            if controller is not None and controller[2] == meta(live)["uid"]:
                yield item


def of_current_revision(job: Job, live: Json, pods: Iterable[Json]) -> tuple[Json, ...]:
    """The pods that are made from the template as it is now; a batch kind's are all.

    Args:
        job: the call.
        live: the workload, whose generation its controller has observed.
        pods: of the workload.
    """
    label = "controller-revision-hash"
    match job.place.kind:
        case WorkloadKind.DEPLOYMENT:
            label, number = "pod-template-hash", notes_of(live).get(_REVISION)
            sets = _history(job, live, "replicasets")
            current = {_label(s, label) for s in sets if notes_of(s).get(_REVISION) == number}
        case WorkloadKind.STATEFUL_SET:
            current = {(live.get("status") or {}).get("updateRevision")}
        case WorkloadKind.DAEMON_SET:
            kept = sorted(_history(job, live, "controllerrevisions"), key=lambda r: r["revision"])
            current = {_label(item, label) for item in kept[-1:]}
        case _:
            return tuple(pods)
    return tuple(pod for pod in pods if _label(pod, label) in current)


def _label(item: Json, name: str) -> str | None:
    found: str | None = (meta(item).get("labels") or {}).get(name)
    return found


def _revision(item: Json) -> tuple[int, Json]:
    if "revision" in item:  # a ControllerRevision holds a patch of the template
        return int(item["revision"]), ((item.get("data") or {}).get("spec") or {}).get(
            "template"
        ) or {}
    return int(notes_of(item).get(_REVISION, 0)), (item.get("spec") or {}).get("template") or {}
