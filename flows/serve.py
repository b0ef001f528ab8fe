"""`uici serve`: everything that the loop needs on one machine, as one process.

Opens the agent's HTTP endpoint, starts the embedded Prefect server (if configured),
brings pool and deployment up to date, and runs the warm worker until SIGTERM or SIGINT.
The main thread only waits for signals and watches its children. This module imports Prefect
only after its settings are in the environment, from which Prefect reads them. Neighbours:
`flows.prefect_edge.worker_thread`, `flows.alert_inbox`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from flows.alert_inbox import Alerts, Asking, KnownServices, inboxes_of
from flows.endpoint import Page, Pages, endpoint, text_page
from flows.listener import Listeners
from flows.local_stack.child import Child
from flows.logging_setup import LOGGER_NAME, configure_logging
from flows.metrics import CONTENT_TYPE, RunMetrics
from flows.prefect_edge.server import client_environment, prefect_server
from flows.prefect_edge.worker_thread import WorkerThread, worker_name
from infrastructure.config_loader import UniversalConfig, agent_identity
from infrastructure.config_models import Platform
from infrastructure.errors import PermanentError
from infrastructure.identity import runtime_native_ids

if TYPE_CHECKING:
    from flows.prefect_edge.flow import Loop, OpenLoop

_WATCH_SECONDS = 0.5
_READY = "ready"


def serve(config: UniversalConfig) -> int:
    """Serve with this configuration. See `run_service`.

    Raises:
        UiciError: it could not start; with the next step.
    """
    configure_logging(config.platform.log, config.redactor())
    metrics = RunMetrics()
    known = KnownServices()
    return run_service(
        config.platform,
        config.data_directory,
        lambda: open_configured_loop(config, metrics, known),
        metrics=metrics,
        alerts=Alerts(agent_identity(config, runtime_ids=runtime_native_ids()), known),
    )


@contextlib.contextmanager
def open_configured_loop(
    config: UniversalConfig,
    metrics: RunMetrics | None = None,
    known: KnownServices | None = None,
) -> Iterator[Loop]:
    """The real loop, for as long as the context lasts.

    `metrics` are told of its runs, `known` of the desired state that they read.
    """
    from flows.approvals.wiring import desk_of  # noqa: PLC0415 - see below
    from flows.command_line.propose import run as propose  # noqa: PLC0415 - see below
    from flows.prefect_edge.choices import Choices  # noqa: PLC0415 - after Prefect's settings
    from flows.prefect_edge.flow import Loop  # noqa: PLC0415 - the same
    from flows.prefect_edge.links import places_of  # noqa: PLC0415 - the same
    from flows.reconcile import reconcile  # noqa: PLC0415 - the whole pipeline, imported once
    from flows.report import render_markdown  # noqa: PLC0415 - the same
    from flows.runtime import open_git, open_runtime  # noqa: PLC0415 - the same

    counted, knows = metrics or RunMetrics(), known or KnownServices()
    with open_runtime(config, on_llm_request=counted.llm_asked) as runtime:
        # The runtime's redactor also learns what desired state's references resolve to.
        configure_logging(config.platform.log, runtime.redactor)
        yield Loop(
            run=lambda request, listener: counted.run(
                lambda: reconcile(request, runtime, Listeners(listener, counted, knows))
            ),
            render=lambda report: render_markdown(report, runtime.redactor.text),
            redactor=runtime.redactor,
            propose=lambda request, writing: propose(request, runtime, writing),
            desk=desk_of(runtime, open_git(config, runtime.identity, runtime.redactor)),
            # Targets are those that the newest run has read: at the start nobody has yet.
            choices=lambda: Choices(
                tuple(config.environments.environments),
                None if knows.now is None else tuple(knows.now),
            ),
            places=places_of(config.environments.environments, config.platform.git),
        )


def run_service(
    platform: Platform,
    data: Path,
    open_loop: OpenLoop,
    *,
    metrics: RunMetrics | None = None,
    alerts: Alerts | None = None,
) -> int:
    """Serve until asked to end. Returns the exit code: 0 when asked, 1 when it could not go on.

    Call it from the main thread of a process that has not imported Prefect yet.

    Args:
        platform: platform.yml.
        data: its data directory, absolute.
        open_loop: opened once, before the first run, and closed at the end.
        metrics: what the endpoint shows; whoever runs the loop tells them.
        alerts: for the webhook; None: alerts are not taken.

    Raises:
        UiciError: it could not start; with the next step.
    """
    signals = _Signals()
    worker: WorkerThread | None = None
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_only_one(data))
            stack.enter_context(signals.handled())
            standing = _Standing()
            asking = Asking()
            if platform.serve.http is not None:
                shown = _pages(standing, metrics or RunMetrics())
                inboxes = inboxes_of(platform.serve, alerts, asking)
                stack.enter_context(endpoint(platform.serve.http, shown, inboxes))
            server = stack.enter_context(_server(platform, data))
            os.environ.update(client_environment(platform.prefect.api_url, data / "prefect"))
            loop = stack.enter_context(open_loop())
            worker = WorkerThread(
                platform,
                loop,
                name=worker_name(platform, data),
                ready=standing.ready,
                asking=asking,
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

    def ready(self) -> None:
        """Runs are taken."""
        self.now = _READY

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


def _watch(stop: threading.Event, worker: WorkerThread, server: Child | None) -> int:
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
