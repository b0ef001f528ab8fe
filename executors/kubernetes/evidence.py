"""Primitives that look, and `exec`: inspect, logs, stats, events.

Their output is JSON-able data that goes into reports and to the planner. Values of
environment variables are left out; names are enough to think with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from executors.kubernetes.binding import Json, WorkloadKind, core_path
from executors.kubernetes.objects import container_of, meta, observed_spec, quantity, timestamp
from executors.kubernetes.pods import observed_pod
from executors.kubernetes.reader import pages, selector_text
from executors.kubernetes.session import Job, uid
from executors.kubernetes.workloads import replicas_of, roll_out
from executors.log_lines import after_time, matching_lines
from infrastructure.errors import NotFoundError, PermanentError, TemporaryError
from infrastructure.observed import InstanceState, ObservedInstance
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import format_cpu, parse_duration

_LOG_BYTES = 1024 * 1024
# What a filter may have to read through to find `lines` lines that match.
_LOG_LINES = 5000
_EVENTS, _EVENT_PAGE = 200, 500


def inspect(job: Job) -> PrimitiveResult:
    """State of the workload and of every pod."""
    workload: Json | None = None
    if job.workload is not None:
        settled, reason = roll_out(job.workload, job.place.kind)
        workload = {
            "kind": job.place.kind.value,
            "name": job.place.name,
            "namespace": job.place.namespace,
            "replicas": replicas_of(job.workload, job.place),
            "settled": settled,
            "reason": reason,
            "conditions": [
                {key: c.get(key) for key in ("type", "status", "reason", "message")}
                for c in (job.workload.get("status") or {}).get("conditions") or ()
            ],
        }
    return PrimitiveResult(
        changed=False,
        native_ids=tuple(uid(pod) for pod in job.chosen),
        output={"workload": workload, "instances": [_facts(job, pod) for pod in job.chosen]},
    )


def _facts(job: Job, pod: Json) -> Json:
    seen = _seen(job, pod)
    return {
        "instance": seen.native.name,
        "id": seen.native.id,
        "node": (pod.get("spec") or {}).get("nodeName"),
        "state": seen.state.value,
        "health": seen.health.value,
        "reason": seen.reason,
        "exit_code": seen.exit_code,
        "oom_killed": seen.oom_killed,
        "restart_count": seen.restart_count,
        "started_at": seen.started_at.isoformat() if seen.started_at else None,
        "finished_at": seen.finished_at.isoformat() if seen.finished_at else None,
        "image": seen.spec.image,
        "command": list(seen.spec.command or ()),
        "env_names": sorted(seen.spec.env),
        "memory_bytes": seen.spec.memory,
        "cpu_cores": format_cpu(seen.spec.cpu) if seen.spec.cpu is not None else None,
        "ports": list(seen.spec.ports),
    }


def _seen(job: Job, pod: Json) -> ObservedInstance:
    spec = observed_spec(pod, job.place)
    return observed_pod(pod, job.place, spec=spec, now=datetime.now(UTC))


# ── logs ────────────────────────────────────────────────────────────────────────


def logs(job: Job) -> PrimitiveResult:
    """The newest lines of all pods, oldest first, each with its time; at most 1 MiB.

    Of a pod that was restarted, the lines of the container before are there, too; with
    `previous` only those. The API server does not tell stdout from stderr.
    """
    if job.argument("source", "all") != "all":
        raise PermanentError(f"{job.what}: Kubernetes keeps stdout and stderr as one: source all")
    job.require()
    lines = int(job.argument("lines", 100))
    level, wanted = job.argument("level"), job.argument("filter")
    query = [("timestamps", "true"), ("tailLines", str(_LOG_LINES if level or wanted else lines))]
    if (since := job.argument("since")) is not None:
        query.append(("sinceSeconds", str(max(1, int(_span(job, since).total_seconds())))))
    found: list[tuple[str, str]] = []
    silent: list[Json] = []
    cut = False
    for pod in job.chosen:
        prefix = f"[{meta(pod)['name']}] " if len(job.chosen) > 1 else ""
        texts = tuple(_texts(job, pod, query))
        if not any(text.strip() for text, _ in texts):
            silent.append(pod)
        for text, truncated in texts:
            cut = cut or truncated
            whole = text.splitlines()[1 if truncated else 0 :]
            for line in matching_lines(
                filter(str.strip, whole), level=level, wanted=wanted, said=after_time
            ):
                moment, _, said = line.partition(" ")
                found.append((moment, f"{moment} {prefix}{said}"))
    found.sort(key=lambda item: item[0])  # stable: lines of one moment stay in order
    text = "\n".join(line for _, line in found[-lines:])
    note = "".join(f"[no lines: {why}]\n" for why in _why_silent(job, silent))
    note += "[older output cut]\n" if cut or len(text) > _LOG_BYTES else ""
    return PrimitiveResult(
        changed=False,
        native_ids=tuple(uid(pod) for pod in job.chosen),
        output=note + text[-_LOG_BYTES:],
    )


def _why_silent(job: Job, silent: Sequence[Json]) -> Iterator[str]:
    """Why pods have nothing to tell, as far as that is known: they do not run, or are not there."""
    for pod in silent:
        seen = _seen(job, pod)
        if seen.state is not InstanceState.RUNNING:
            why = f": {seen.reason}" if seen.reason else ""
            yield f"{seen.native.name} is {seen.state.value}{why}"
    if job.workload is not None and not job.chosen:
        _, reason = roll_out(job.workload, job.place.kind)
        yield f"{job.place} has no pod" + (f": {reason}" if reason else "")


def _texts(job: Job, pod: Json, query: list[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    """Of the container before, and of the present one."""
    container = str(container_of(pod, job.place).get("name"))
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    entry: Json = next((s for s in statuses if s.get("name") == container), {})
    path = core_path("pods", job.place.namespace, str(meta(pod)["name"])) + "/log"
    asked = [("container", container), *query]
    if int(entry.get("restartCount") or 0) or job.argument("previous"):
        yield from _text(job, path, [*asked, ("previous", "true")])
    if not job.argument("previous"):
        yield from _text(job, path, asked)


def _text(job: Job, path: str, query: list[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    """Nothing where the container has not run (any more): its neighbours' lines are told."""
    try:
        yield job.cluster.text(
            path, what=job.what, deadline=job.deadline, query=query, limit=_LOG_BYTES
        )
    except TemporaryError:
        raise
    except PermanentError as exc:
        if not _NO_LOG.search(str(exc)):
            raise


