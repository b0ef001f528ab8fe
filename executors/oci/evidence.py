"""Primitives that look, and `exec`: inspect, logs, stats, events.

Their output is JSON-able data that goes into reports and to the planner. Values of
environment variables are left out; names are enough to think with.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from executors.deadline import Deadline
from executors.log_lines import matching_lines
from executors.oci.answers import CommandExecution, Instance, Json, MetricSeries, WorkRequest, parse
from executors.oci.job import Job
from executors.oci.machines import facts
from executors.oci.session import BudgetSpentError, Request, fetch, pages
from executors.oci.settings import Api, ContainerInstanceBinding, LogSource
from executors.oci.spec import Replica, container_spec, health_of, machine_size
from infrastructure.errors import (
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from infrastructure.operations import PrimitiveResult
from infrastructure.quantities import format_cpu, parse_duration

_LOG_BYTES = 1024 * 1024
_SEARCH_LIMIT = 1000  # entries that one search of Logging answers at most
_SEARCH_SPAN = timedelta(hours=1)  # searched when nobody says since when
_METRIC_SPAN = timedelta(minutes=10)  # the newest point of a metric is minutes old
_EVENTS = 200
# Kept back for calling a command off; the least of it may go a little past the deadline.
_CANCEL_SECONDS, _CANCEL_LEAST = 5.0, 0.9
# What the agent's plugin takes and gives back inline; more needs Object Storage.
_SCRIPT_BYTES, _TEXT_BYTES = 4096, 1024


def inspect(job: Job) -> PrimitiveResult:
    """State of every instance, and of the pool that keeps them."""
    output: Json = {"instances": [*map(facts, job.instances), *map(_replica_facts, job.found)]}
    for pool in job.pools:
        output["pool"] = {
            "name": pool.name,
            "id": pool.id,
            "state": pool.lifecycle_state,
            "size": pool.size,
        }
    return PrimitiveResult(changed=False, native_ids=_ids(job), output=output)


def _replica_facts(replica: Replica) -> Json:
    main = replica.main
    found: Json = {
        "instance": replica.instance.name,
        "id": replica.instance.id,
        "state": replica.state.value,
        "lifecycle_state": replica.instance.lifecycle_state,
        "shape": replica.instance.shape,
        "detail": replica.instance.lifecycle_details or "",
    }
    if main is not None:
        found |= {
            "container": main.name,
            "container_state": main.lifecycle_state,
            "health": health_of(main).value,
            "exit_code": main.exit_code,
            "restart_count": main.container_restart_attempt_count or 0,
            "image": main.image_url,
            "command": list(main.arguments or ()),
            "env_names": sorted(main.environment_variables or ()),
        }
    return found


# ── logs ─────────────────────────────────────────────────────────────────────────


def logs(job: Job) -> PrimitiveResult:
    """The newest lines, oldest first: from the Logging service, else from the containers.

    What the containers wrote has no times to sort by, so each replica has its own newest lines.
    """
    if job.argument("source", "all") != "all":
        raise PermanentError(
            f"{job.what}: Oracle Cloud does not keep apart what a container writes to stdout and"
            " stderr: leave out `source`"
        )
    if job.log_source is not None:
        logs_of = [("", _searched(job, job.log_source))]
    elif isinstance(job.binding, ContainerInstanceBinding):
        logs_of = _retrieved(job)
    else:
        raise PermanentError(
            f"{job.what}: say in `binding.logs` in which log of the Logging service it writes"
        )
    share = _LOG_BYTES // max(1, len(logs_of))
    parts = [_newest_lines(job, name, lines, share) for name, lines in logs_of]
    return PrimitiveResult(
        changed=False, native_ids=_ids(job), output="\n".join(part for part in parts if part)
    )


def _newest_lines(job: Job, name: str, lines: Sequence[str], limit: int) -> str:
    """The newest of those that were asked for, each marked with the replica's `name`."""
    chosen = matching_lines(lines, level=job.argument("level"), wanted=job.argument("filter"))
    mark = f"[{name}] " if name else ""
    text = "\n".join(mark + line for line in chosen[-int(job.argument("lines", 100)) :])
    note = f"{mark}[older output cut]\n" if len(text) > limit else ""
    return note + text[-limit:]


