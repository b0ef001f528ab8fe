"""From "look now" to a flow run: one at a time, whatever is asked.

Asked from any thread; a task on the worker's event loop makes the runs. While a run works,
further wishes are united into one that follows it: a storm of alerts starts one run and
one more, not a thousand. A run that Prefect cancels because another holds the
deployment's only slot is asked for again a few times; then the schedule sees to it.
Neighbours: `flows.webhook` asks, `flows.prefect_edge.worker` runs.
"""

from __future__ import annotations

import asyncio
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import structlog
from prefect.client.schemas.objects import StateType

from flows.logging_setup import LOGGER_NAME
from flows.prefect_edge.listener import API_ERRORS

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from flows.prefect_edge.worker import UiciWorker

TAG = "uici:webhook"
_TRIES = 5
_PAUSE_SECONDS = 1.0


class RunTrigger:
    """Makes runs of one deployment for the targets that were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._all = False
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log: Any = structlog.get_logger(LOGGER_NAME)

    def ask(self, targets: frozenset[str] | None) -> None:
        """Have these targets looked at soon; None: all. Returns at once, from any thread."""
        with self._lock:
            self._all = self._all or targets is None
            self._wanted |= targets or frozenset()
            loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            try:
                loop.call_soon_threadsafe(wake.set)
            except RuntimeError:  # it ends: nobody will look any more
                self._log.info("look_not_begun", reason="uici serve is ending")

    async def run(self, worker: UiciWorker, deployment: UUID) -> None:
        """Make the runs, until cancelled."""
        wake = asyncio.Event()
        with self._lock:
            self._loop, self._wake = asyncio.get_running_loop(), wake
            if self._all or self._wanted:
                wake.set()
        while True:
            await wake.wait()
            wake.clear()
            await worker.idle()
            if (parameters := self._take()) is not None:
                await self._look(worker, deployment, parameters)

    def _take(self) -> dict[str, Any] | None:
        """What was asked for up to now, as the flow's parameters."""
        with self._lock:
            every, targets = self._all, sorted(self._wanted)
            self._all, self._wanted = False, set()
        if every:
            return {}
        return {"targets": targets} if targets else None

    async def _look(self, worker: UiciWorker, deployment: UUID, parameters: dict[str, Any]) -> None:
        key = uuid4().hex  # a request that is repeated makes no second run
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS * attempt)
                await worker.idle()
            try:
                state = await self._run_once(worker, deployment, parameters, key)
            except API_ERRORS as exc:
                if parameters and _refused(exc):
                    # Younger than the list that the form offers: all are looked at instead.
                    parameters = {}
                    continue
                self._log.warning(
                    "look_not_begun",
                    error=f"{type(exc).__name__}: {exc}",
                    consequence="the schedule looks at the world",
                )
                continue
            # Prefect cancels what finds the deployment's slot taken, by another worker's run.
            if state is None or state.type is not StateType.CANCELLED:
                return
            key = uuid4().hex

    async def _run_once(
        self, worker: UiciWorker, deployment: UUID, parameters: dict[str, Any], key: str
    ) -> State[Any] | None:
        """The state of a run that was made and, if nobody else took it, has run here."""
        flow_run = await worker.client.create_flow_run_from_deployment(
            deployment, parameters=parameters, tags=[TAG], idempotency_key=key
        )
        await worker.get_and_submit_flow_runs()
        await worker.idle()
        return (await worker.client.read_flow_run(flow_run.id)).state


def _refused(failure: Exception) -> bool:
    """Whether the server does not take the parameters."""
    if not isinstance(failure, httpx.HTTPStatusError):
        return False
    return failure.response.status_code in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