_NO_LOG = re.compile(
    r"previous terminated container|is waiting to start|not found|not assigned|does not have a host"
)


# ── resources ───────────────────────────────────────────────────────────────────


def stats(job: Job) -> PrimitiveResult:
    """Memory and CPU in use against the limits, where the cluster has a metrics API."""
    workload = job.require()
    selector = selector_text((workload.get("spec") or {}).get("selector") or {})
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{job.place.namespace}/pods"
    query = [("labelSelector", selector)] if selector else []
    try:
        answer = job.cluster.request("GET", path, what=job.what, deadline=job.deadline, query=query)
    except NotFoundError:
        return PrimitiveResult(
            changed=False,
            output={"instances": [], "note": "the cluster has no metrics API (metrics-server)"},
        )
    usage = {str(meta(item).get("name")): item for item in answer.get("items") or ()}
    measured = [pod for pod in job.chosen if meta(pod)["name"] in usage]
    return PrimitiveResult(
        changed=False,
        native_ids=tuple(uid(pod) for pod in measured),
        output={"instances": [_usage(job, pod, usage[meta(pod)["name"]]) for pod in measured]},
    )


def _usage(job: Job, pod: Json, sample: Json) -> Json:
    container = container_of(pod, job.place).get("name")
    parts = (c for c in sample.get("containers") or () if c.get("name") == container)
    measured: Json = next(parts, {})
    used: Json = measured.get("usage") or {}
    spec = observed_spec(pod, job.place)
    memory = int(quantity(used.get("memory", 0)))
    limit = spec.memory or 0
    return {
        "instance": meta(pod)["name"],
        "memory_bytes": memory,
        "memory_limit_bytes": limit,
        "memory_share": round(memory / limit, 3) if limit else None,
        "cpu_cores": round(float(quantity(used.get("cpu", 0))), 3),
        "cpu_limit_cores": format_cpu(spec.cpu) if spec.cpu is not None else None,
    }


# ── events ──────────────────────────────────────────────────────────────────────