def _retrieved(job: Job) -> list[tuple[str, list[str]]]:
    """Replica → what the containers wrote. Their lines carry no time of Oracle Cloud's."""
    if job.argument("since") is not None:
        raise PermanentError(
            f"{job.what}: a container's own log has no times: leave out `since`, or keep the log"
            " in the Logging service and name it in `binding.logs`"
        )

    def one(replica: Replica) -> str:
        if replica.main is None:
            return ""
        request = Request(
            Api.CONTAINERS,
            "retrieve_logs",
            (replica.main.id,),
            what=f"read the log of {replica.instance.name}",
        )
        data = job.cloud.ask(request, job.deadline).data
        return data if isinstance(data, str) else ""

    texts = job.read_each(job.require(job.found), one)
    logs_of = [[line for line in text.splitlines() if line.strip()] for text in texts]
    if len(logs_of) == 1:
        return [("", logs_of[0])]
    return list(zip([r.instance.name for r in job.found], logs_of, strict=True))


def _searched(job: Job, source: LogSource) -> list[str]:
    """Entries of the Logging service. The query is made of what stands in Git alone."""
    since = job.argument("since")
    span = _span(job, since) if since is not None else _SEARCH_SPAN
    now = datetime.now(UTC)
    where = f" | where {source.where}" if source.where else ""
    body = {
        "timeStart": _stamp(now - span),
        "timeEnd": _stamp(now),
        "searchQuery": f'search "{source.scope}"{where} | sort by datetime desc',
        "isReturnFieldInfo": False,
    }
    request = Request(
        Api.LOGS,
        "search_logs",
        (body,),
        {"limit": _SEARCH_LIMIT},
        what=f"search the log: {job.what}",
    )
    data = job.cloud.ask(request, job.deadline).data
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        raise TemporaryError(f"{request.what}: the answer is not what the API promises")
    found = []
    for result in reversed(results):
        entry = _content(result)
        line = entry
        for part in source.field.split("."):
            line = line.get(part) if isinstance(line, dict) else None
        if line is not None:
            found.append(f"{_moment(entry)} {line}".strip())
    return found


def _content(result: Any) -> Any:
    """The entry itself: some answers wrap it."""
    data = result.get("data") if isinstance(result, dict) else None
    return data.get("logContent", data) if isinstance(data, dict) else None


def _moment(entry: Any) -> str:
    found = entry.get("time") or entry.get("datetime") if isinstance(entry, dict) else None
    if isinstance(found, int):
        return datetime.fromtimestamp(found / 1000, UTC).isoformat(timespec="milliseconds")
    return found if isinstance(found, str) else ""


# ── metrics and events ───────────────────────────────────────────────────────────


def stats(job: Job) -> PrimitiveResult:
    """Memory and CPU in use, in percent of the machine, as Monitoring has them."""
    ids = {i.id: i.name for i in job.instances} | {
        r.instance.id: r.instance.name for r in job.found
    }
    # Metric namespaces of the services (their metrics reference pages).
    namespace = "oci_computeagent" if job.instances else "oci_computecontainerinstance"
    used: dict[str, Json] = {ocid: {"instance": name} for ocid, name in ids.items()}
    for ocid, size in _sizes(job):
        used[ocid] |= size
    for metric, field in (
        ("CpuUtilization", "cpu_percent"),
        ("MemoryUtilization", "memory_percent"),
    ):
        for ocid, value in _newest(job, namespace, metric, list(ids)).items():
            if ocid in used:
                used[ocid][field] = round(value, 2)
    return PrimitiveResult(
        changed=False, native_ids=tuple(ids), output={"instances": list(used.values())}
    )


