"""The worker on a thread and an event loop of its own.

Prefect's flow engine puts its own SIGTERM handler into the main thread of whatever process
it runs in, and a worker there may not end. This module imports Prefect only when the
thread runs: its settings have to be in the environment before. Neighbour: `flows.serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from flows.alert_inbox import Asking
from flows.logging_setup import LOGGER_NAME
from infrastructure.config_models import Platform
from infrastructure.errors import PermanentError, TemporaryError, UiciError

if TYPE_CHECKING:
    from flows.prefect_edge.choices import Choices
    from flows.prefect_edge.deployment import Registration
    from flows.prefect_edge.flow import Loop

# Docker and most supervisors kill after ten seconds: a run gets five of them, the
# teardown of the worker one, the embedded server three.
_RUN_GRACE_SECONDS = 5.0
_TEARDOWN_SECONDS = 1.0
_API_RETRY_SECONDS = 0.5


class WorkerThread:
    """The worker on its own event loop. `end` asks it to end and waits as long as it may take."""

    def __init__(
        self,
        platform: Platform,
        loop: Loop,
        *,
        name: str,
        ready: Callable[[], None],
        asking: Asking,
    ) -> None:
        self._platform = platform
        self._loop = loop
        self._name = name
        self._ready = ready
        self._asks = asking
        self._failure: UiciError | None = None
        self._asking: Callable[[], object] | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._body, name="worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Returns when the worker has ended, or its time is over."""
        self._ended.set()
        with self._lock:
            if self._asking is not None:
                with contextlib.suppress(RuntimeError):  # its event loop is closed already
                    self._asking()
        self._thread.join(_RUN_GRACE_SECONDS + _TEARDOWN_SECONDS)

    def raise_failure(self) -> None:
        """Raise what ended the worker, if it was an error."""
        if self._failure is not None:
            raise self._failure

    def _body(self) -> None:
        try:
            asyncio.run(self._work())
        except UiciError as exc:
            self._failure = exc

    async def _work(self) -> None:
        from flows.prefect_edge.approve_runs import Approving  # noqa: PLC0415 - as below
        from flows.prefect_edge.flow import build_flow  # noqa: PLC0415 - after Prefect's settings
        from flows.prefect_edge.trigger import RunTrigger  # noqa: PLC0415 - the same
        from flows.prefect_edge.waking import waking  # noqa: PLC0415 - the same
        from flows.prefect_edge.worker import UiciWorker  # noqa: PLC0415 - the same

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        with self._lock:
            self._asking = lambda: loop.call_soon_threadsafe(stop.set)
            if self._ended.is_set():
                return
        settings = self._platform.prefect
        trigger = RunTrigger()
        ended = asyncio.Event()  # a run of the loop: what it has read may change the forms
        loop_of_runs = replace(self._loop, run=waking(self._loop.run, ended))
        approving = Approving(self._platform, loop_of_runs, trigger.ask)
        flow = build_flow(lambda: contextlib.nullcontext(approving.loop))
        made = await _register(self._platform, self._loop, flow)
        deployment = made.id
        propose = await _register_propose(self._platform, self._loop)
        others = {each.id: each.flow for each in propose}
        others |= await approving.register()
        worker = UiciWorker(
            flow=flow,
            work_pool=settings.work_pool,
            name=self._name,
            poll_interval=settings.poll_interval.total_seconds(),
            others=others,
        )
        looking = [
            asyncio.create_task(trigger.run(worker, deployment)),
            asyncio.create_task(approving.run()),
            asyncio.create_task(_keep_forms(self._loop.choices, [made, *propose], ended)),
        ]
        self._asks.trigger = trigger
        self._ready()
        try:
            await worker.run_until(stop, grace=_RUN_GRACE_SECONDS)
        finally:
            self._asks.trigger = None
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)


