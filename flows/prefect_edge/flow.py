"""The `reconcile` flow: Prefect at the edge, the plain loop inside.

A flow run calls `flows.reconcile.reconcile` on a thread and says in Prefect's words what
came of it: state, name, artifacts, events. The flow is async because a sync one waits a
second for Prefect's heartbeat thread at its end. `flows.prefect_edge.worker` runs it in a warm
process; called directly, it opens what it needs and works without any server, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from flows.approvals.desk import Desk
from flows.listener import (
    Listener,
    Listeners,
    RunRequest,
    RunStoppedError,
    StopListener,
)
from flows.log_listener import LogListener
from flows.logging_setup import LOGGER_NAME, mirrored_to
from flows.prefect_edge.choices import Choices
from flows.prefect_edge.links import Places
from flows.prefect_edge.listener import Outbox, PrefectListener, Told
from flows.prefect_edge.run_page import RunPage
from flows.proposals.result import Proposal, Writing
from flows.reporting.run_summary import run_name
from flows.reporting.values import RunReport, RunResult
from infrastructure.errors import UiciError
from infrastructure.redaction import Redactor
from infrastructure.service import Mode

FLOW_NAME = "reconcile"

T = TypeVar("T")


def _untold(_target: str) -> None:
    """The next scheduled run looks at it."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The plain loop, ready to run.

    Attributes:
        run: one run, from Git to Git; see `flows.reconcile.reconcile`.
        render: a report as Markdown, for the artifact.
        redactor: applied to everything that goes to Prefect.
        propose: considers proposals by hand; None: this loop has none.
        desk: where people approve; None: this loop has none.
        decided: told of the target that a person has decided about.
        choices: what the forms may offer, as far as it is known by now.
        places: where people find Prometheus, Alertmanager and commits, for links.
    """

    run: Callable[[RunRequest, Listener], RunReport]
    render: Callable[[RunReport], str]
    redactor: Redactor
    propose: Callable[[RunRequest, Writing], Sequence[Proposal]] | None = None
    desk: Desk | None = None
    decided: Callable[[str], None] = _untold
    choices: Callable[[], Choices] = Choices
    places: Places = field(default_factory=Places)


OpenLoop = Callable[[], AbstractContextManager[Loop]]


def _never() -> bool:
    return False


# Whether the run that this context belongs to should end; set by who runs the flow.
stop_requested: ContextVar[Callable[[], bool]] = ContextVar("stop_requested", default=_never)


def build_flow(open_loop: OpenLoop) -> Flow[..., Any]:
    """The `reconcile` flow around a loop.

    Args:
        open_loop: called on the run's own thread. A warm process returns the loop that it
            has; otherwise the loop is opened for the run and closed after it.
    """
    told = Told()

    async def reconcile(
        environment: list[str] | None = None,
        targets: list[str] | None = None,
        mode: Mode | None = None,
    ) -> State[None]:
        """Look at the world, compare it with Git, heal what may be healed, report to Git.

        Args:
            environment: Only these environments. Empty: all that are configured.
            targets: Only these services, as `environment/name`. Empty: all.
            mode: At most this much: observe looks, propose plans, enforce acts. Empty: as
                desired state and configuration say.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("the reconcile flow runs inside of a Prefect flow run only")
        client = context.client
        if not isinstance(client, PrefectClient):
            raise TypeError("an async flow run has an async client")
        request = RunRequest(
            environments=tuple(environment) if environment else None,
            targets=tuple(targets) if targets else None,
            mode=mode,
            run_id=str(context.flow_run.id),
        )
        outbox = Outbox(client, context.flow_run.id)
        try:
            return await _guarded(open_loop, request, outbox, told)
        finally:
            await outbox.close()

    return Flow(
        reconcile,
        name=FLOW_NAME,
        description="Heals services so that they are as Git says. See `uici --help`.",
        persist_result=False,
        validate_parameters=True,
    )