def _sizes(job: Job) -> list[tuple[str, Json]]:
    found = []
    for instance in job.instances:
        memory, cpu = machine_size(instance.shape_config)
        limits = {"memory_limit_bytes": memory, "cpu_limit_cores": cpu and format_cpu(cpu)}
        found.append((instance.id, limits))
    for replica in job.found:
        if replica.main is not None:
            spec = container_spec(replica.main, job.service)
            limits = {
                "memory_limit_bytes": spec.memory,
                "cpu_limit_cores": spec.cpu and format_cpu(spec.cpu),
            }
            found.append((replica.instance.id, limits))
    return found


def _newest(job: Job, namespace: str, metric: str, ids: Sequence[str]) -> dict[str, float]:
    """OCID → newest value, by one request."""
    if not ids:
        return {}
    now = datetime.now(UTC)
    body = {
        "namespace": namespace,
        "query": f'{metric}[1m]{{resourceId =~ "{"|".join(ids)}"}}.mean()',
        "startTime": _stamp(now - _METRIC_SPAN),
        "endTime": _stamp(now),
        "resolution": "1m",
    }
    compartments = {i.compartment_id for i in job.instances} | {
        r.instance.compartment_id for r in job.found
    }
    found: dict[str, float] = {}
    for compartment in sorted(compartments):
        request = Request(
            Api.METRICS,
            "summarize_metrics_data",
            (compartment, body),
            what=f"ask for {metric} of {job.service.target}",
        )
        data = job.cloud.ask(request, job.deadline).data
        for item in data if isinstance(data, list) else ():
            series = parse(MetricSeries, item, what=request.what)
            ocid = (series.dimensions or {}).get("resourceId")
            if ocid and series.aggregated_datapoints:
                found[ocid] = max(series.aggregated_datapoints, key=lambda p: p.timestamp).value
    return found


def events(job: Job) -> PrimitiveResult:
    """Work requests about the target: what was asked of Oracle Cloud lately, by anyone."""
    since = datetime.now(UTC) - _span(job, job.argument("since", "15m"))
    ids = set(_ids(job))
    api = Api.CONTAINERS if job.found else Api.WORK
    compartments = sorted(
        {i.compartment_id for i in job.instances}
        | {p.compartment_id for p in job.pools}
        | {r.instance.compartment_id for r in job.found}
    )
    found = []
    for compartment in compartments:
        request = Request(api, "list_work_requests", (compartment,), what="list work requests")
        for work in pages(job.cloud, request, WorkRequest, job.deadline):
            about = {str(r.get("identifier")) for r in work.resources or ()}
            if about & ids and work.time_accepted and work.time_accepted >= since:
                found.append(_event(work))
    found.sort(key=lambda event: str(event["time"]))
    return PrimitiveResult(
        changed=False, native_ids=tuple(sorted(ids)), output={"events": found[-_EVENTS:]}
    )


def _event(work: WorkRequest) -> Json:
    return {
        "time": work.time_accepted.isoformat() if work.time_accepted else "",
        "action": work.operation_type,
        "status": work.status,
        "percent": work.percent_complete,
    }


# ── exec ─────────────────────────────────────────────────────────────────────────


def execute(job: Job) -> PrimitiveResult:
    """Run a command, given as a list of words, on the first instance that runs.

    The Run Command plugin takes a script; every word is quoted, so that the shell that
    reads it takes each as it is.
    """
    argv = job.argument("argv", [])
    if not isinstance(argv, list | tuple) or not argv or not all(isinstance(a, str) for a in argv):
        raise PermanentError("exec: `argv` has to be a list of words, such as [ls, -l, /tmp]")
    running = [i for i in job.require(job.instances) if i.lifecycle_state == "RUNNING"]
    if not running:
        raise PermanentError(f"{job.what}: none of its instances runs")
    script = script_of(argv, workdir=job.argument("workdir"), user=job.argument("user"))
    if len(script.encode()) > _SCRIPT_BYTES:
        raise PermanentError(f"{job.what}: the command is longer than {_SCRIPT_BYTES} bytes")
    return _run_command(job, running[0], script)


def script_of(argv: Sequence[str], *, workdir: str | None = None, user: str | None = None) -> str:
    """One line for a POSIX shell that runs exactly these words."""
    words = ["exec", *(["sudo", "-n", "-u", user, "--"] if user else []), *argv]
    line = " ".join(shlex.quote(word) for word in words)
    return f"cd -- {shlex.quote(workdir)} && {line}" if workdir else line