def events(job: Job) -> PrimitiveResult:
    """What the cluster recorded about the workload and its pods, those that are gone included."""
    earliest = datetime.now(UTC) - _span(job, job.argument("since", "15m"))
    concerns = _Concerned(job)
    found: list[tuple[datetime, Json]] = []
    path = core_path("events", job.place.namespace)
    for page in pages(job.cluster, path, what="events", deadline=job.deadline, size=_EVENT_PAGE):
        for event in page:
            about: Json = event.get("involvedObject") or {}
            moment = _moment(event)
            if moment is None or moment < earliest or not concerns(about):
                continue
            found.append((moment, _event(event, about, moment)))
    found.sort(key=lambda item: item[0])
    output: Json = {"events": [event for _, event in found[-_EVENTS:]]}
    reasons = [] if found else list(_why_silent(job, job.chosen))
    if reasons:
        output["note"] = f"no events since {earliest.isoformat(timespec='seconds')}: " + "; ".join(
            reasons
        )
    return PrimitiveResult(
        changed=False, native_ids=tuple(uid(pod) for pod in job.pods), output=output
    )


# Names of what a workload makes, after its own.
_MADE: Mapping[WorkloadKind, Mapping[str, str]] = {
    WorkloadKind.DEPLOYMENT: {
        "ReplicaSet": r"-[a-z0-9]{1,10}",
        "Pod": r"-[a-z0-9]{1,10}-[a-z0-9]{5}",
    },
    WorkloadKind.STATEFUL_SET: {"Pod": r"-\d+"},
    WorkloadKind.DAEMON_SET: {"Pod": r"-[a-z0-9]{5}"},
    WorkloadKind.JOB: {"Pod": r"-[a-z0-9]{5}"},
    WorkloadKind.CRON_JOB: {"Job": r"-\d+", "Pod": r"-\d+-[a-z0-9]{5}"},
}


class _Concerned:
    """Whether an event is about the workload or what it makes; names tell, as pods go."""

    def __init__(self, job: Job) -> None:
        name = re.escape(job.place.name)
        made = _MADE[job.place.kind].items()
        self._names = {kind: re.compile(name + suffix) for kind, suffix in made}
        self._names[job.place.kind.value] = re.compile(name)

    def __call__(self, about: Json) -> bool:
        pattern = self._names.get(str(about.get("kind")))
        return pattern is not None and pattern.fullmatch(str(about.get("name"))) is not None


def _moment(event: Json) -> datetime | None:
    """When it was seen last; events of the newer API have other fields for it."""
    series: Json = event.get("series") or {}
    for text in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        meta(event).get("creationTimestamp"),
    ):
        if text:
            return timestamp(str(text))
    return None


def _event(event: Json, about: Json, moment: datetime) -> Json:
    return {
        "time": moment.isoformat(timespec="milliseconds"),
        "type": event.get("type", ""),
        "action": event.get("reason", ""),
        "instance": f"{about.get('kind')} {about.get('name')}",
        "message": event.get("message", ""),
        "count": event.get("count") or (event.get("series") or {}).get("count") or 1,
    }


# ── exec ────────────────────────────────────────────────────────────────────────


def execute(job: Job) -> PrimitiveResult:
    """Run a command, given as a list of words, in the first pod that runs."""
    argv = job.argument("argv", [])
    if not isinstance(argv, list | tuple) or not argv or not all(isinstance(a, str) for a in argv):
        raise PermanentError("exec: `argv` has to be a list of words, such as [ls, -l, /tmp]")
    for name in ("workdir", "user"):
        if job.argument(name):
            raise PermanentError(
                f"exec: Kubernetes runs a command where and as whom the container does:"
                f" leave `{name}` out"
            )
    running = [pod for pod in job.chosen if _seen(job, pod).state is InstanceState.RUNNING]
    if not running:
        raise PermanentError(f"{job.what}: none of its pods runs")
    pod = running[0]
    seconds = float(job.argument("timeout_seconds", job.deadline.left))
    ended = job.cluster.execute(
        core_path("pods", job.place.namespace, str(meta(pod)["name"])),
        list(argv),
        container=str(container_of(pod, job.place).get("name")),
        deadline=job.deadline.within(seconds),
        limit=int(job.argument("max_output_bytes", _LOG_BYTES)),
    )
    return PrimitiveResult(
        changed=True,
        native_ids=(uid(pod),),
        output={
            "instance": meta(pod)["name"],
            "exit_code": ended.exit_code,
            "stdout": ended.stdout,
            "stderr": ended.stderr,
            "truncated": ended.truncated,
        },
    )


def _span(job: Job, text: str) -> timedelta:
    try:
        found: timedelta = parse_duration(text)
    except ValueError as exc:
        raise PermanentError(f"{job.call.primitive}: `since`: {exc}") from exc
    return found