async def _register(platform: Platform, given: Loop, flow: Any) -> Registration:
    """Pool and deployment, as soon as the Prefect API answers."""
    import httpx  # noqa: PLC0415 - Prefect has imported it anyway
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings

    from flows.prefect_edge.deployment import (  # noqa: PLC0415 - the same
        Registration,
        ensure_deployment,
        reconcile_spec,
    )

    settings = platform.prefect
    spec = reconcile_spec(settings, platform.reconcile.interval, given.choices())
    log = structlog.get_logger(LOGGER_NAME)
    deadline = asyncio.get_running_loop().time() + settings.server.ready_timeout.total_seconds()
    while True:
        try:
            async with get_client() as client:
                deployment = await ensure_deployment(client, flow, spec)
            break
        except (httpx.HTTPError, RuntimeError) as exc:
            if not _is_outage(exc):
                raise PermanentError(
                    f"the Prefect API at {settings.api_url} refuses: {str(exc).splitlines()[0]}"
                ) from exc
            if asyncio.get_running_loop().time() > deadline:
                raise TemporaryError(
                    f"the Prefect API at {settings.api_url} does not answer: start it, correct "
                    "prefect.apiUrl in platform.yml, or set prefect.server.mode to embedded"
                ) from exc
            await asyncio.sleep(_API_RETRY_SECONDS)
    log.info(
        "serving",
        ui=settings.api_url.removesuffix("/api"),
        deployment=f"{flow.name}/{spec.name}",
        deployment_id=str(deployment),
        interval=str(spec.interval),
    )
    return Registration(deployment, flow, spec)


async def _register_propose(platform: Platform, loop: Loop) -> Sequence[Registration]:
    """The flow `propose`, for a loop that can; what can't be registered now is not missed."""
    import httpx  # noqa: PLC0415 - Prefect has imported it anyway
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings

    from flows.prefect_edge.deployment import (  # noqa: PLC0415 - the same
        Registration,
        ensure_deployment,
        propose_spec,
    )
    from flows.prefect_edge.propose_flow import build_propose_flow  # noqa: PLC0415 - the same

    if loop.propose is None or not platform.proposals.enabled:
        return ()
    flow = build_propose_flow(lambda: contextlib.nullcontext(loop))
    spec = propose_spec(platform.prefect, loop.choices())
    try:
        async with get_client() as client:
            return (Registration(await ensure_deployment(client, flow, spec), flow, spec),)
    except (httpx.HTTPError, RuntimeError) as exc:
        reason = str(exc).partition("\n")[0]
        structlog.get_logger(LOGGER_NAME).warning("propose_not_registered", reason=reason)
        return ()


async def _keep_forms(
    choices: Callable[[], Choices], made: Sequence[Registration], ended: asyncio.Event
) -> None:
    """Whenever a run has ended, have the forms offer what it has read; until cancelled."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings

    from flows.prefect_edge.listener import API_ERRORS  # noqa: PLC0415 - the same

    async with get_client() as client:
        while True:
            await ended.wait()
            ended.clear()
            try:
                for each in made:
                    await each.refresh(client, choices())
            except API_ERRORS as exc:  # tried again after the next run
                reason = f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}"
                structlog.get_logger(LOGGER_NAME).info("forms_not_updated", reason=reason)


def _is_outage(exc: Exception) -> bool:
    """Whether the same request may be answered later."""
    import httpx  # noqa: PLC0415 - Prefect has imported it anyway

    if isinstance(exc, RuntimeError):  # Prefect's version check, with what it met as the cause
        return exc.__cause__ is not None
    if isinstance(exc, httpx.HTTPStatusError):
        return exc.response.is_server_error
    return isinstance(exc, httpx.TransportError)


def worker_name(platform: Platform, data: Path) -> str:
    """The same after a restart, another for each data directory of each host."""
    place = hashlib.sha256(str(data).encode()).hexdigest()[:6]
    return f"{platform.agent}-{socket.gethostname()}-{place}"