async def _guarded(
    open_loop: OpenLoop, request: RunRequest, outbox: Outbox, told: Told
) -> State[None]:
    """The outermost boundary: whatever happens becomes a state with one clear message."""
    stopped = stop_requested.get()

    def work() -> State[None]:
        with open_loop() as loop:
            try:
                with _shown(loop, outbox, told) as shown:
                    listeners = Listeners(shown, StopListener(stopped), LogListener())
                    return run_state(loop.run(request, listeners), loop.redactor)
            except UiciError as exc:
                return _ended(exc, request, loop.redactor)

    try:
        return await in_thread(work)
    except UiciError as exc:  # the loop could not be opened; such messages hold no secret
        return _ended(exc, request, Redactor(()))
    except Exception as exc:  # noqa: BLE001 - the flow's outermost boundary; reported here
        structlog.get_logger(LOGGER_NAME).exception("run_crashed", run_id=request.run_id)
        return Failed(message=f"a mistake in UICI ({type(exc).__name__}): its log says where")


def _ended(error: UiciError, request: RunRequest, redactor: Redactor) -> State[None]:
    message = redactor.text(str(error))
    log = structlog.get_logger(LOGGER_NAME)
    if isinstance(error, RunStoppedError):
        log.warning("run_stopped", run_id=request.run_id, reason=message)
        return Cancelled(message=message)
    log.error("run_failed", run_id=request.run_id, error=message)
    return Failed(message=message)


@contextlib.contextmanager
def _shown(loop: Loop, outbox: Outbox, told: Told) -> Iterator[PrefectListener]:
    page = RunPage(loop.render, loop.places, loop.redactor.text)
    listener = PrefectListener(outbox, redactor=loop.redactor, page=page, told=told)
    with mirrored_to(listener.log_line):
        try:
            yield listener
        except BaseException as exc:
            word = "stopped" if isinstance(exc, RunStoppedError) else "error"
            listener.abandon(str(exc))
            listener.name_run(f"{word}: {exc}".splitlines()[0])
            raise


def run_state(report: RunReport, redactor: Redactor) -> State[None]:
    """The Prefect state of a run.

    Drift that remains is no failure of the run: a person or a back-off is waited for, which
    the run's name says, and events tell automations. It has no state name of its own: Prefect's
    lists of runs show by default only the names that Prefect itself knows.
    """
    message = redactor.text(run_name(report))
    match report.result:
        case RunResult.CONVERGED | RunResult.DRIFT_REMAINS:
            return Completed(message=message)
        case RunResult.ERROR:
            return Failed(message=redactor.text("; ".join(report.errors)) or message)


async def in_thread(function: Callable[[], T]) -> T:
    """Run on a daemon thread of its own, with this context.

    Not `asyncio.to_thread`: the interpreter joins those threads when it ends, and a
    process that was asked to end must not wait for an engine that hangs.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():  # cancelled meanwhile
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # no error: it has its value

    def body() -> None:
        value: T | None = None
        error: BaseException | None = RuntimeError("the run's thread ended without a result")
        try:
            value = function()
            error = None
        except Exception as exc:  # noqa: BLE001 - handed to the awaiting flow, which reports it
            error = exc
        finally:
            with contextlib.suppress(RuntimeError):  # the event loop is closed already
                loop.call_soon_threadsafe(settle, value, error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(body,), name="reconcile", daemon=True).start()
    return await future


@contextlib.contextmanager
def open_default_loop() -> Iterator[Loop]:
    """The loop with the shipped configuration directory, opened for one run."""
    from flows.serve import open_configured_loop  # noqa: PLC0415 - only when run alone
    from infrastructure.config_loader import UniversalConfigLoader  # noqa: PLC0415 - the same

    with open_configured_loop(UniversalConfigLoader().load()) as loop:
        yield loop


reconcile = build_flow(open_default_loop)
