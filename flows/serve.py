"""`uici serve`: everything that the loop needs on one machine, as one process.

Opens the agent's HTTP endpoint, starts the embedded Prefect server (if configured),
brings pool and deployment up to date, and runs the warm worker until SIGTERM or SIGINT.
The main thread only waits for signals and watches its children; the worker has a thread
and an event loop of its own, because Prefect's flow engine puts its own SIGTERM handler
into the main thread of whatever process it runs in, and a worker there may not end. This
module imports Prefect only after its settings are in the environment, from which Prefect
reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog

from flows.endpoint import Page, Pages, endpoint, text_page
from flows.listener import Listeners
from flows.local_stack.child import Child
from flows.logging_setup import LOGGER_NAME, configure_logging
from flows.metrics import CONTENT_TYPE, RunMetrics
from flows.prefect_edge.server import client_environment, prefect_server
from infrastructure.config_loader import (
    UniversalConfig,
)
from infrastructure.config_models import Platform
from infrastructure.errors import PermanentError, TemporaryError, UiciError

if TYPE_CHECKING:
    from flows.prefect_edge.flow import Loop, OpenLoop

# Docker and most supervisors kill after ten seconds: a run gets five of them, the
# teardown of the worker one, the embedded server three.
_RUN_GRACE_SECONDS = 5.0
_TEARDOWN_SECONDS = 1.0
_WATCH_SECONDS = 0.5
_API_RETRY_SECONDS = 0.5
_READY = "ready"


def serve(config: UniversalConfig) -> int:
    """Serve with this configuration. See `run_service`.

    Raises:
        UiciError: it could not start; with the next step.
    """
    configure_logging(config.platform.log, config.redactor())
    metrics = RunMetrics()
    return run_service(
        config.platform,
        config.data_directory,
        lambda: open_configured_loop(config, metrics),
        metrics=metrics,
    )


@contextlib.contextmanager
def open_configured_loop(
    config: UniversalConfig, metrics: RunMetrics | None = None
) -> Iterator[Loop]:
    """The real loop, for as long as the context lasts. `metrics` are told of its runs."""
    from flows.prefect_edge.flow import Loop  # noqa: PLC0415 - after Prefect's settings
    from flows.reconcile import reconcile  # noqa: PLC0415 - the whole pipeline, imported once
    from flows.report import render_markdown  # noqa: PLC0415 - the same
    from flows.runtime import open_runtime  # noqa: PLC0415 - the same

    counted = metrics or RunMetrics()
    with open_runtime(config, on_llm_request=counted.llm_asked) as runtime:
        # The runtime's redactor also learns what desired state's references resolve to.
        configure_logging(config.platform.log, runtime.redactor)
        yield Loop(
            run=lambda request, listener: counted.run(
                lambda: reconcile(request, runtime, Listeners(listener, counted))
            ),
            render=lambda report: render_markdown(report, runtime.redactor.text),
            redactor=runtime.redactor,
        )


def run_service(
    platform: Platform, data: Path, open_loop: OpenLoop, *, metrics: RunMetrics | None = None
) -> int:
    """Serve until asked to end. Returns the exit code: 0 when asked, 1 when it could not go on.

    Call it from the main thread of a process that has not imported Prefect yet.

    Args:
        platform: platform.yml.
        data: its data directory, absolute.
        open_loop: opened once, before the first run, and closed at the end.
        metrics: what the endpoint shows; whoever runs the loop tells them.

    Raises:
        UiciError: it could not start; with the next step.
    """
    signals = _Signals()
    worker: _WorkerThread | None = None
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_only_one(data))
            stack.enter_context(signals.handled())
            standing = _Standing()
            if platform.serve.http is not None:
                shown = _pages(standing, metrics or RunMetrics())
                stack.enter_context(endpoint(platform.serve.http, shown))
            server = stack.enter_context(_server(platform, data))
            os.environ.update(client_environment(platform.prefect.api_url, data / "prefect"))
            loop = stack.enter_context(open_loop())
            worker = _WorkerThread(
                platform, loop, name=_worker_name(platform, data), standing=standing
            )
            stack.callback(worker.end)
            worker.start()
            signals.started()
            code = _watch(signals.stop, worker, server)
            standing.now = "ending"
    except KeyboardInterrupt:
        code = 0
    if worker is not None:
        worker.raise_failure()
        if worker.is_alive():  # an engine hangs: the run's intent is in Git, and it is let go
            structlog.get_logger(LOGGER_NAME).warning("worker_abandoned")
            os._exit(code)
    return code


@dataclass(slots=True)
class _Standing:
    """How far the service has come, for `/readyz`. One thread writes a word, others read it."""

    now: str = "starting"

    def page(self) -> Page:
        """200 once runs are taken."""
        ready = self.now == _READY
        return text_page(self.now, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _pages(standing: _Standing, metrics: RunMetrics) -> Pages:
    return {
        "/healthz": lambda: text_page("alive"),
        "/readyz": standing.page,
        "/metrics": lambda: Page(metrics.text(), content_type=CONTENT_TYPE),
    }


def _watch(stop: threading.Event, worker: _WorkerThread, server: Child | None) -> int:
    while not stop.wait(_WATCH_SECONDS):
        if not worker.is_alive():
            return 1
        if server is not None and server.process.poll() is not None:
            structlog.get_logger(LOGGER_NAME).error(
                "prefect_server_ended",
                exit_code=server.process.returncode,
                log=str(server.log),
                consequence="uici serve ends too; its supervisor starts both again",
            )
            return 1
    return 0


@dataclass(slots=True)
class _Signals:
    """SIGTERM and SIGINT: an interrupt while starting, an event afterwards."""

    stop: threading.Event = field(default_factory=threading.Event)
    _starting: bool = True

    def started(self) -> None:
        """From now on nobody is interrupted; the event is looked at."""
        self._starting = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle them within the context."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's
        self.stop.set()
        if self._starting:
            self._starting = False  # a second signal must not interrupt the clearing up
            raise KeyboardInterrupt


class _WorkerThread:
    """The worker on its own event loop. `end` asks it to end and waits as long as it may take."""

    def __init__(self, platform: Platform, loop: Loop, *, name: str, standing: _Standing) -> None:
        self._platform = platform
        self._loop = loop
        self._name = name
        self._standing = standing
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
        from flows.prefect_edge.flow import build_flow  # noqa: PLC0415 - after Prefect's settings
        from flows.prefect_edge.worker import UiciWorker  # noqa: PLC0415 - the same

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        with self._lock:
            self._asking = lambda: loop.call_soon_threadsafe(stop.set)
            if self._ended.is_set():
                return
        settings = self._platform.prefect
        flow = build_flow(lambda: contextlib.nullcontext(self._loop))
        await _register(self._platform, flow)
        worker = UiciWorker(
            flow=flow,
            work_pool=settings.work_pool,
            name=self._name,
            poll_interval=settings.poll_interval.total_seconds(),
        )
        self._standing.now = _READY
        await worker.run_until(stop, grace=_RUN_GRACE_SECONDS)


async def _register(platform: Platform, flow: Any) -> None:
    """Pool and deployment, as soon as the Prefect API answers."""
    import httpx  # noqa: PLC0415 - Prefect has imported it anyway
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings

    from flows.prefect_edge.deployment import DeploymentSpec, ensure_deployment  # noqa: PLC0415

    settings = platform.prefect
    spec = DeploymentSpec(
        name=settings.deployment,
        work_pool=settings.work_pool,
        interval=platform.reconcile.interval,
        tags=settings.tags,
    )
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


def _is_outage(exc: Exception) -> bool:
    """Whether the same request may be answered later."""
    import httpx  # noqa: PLC0415 - Prefect has imported it anyway

    if isinstance(exc, RuntimeError):  # Prefect's version check, with what it met as the cause
        return exc.__cause__ is not None
    if isinstance(exc, httpx.HTTPStatusError):
        return exc.response.is_server_error
    return isinstance(exc, httpx.TransportError)


def _server(platform: Platform, data: Path) -> AbstractContextManager[Child | None]:
    settings = platform.prefect.server
    if settings.mode == "external":
        return contextlib.nullcontext(None)

    @contextlib.contextmanager
    def embedded() -> Iterator[Child | None]:
        with prefect_server(
            data,
            host=settings.host,
            port=settings.port,
            ready_timeout=settings.ready_timeout.total_seconds(),
        ) as server:
            yield server.process

    return embedded()


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Hold the data directory's lock; the kernel frees it when the process ends, however."""
    path = data / "serve.lock"
    try:
        data.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as exc:
        raise PermanentError(
            f"the data directory can't be used: {exc.strerror}: {exc.filename}: "
            "correct dataDirectory in platform.yml or its rights"
        ) from exc
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.seek(0)
            raise PermanentError(
                f"another uici serve (process {lock.read().strip()}) uses {data}: end it, or set "
                "another dataDirectory in platform.yml"
            ) from exc
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _worker_name(platform: Platform, data: Path) -> str:
    """The same after a restart, another for each data directory of each host."""
    place = hashlib.sha256(str(data).encode()).hexdigest()[:6]
    return f"{platform.agent}-{socket.gethostname()}-{place}"
