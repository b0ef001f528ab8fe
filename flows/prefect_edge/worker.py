"""The warm worker: takes flow runs from a work pool and runs them in this process.

Prefect's own workers start a Python process for every run, which costs seconds of CPU;
this one keeps its imports, connections and caches (docs/adr/0001). It polls, sends
heartbeats, watches for cancellation, and clears up after workers that died. Deployment
concurrency limits are Prefect's and hold here as for every worker. Neighbours:
`flows.serve` runs it, `flows.prefect_edge.flow` is what it runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from anyio.abc import TaskStatus
from prefect import Flow
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.context import AsyncClientContext
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Crashed, Pending
from prefect.utilities.engine import propose_state
from prefect.workers.base import (
    BaseJobConfiguration,
    BaseVariables,
    BaseWorker,
    BaseWorkerResult,
)

from flows.logging_setup import LOGGER_NAME
from flows.prefect_edge.flow import stop_requested
from flows.prefect_edge.listener import API_ERRORS

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

WORKER_TYPE = "uici"
_TAKEN_BY = "taken by "
_SEPARATOR = ":"  # between worker and process id
_LIVE = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)

_HEARTBEAT_SECONDS = 30  # Prefect calls a worker offline after three that were missed
# Prefect warns when a run ended before its concurrency lease was first renewed, which is
# every short run; that a lease was lost it tells as an error.
_NOISY_LOGGER = "prefect.concurrency"
# A pending run that names no worker may be another worker's, just being taken.
_UNCLAIMED = timedelta(seconds=3 * _HEARTBEAT_SECONDS)
_MAX_BACKOFF_SECONDS = 30.0
_CLAIM_SECONDS = 1.0
_CLAIM_POLL_SECONDS = 0.05


class UiciWorkerResult(BaseWorkerResult):
    """A run has ended in this process; its state in Prefect says how."""


@dataclass(slots=True)
class _OwnRun:
    """A run of this process: how to ask it to end, and its task."""

    stop: threading.Event = field(default_factory=threading.Event)
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Activity:
    """One repeated call, and whether the API answered it the last time."""

    name: str
    call: Callable[[], Awaitable[object]]
    interval: float
    failures: int = field(default=0)


class UiciWorker(BaseWorker[BaseJobConfiguration, BaseVariables, UiciWorkerResult]):
    """A Prefect worker of type `uici`. Use `run_until`; `start` would do without signals."""

    type = WORKER_TYPE
    job_configuration = BaseJobConfiguration
    job_configuration_variables = BaseVariables
    _description = "Runs UICI's reconcile flow in one warm process."

    def __init__(
        self,
        *,
        flow: Flow[..., Any],
        work_pool: str,
        name: str,
        poll_interval: float,
        others: Mapping[UUID, Flow[..., Any]] | None = None,
    ) -> None:
        """Make a worker.

        Args:
            flow: what every run of the pool runs, but for those of `others`.
            work_pool: made if it is not there.
            name: the same after a restart, so that its own lost runs are recognised, and
                another for every worker that lives at the same time.
            poll_interval: seconds between two looks for runs that are due.
            others: flows that are run by hand, by the id of their deployment.
        """
        # No prefetch: a run that is taken early would hold the deployment's only slot.
        super().__init__(
            work_pool_name=work_pool,
            name=name,
            prefetch_seconds=0,
            heartbeat_interval_seconds=_HEARTBEAT_SECONDS,
        )
        self._flow = flow
        self._others = dict(others or {})
        self._poll_interval = poll_interval
        self._running: dict[UUID, _OwnRun] = {}
        self._stopping = asyncio.Event()
        self._log: Any = structlog.get_logger(LOGGER_NAME)

    async def run_until(self, stop: asyncio.Event, *, grace: float) -> None:
        """Work until `stop` is set, then let the current run end, for `grace` seconds.

        A run that does not end in that time is marked as crashed; what it was about to do
        is in Git, and the next run looks at the world again. An API that does not answer
        is asked again, with growing pauses, for as long as it takes.
        """
        logging.getLogger(_NOISY_LOGGER).setLevel(logging.ERROR)
        # Flow runs find this context and use its client, instead of making one each.
        async with self, AsyncClientContext():
            self._log.info("worker_started", worker=self.name, pool=self._work_pool_name)
            loops = [
                asyncio.create_task(self._repeat(activity))
                for activity in (
                    _Activity("poll", self.get_and_submit_flow_runs, self._poll_interval),
                    _Activity("heartbeat", self.sync_with_backend, _HEARTBEAT_SECONDS),
                )
            ]
            try:
                await self._until_stopped_or_failed(stop, loops)
            finally:
                self._stopping.set()
                # A claim that is under way is finished, so that no run is left half taken.
                _, late = await asyncio.wait(loops, timeout=_CLAIM_SECONDS)
                for loop in late:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
                await self._drain(grace)
        self._log.info("worker_stopped", worker=self.name)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due. Returns the runs that were begun now.

        Prefect's own way asks for deployment, flow and job template of each run, which
        this process needs none of, and lets an API that fails end the worker. Runs are
        claimed one after the other: after an outage many are due, and SQLite has one
        writer.
        """
        due = await self.client.get_scheduled_flow_runs_for_work_pool(
            self._work_pool_name, scheduled_before=datetime.now(UTC)
        )
        begun = []
        for flow_run in (entry.flow_run for entry in due):
            if flow_run.id in self._running or self._stopping.is_set():
                continue
            own = self._running[flow_run.id] = _OwnRun()
            try:
                if await self._claim(flow_run):
                    own.task = asyncio.create_task(self._run_claimed(flow_run))
                    begun.append(flow_run)
            finally:
                if own.task is None:
                    del self._running[flow_run.id]
        return begun

    async def idle(self) -> None:
        """Returns when no run works in this process."""
        while self._running:
            tasks = [own.task for own in self._running.values() if own.task is not None]
            # A run that is just being claimed has no task yet.
            await (asyncio.wait(tasks) if tasks else asyncio.sleep(_CLAIM_POLL_SECONDS))

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,  # noqa: ARG002 - nothing of it applies in this process
        task_status: TaskStatus[Any] | None = None,
    ) -> UiciWorkerResult:
        """Run the flow here; how it ended is its state in Prefect.

        Raises:
            Abort: it was cancelled, or taken by another worker, before it began.
        """
        if task_status is not None:
            task_status.started(self._identifier)
        own = self._running.setdefault(flow_run.id, _OwnRun())
        token = stop_requested.set(own.stop.is_set)
        watch = asyncio.create_task(self._watch_cancellation(flow_run.id, own.stop))
        try:
            asked = flow_run.deployment_id
            flow = self._flow if asked is None else self._others.get(asked, self._flow)
            result: Any = run_flow(flow, flow_run=flow_run, return_type="state")
            await result
        finally:
            watch.cancel()
            stop_requested.reset(token)
        return UiciWorkerResult(identifier=self._identifier, status_code=0)

    async def _claim(self, flow_run: FlowRun) -> bool:
        """Whether the run is ours; the server holds the concurrency limit up to here."""
        try:
            # The message makes the claim ours in the same write, should we die right after.
            claim: State[None] = Pending(message=f"{_TAKEN_BY}{self._identifier}")
            state = await propose_state(self.client, claim, flow_run_id=flow_run.id)
        except Abort as exc:
            self._log.info("run_not_taken", flow_run=str(flow_run.id), reason=str(exc))
            return False
        if not state.is_pending():
            reason = state.message or state.name
            self._log.info("run_not_taken", flow_run=str(flow_run.id), reason=reason)
        return state.is_pending()

    async def _run_claimed(self, flow_run: FlowRun) -> None:
        """From claimed to done. Whatever Prefect's API does, it does not leave this method."""
        try:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=self._identifier)
            await self.run(flow_run, self.job_configuration())
        except Abort as exc:
            self._log.info("run_not_begun", flow_run=str(flow_run.id), reason=str(exc))
        except API_ERRORS as exc:
            self._log.warning(
                "prefect_unreachable",
                flow_run=str(flow_run.id),
                error=f"{type(exc).__name__}: {exc}",
                consequence="Prefect may show this run as running until its API is back",
            )
        finally:
            self._running.pop(flow_run.id, None)

    async def sync_with_backend(self) -> None:
        """Heartbeat; and whatever a dead worker of this pool left running is ended."""
        await super().sync_with_backend()
        await self._end_orphans()

    async def _until_stopped_or_failed(
        self, stop: asyncio.Event, loops: list[asyncio.Task[None]]
    ) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for task in done - {stopping}:
            task.result()  # a loop never ends by itself: this raises what ended it

    async def _repeat(self, activity: _Activity) -> None:
        while not self._stopping.is_set():
            try:
                await activity.call()
            except API_ERRORS as exc:
                activity.failures += 1
                if activity.failures == 1:
                    self._log.warning(
                        "prefect_unreachable",
                        activity=activity.name,
                        error=f"{type(exc).__name__}: {exc}",
                        consequence="no run is started until the Prefect API answers again",
                    )
            else:
                if activity.failures:
                    self._log.info("prefect_reachable_again", activity=activity.name)
                activity.failures = 0
            pause = activity.interval * 2 ** min(activity.failures, 10)
            if activity.failures:
                pause = min(pause, max(activity.interval, _MAX_BACKOFF_SECONDS))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _drain(self, grace: float) -> None:
        tasks = [own.task for own in self._running.values() if own.task is not None]
        for own in self._running.values():
            own.stop.set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            if late:
                self._log.warning("runs_abandoned", count=len(late))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._runs_task_group is not None:
            self._runs_task_group.cancel_scope.cancel()

    async def _watch_cancellation(self, flow_run_id: UUID, stop: threading.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(self._poll_interval)
            with suppress(*API_ERRORS):  # asked again in a moment; polling reports an outage
                run = await self.client.read_flow_run(flow_run_id)
                if run.state is not None and run.state.type is StateType.CANCELLING:
                    stop.set()

    async def _end_orphans(self) -> None:
        """Mark runs of this pool as crashed whose worker is no more, which frees their slot."""
        mine = set(self._running)  # a run may begin or end while the server is asked
        runs = await self.client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._work_pool_name])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_LIVE)))
            ),
        )
        mine |= set(self._running)
        foreign = [run for run in runs if run.id not in mine]
        if not foreign:
            return
        workers = await self.client.read_workers_for_work_pool(self._work_pool_name)
        alive = {w.name for w in workers if w.status == "ONLINE"} - {self.name}
        for run in foreign:
            if _is_orphan(run, alive):
                await self._end_orphan(run)

    async def _end_orphan(self, run: FlowRun) -> None:
        message = "its worker ended before the run did"
        cancelling = run.state is not None and run.state.type is StateType.CANCELLING
        state: State[None] = Cancelled(message=message) if cancelling else Crashed(message=message)
        await self.client.set_flow_run_state(run.id, state)
        self._log.warning("orphan_run_ended", flow_run=str(run.id), name=run.name)

    @property
    def _identifier(self) -> str:
        """What a run's `infrastructure_pid` says: whose it is."""
        return f"{self.name}{_SEPARATOR}{os.getpid()}"


def _is_orphan(run: FlowRun, alive: set[str]) -> bool:
    message = (run.state.message if run.state else None) or ""
    owner = run.infrastructure_pid
    if not owner and message.startswith(_TAKEN_BY):
        owner = message.removeprefix(_TAKEN_BY)
    if owner:
        return owner.rpartition(_SEPARATOR)[0] not in alive
    since = run.state.timestamp if run.state else run.expected_start_time
    return since is not None and datetime.now(UTC) - since > _UNCLAIMED
