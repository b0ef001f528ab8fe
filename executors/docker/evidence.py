"""Primitives that look, and `exec`: inspect, logs, stats, events.

Their output is JSON-able data that goes into reports and to the planner. Values of
environment variables are left out; names are enough to think with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from executors.docker.membership import listed
from executors.docker.session import Job, Json, each, require_instances
from executors.docker.spec import Container, cores, observed_spec
from executors.docker.stream import Stream
from executors.log_lines import after_time, matching_lines
from infrastructure.errors import PermanentError
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import format_cpu, parse_duration

_LOG_BYTES = 1024 * 1024
# What a filter may have to read through to find `lines` lines that match.
_LOG_LINES = 5000
_EVENTS = 200
_ENGINE_KEEPS = 256  # events, of all kinds: eventsLimit in moby's daemon/events


def inspect(job: Job) -> PrimitiveResult:
    """State of every instance."""
    return PrimitiveResult(
        changed=False,
        native_ids=tuple(c.id for c in job.containers),
        output={"instances": [_facts(c) for c in job.containers]},
    )


def _facts(container: Container) -> Json:
    state: Json = container.inspect.get("State") or {}
    spec = observed_spec(container)
    return {
        "instance": container.name,
        "id": container.id,
        "state": container.state.value,
        "health": container.health.value,
        "exit_code": None if state.get("Running") else state.get("ExitCode"),
        "oom_killed": bool(state.get("OOMKilled")),
        "restart_count": container.inspect.get("RestartCount") or 0,
        "started_at": state.get("StartedAt"),
        "finished_at": state.get("FinishedAt"),
        "error": state.get("Error") or "",
        "health_log": _health_log(state),
        "image": spec.image,
        "command": list(spec.command or ()),
        "env_names": sorted(spec.env),
        "memory_bytes": spec.memory,
        "cpu_cores": format_cpu(spec.cpu) if spec.cpu is not None else None,
        "ports": list(spec.ports),
    }


def _health_log(state: Json) -> list[Json]:
    """The last runs of the engine's health check, oldest first; it keeps five of 4 KiB each."""
    health: Json = state.get("Health") or {}
    return [
        {
            "at": run.get("End"),
            "exit_code": run.get("ExitCode"),
            "output": str(run.get("Output") or "").strip(),
        }
        for run in health.get("Log") or ()
    ]


def logs(job: Job) -> PrimitiveResult:
    """The newest lines of all instances, oldest first, each with its time; at most 1 MiB."""
    lines = int(job.argument("lines", 100))
    level, wanted = job.argument("level"), job.argument("filter")
    source = job.argument("source", "all")
    query: Json = {
        "stdout": int(source in ("all", "stdout")),
        "stderr": int(source in ("all", "stderr")),
        "timestamps": 1,
        "tail": _LOG_LINES if level or wanted else lines,
    }
    since = job.argument("since")
    if since is not None:
        query["since"] = f"{_ago(job, since):.3f}"
    containers = require_instances(job)
    streams = each(
        job,
        containers,
        lambda session, c: session.logs(
            c.id, query, tty=bool(c.config.get("Tty")), limit=_LOG_BYTES
        ),
    )
    found: list[tuple[str, str]] = []
    for container, stream in zip(containers, streams, strict=True):
        prefix = f"[{container.name}] " if len(containers) > 1 else ""
        for line in matching_lines(
            stream_lines(stream), level=level, wanted=wanted, said=after_time
        ):
            moment, _, text = line.partition(" ")
            found.append((moment, f"{moment} {prefix}{text}"))
    found.sort(key=lambda item: item[0])  # stable: lines of one moment stay in order
    text = "\n".join(line for _, line in found[-lines:])
    cut = any(stream.truncated for stream in streams) or len(text) > _LOG_BYTES
    note = "[older output cut]\n" if cut else ""
    return PrimitiveResult(
        changed=False,
        native_ids=tuple(c.id for c in containers),
        output=note + text[-_LOG_BYTES:],
    )


def stats(job: Job) -> PrimitiveResult:
    """Memory and CPU in use against the limits, of every instance that runs."""
    running = [c for c in require_instances(job) if c.state is InstanceState.RUNNING]
    samples = each(job, running, lambda session, c: session.stats(c.id))
    return PrimitiveResult(
        changed=False,
        native_ids=tuple(c.id for c in running),
        output={"instances": [_usage(c, s) for c, s in zip(running, samples, strict=True)]},
    )


