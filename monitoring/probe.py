"""HTTP health probes: does the service answer, asked as a client would ask it.

Each probe is a new connection, because a kept one can outlive what listens. Only running
instances are probed; for the others the engine's word is enough. Neighbours:
`flows.observe` and verification.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from infrastructure.config_models import ProbeSettings
from infrastructure.errors import PermanentError
from infrastructure.observed import (
    InstanceState,
    ObservedInstance,
    ObservedService,
    ProbeReading,
    Reading,
)
from infrastructure.service import HttpProbe, Service
from monitoring.http_exchange import ExchangeError, Failure, Request

if TYPE_CHECKING:
    from monitoring.http_transport import BoundedHttp

# A port published on all addresses is reached by the loopback one.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
_OUT_OF_TIME = "not probed in the time of this run"


@dataclass(frozen=True, slots=True)
class _Task:
    target: str
    instance: ObservedInstance
    probe: HttpProbe


def probe_services(
    observed: Iterable[tuple[Service, ObservedService]],
    settings: ProbeSettings,
    *,
    deadline: float,
) -> tuple[ProbeReading, ...]:
    """Probe every running instance of the services that have an HTTP check.

    PASSED: 200 to 399 within the probe's time-out; redirects are not followed. FAILED: it
    refused, broke off, answered another status, or did not answer in that time. UNKNOWN:
    it could not be asked (no address, no route, this run's own time was over).

    Args:
        observed: services with what the engine says about them.
        settings: how many at the same time.
        deadline: on the clock of time.monotonic; all is over by then.
    """
    tasks = _tasks(observed)
    if not tasks:
        return ()
    from monitoring.http_transport import BoundedHttp  # noqa: PLC0415 - httpcore costs 90 ms

    http = BoundedHttp(tls=None, keep_alive=False)
    probe = partial(_probe, http, deadline=deadline)
    try:
        if len(tasks) == 1:
            return (probe(tasks[0]),)
        workers = min(settings.concurrency, len(tasks))
        with ThreadPoolExecutor(workers, thread_name_prefix="probe") as pool:
            return tuple(pool.map(probe, tasks))
    finally:
        http.close()


def unprobed(
    observed: Iterable[tuple[Service, ObservedService]], detail: str
) -> tuple[ProbeReading, ...]:
    """The UNKNOWN readings for what `probe_services` would have probed."""
    return tuple(
        ProbeReading(task.target, task.instance.native.name, Reading.UNKNOWN, detail)
        for task in _tasks(observed)
    )


def _tasks(observed: Iterable[tuple[Service, ObservedService]]) -> Sequence[_Task]:
    return [
        _Task(service.target, instance, service.spec.health.http)
        for service, seen in observed
        if service.spec.health.http is not None
        for instance in seen.instances
        if instance.state is InstanceState.RUNNING
    ]


def _probe(http: BoundedHttp, task: _Task, *, deadline: float) -> ProbeReading:
    started = time.monotonic()
    reading, detail = _ask(http, task, started, deadline)
    seconds = time.monotonic() - started
    return ProbeReading(
        task.target, task.instance.native.name, reading, detail, seconds, url=_url(task)
    )


def _url(task: _Task) -> str:
    """What is asked, for people; empty: there is no address."""
    endpoint = address(task.instance, task.probe.port)
    if endpoint is None:
        return ""
    host, port = endpoint
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{task.probe.path}"


def _ask(http: BoundedHttp, task: _Task, started: float, deadline: float) -> tuple[Reading, str]:
    endpoint = address(task.instance, task.probe.port)
    if endpoint is None:
        return Reading.UNKNOWN, f"port {task.probe.port} has no address to probe"
    own_deadline = started + task.probe.timeout.total_seconds()
    if started >= deadline:
        return Reading.UNKNOWN, _OUT_OF_TIME
    try:
        request = _request(endpoint, task.probe.path)
        status = http.status(request, deadline=min(own_deadline, deadline))
    except ExchangeError as exc:
        if exc.failure is Failure.TIMED_OUT and own_deadline > deadline:
            return Reading.UNKNOWN, _OUT_OF_TIME
        # An unreachable address, or no more sockets here, says nothing about the service.
        unknown = exc.failure is Failure.UNREACHABLE
        return (Reading.UNKNOWN if unknown else Reading.FAILED), str(exc)
    except PermanentError as exc:
        return Reading.UNKNOWN, str(exc)
    passed = 200 <= status < 400
    return (Reading.PASSED if passed else Reading.FAILED), _status_text(status)


def address(instance: ObservedInstance, port: int) -> tuple[str, int] | None:
    """Where the agent reaches a container port: published first, else the instance itself."""
    published = instance.published.get(port)
    if published is not None:
        host, host_port = published
        return _LOOPBACK.get(host, host), host_port
    return (instance.address, port) if instance.address else None


def _request(endpoint: tuple[str, int], path: str) -> Request:
    host, port = endpoint
    try:
        name = host.encode("idna")
    except UnicodeError as exc:
        raise PermanentError("the instance's address is no valid host name") from exc
    authority = b"[%b]:%d" % (name, port) if b":" in name else b"%b:%d" % (name, port)
    return Request(
        method="GET",
        scheme=b"http",
        host=name,
        port=port,
        target=quote(path, safe="/?&=+,;:@!$'()*~%[]").encode("ascii"),
        headers=(
            (b"Host", authority),
            (b"User-Agent", b"uici-probe"),
            (b"Accept", b"*/*"),
            (b"Connection", b"close"),
        ),
    )


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