def _run_command(job: Job, instance: Instance, script: str) -> PrimitiveResult:
    seconds = int(job.argument("timeout_seconds", max(1, int(job.deadline.left))))
    what = f"run a command on {instance.name}"
    body = {
        "compartmentId": instance.compartment_id,
        "executionTimeOutInSeconds": seconds,
        "displayName": f"uici {job.service.metadata.name}",
        "target": {"instanceId": instance.id},
        "content": {
            "source": {"sourceType": "TEXT", "text": script},
            "output": {"outputType": "TEXT"},
        },
    }
    reply = job.cloud.ask(
        Request(Api.COMMANDS, "create_instance_agent_command", (body,), what=what, mutates=True),
        job.deadline,
    )
    command = reply.data.get("id") if isinstance(reply.data, dict) else None
    if not isinstance(command, str):
        raise OutcomeUnknownError(f"{what}: the answer names no command", remedy=_look_at(instance))
    ended = _await_command(job, instance, command, what)
    content = ended.content or {}
    text = str(content.get("text") or "")
    limit = int(job.argument("max_output_bytes", _TEXT_BYTES))
    kept = text.encode()[:limit].decode(errors="ignore")
    return PrimitiveResult(
        changed=True,
        native_ids=(instance.id,),
        output={
            "instance": instance.name,
            "exit_code": content.get("exitCode"),
            "stdout": kept,
            "stderr": str(content.get("message") or ""),
            # The plugin cuts by itself, and does not tell.
            "truncated": len(kept) < len(text) or len(text.encode()) >= _TEXT_BYTES,
        },
    )


def _await_command(job: Job, instance: Instance, command: str, what: str) -> CommandExecution:
    request = Request(
        Api.COMMANDS,
        "get_instance_agent_command_execution",
        (command, instance.id),
        what=f"{what}: ask for its end",
    )
    # A look that hangs must not take the time of the cancellation: it would run on unseen.
    looking = job.deadline.reserving(min(_CANCEL_SECONDS, job.deadline.left / 4))
    while True:
        try:
            found = fetch(job.cloud, request, CommandExecution, looking)
        except BudgetSpentError as exc:
            raise OutcomeUnknownError(
                f"{what}: sent, but {exc}", remedy=_look_at(instance)
            ) from exc
        except (TemporaryError, NotFoundError):  # not found until the agent has fetched it
            found = None
        except PermanentError as exc:
            raise OutcomeUnknownError(
                f"{what}: sent, but {exc}", remedy=_look_at(instance)
            ) from exc
        if found is not None and found.lifecycle_state in ("SUCCEEDED", "FAILED"):
            return found
        if found is not None and found.lifecycle_state in ("TIMED_OUT", "CANCELED"):
            raise OutcomeUnknownError(
                f"{what}: it was ended before it was done: {found.lifecycle_state}",
                remedy=_look_at(instance),
            )
        if looking.left <= job.tools.interval:
            _cancel(job, command)
            raise OutcomeUnknownError(
                f"{what}: it did not end in time, and was asked to", remedy=_look_at(instance)
            )
        time.sleep(job.tools.interval)


def _cancel(job: Job, command: str) -> None:
    request = Request(
        Api.COMMANDS,
        "cancel_instance_agent_command",
        (command,),
        what="cancel a command",
        mutates=True,
    )
    try:
        job.cloud.ask(request, Deadline(max(job.deadline.left, _CANCEL_LEAST)))
    except UiciError:
        return  # it ends by its own time-out


def _look_at(instance: Instance) -> str:
    return f"look at the run commands of {instance.name} in the Oracle Cloud console"


# ── parts ────────────────────────────────────────────────────────────────────────


def _ids(job: Job) -> tuple[str, ...]:
    return (
        *(pool.id for pool in job.pools),
        *(instance.id for instance in job.instances),
        *(replica.instance.id for replica in job.found),
    )


def _span(job: Job, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise PermanentError(f"{job.call.primitive}: `since`: {exc}") from exc


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