def _usage(container: Container, sample: Json) -> Json:
    """Figures as `docker stats` computes them: memory without reclaimable file cache."""
    memory: Json = sample.get("memory_stats") or {}
    detail: Json = memory.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    busy = _cpu_total(now) - _cpu_total(before)
    elapsed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cpus = now.get("online_cpus") or 1
    limit = container.host_config.get("Memory") or 0
    used = max(0, memory.get("usage", 0) - cache)
    return {
        "instance": container.name,
        "memory_bytes": used,
        "memory_limit_bytes": limit,
        "memory_share": round(used / limit, 3) if limit else None,
        "cpu_cores": round(busy / elapsed * cpus, 3) if elapsed > 0 else 0.0,
        "cpu_limit_cores": format_cpu(cores(container.host_config)),
        "processes": (sample.get("pids_stats") or {}).get("current"),
    }


def _cpu_total(stats_part: Mapping[str, Any]) -> int:
    return int((stats_part.get("cpu_usage") or {}).get("total_usage", 0))


def events(job: Job) -> PrimitiveResult:
    """What the engine recorded about the target's containers, those that are gone included."""
    since = _ago(job, job.argument("since", "15m"))
    known = {c.id for c in job.containers}
    with job.session() as session:
        recorded = session.events(since, time.time(), {})
    found = [
        _event(entry)
        for entry in recorded
        if entry.get("Type") == "container"
        and _concerns(job, entry, known)
        # Health checks run a command every few seconds: they would bury everything else.
        and not str(entry.get("Action", "")).startswith("exec_")
    ]
    output: Json = {"events": found[-_EVENTS:]}
    if len(recorded) >= _ENGINE_KEEPS:
        oldest = datetime.fromtimestamp(float(recorded[0].get("time", 0)), UTC)
        output["note"] = (
            f"the engine keeps its last {_ENGINE_KEEPS} events only, those of health checks"
            f" included: what was before {oldest.isoformat()} is gone"
        )
    return PrimitiveResult(changed=False, native_ids=tuple(known), output=output)


def _concerns(job: Job, entry: Json, known: set[str]) -> bool:
    actor: Json = entry.get("Actor") or {}
    if actor.get("ID") in known:
        return True
    attributes: Json = actor.get("Attributes") or {}
    gone = listed(
        {
            "Id": actor.get("ID", ""),
            "Names": ["/" + str(attributes.get("name", ""))],
            "Labels": attributes,
        }
    )
    return job.owns(gone)


def _event(entry: Json) -> Json:
    attributes: Json = (entry.get("Actor") or {}).get("Attributes") or {}
    seconds = int(entry.get("timeNano", 0)) / 1e9 or float(entry.get("time", 0))
    event: Json = {
        "time": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds"),
        "action": entry.get("Action", ""),
        "instance": attributes.get("name", ""),
    }
    for key in ("exitCode", "signal", "oldName"):
        if key in attributes:
            event[key] = attributes[key]
    return event


def execute(job: Job) -> PrimitiveResult:
    """Run a command, given as a list of words, in the first instance that runs."""
    argv = job.argument("argv", [])
    if not isinstance(argv, list | tuple) or not argv or not all(isinstance(a, str) for a in argv):
        raise PermanentError("exec: `argv` has to be a list of words, such as [ls, -l, /tmp]")
    running = [c for c in require_instances(job) if c.state is InstanceState.RUNNING]
    if not running:
        raise PermanentError(f"exec {job.service.target}: none of its containers runs")
    options: Json = {"cmd": list(argv), "user": str(job.argument("user", ""))}
    if job.argument("workdir"):
        options["workdir"] = job.argument("workdir")
    limit = int(job.argument("max_output_bytes", _LOG_BYTES))
    seconds = float(job.argument("timeout_seconds", job.deadline.left))
    with job.session(job.deadline.within(seconds)) as session:
        code, stream = session.execute(running[0].id, options, limit=limit)
    return PrimitiveResult(
        changed=True,
        native_ids=(running[0].id,),
        output={
            "instance": running[0].name,
            "exit_code": code,
            "stdout": _text(stream, 1),
            "stderr": _text(stream, 2),
            "truncated": stream.truncated,
        },
    )


def _text(stream: Stream, source: int) -> str:
    return b"".join(data for kind, data in stream.frames if kind == source).decode(errors="replace")


def stream_lines(stream: Stream) -> list[str]:
    """Lines by source: a frame of stderr may come between two halves of a line of stdout."""
    found: list[str] = []
    for source in sorted({kind for kind, _ in stream.frames}):
        found += _text(stream, source).splitlines()
    return [line for line in found if line.strip()]


def _ago(job: Job, text: str) -> float:
    """Unix time of `15m` before now."""
    try:
        span: timedelta = parse_duration(text)
    except ValueError as exc:
        raise PermanentError(f"{job.call.primitive}: `since`: {exc}") from exc
    return time.time() - span.total_seconds()
