"""A run of the `approve` flow for each request that waits, and none for the others.

Level-triggered: what waits is read from Git, what is there already from Prefect, and the
difference is made up for, so that a Prefect that was away, or an agent that was, costs
nothing but time. Neighbours: `flows.prefect_edge.approve_flow`, `flows.prefect_edge.worker`
(runs them), `flows.prefect_edge.worker_thread` (starts this).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled

from flows.approvals.desk import Desk, Shown
from flows.approvals.merge_file import title
from flows.approvals.standing import Standing
from flows.logging_setup import LOGGER_NAME
from flows.prefect_edge.approve_flow import build_approve_flow
from flows.prefect_edge.deployment import approve_spec, ensure_deployment
from flows.prefect_edge.flow import Loop, in_thread
from flows.prefect_edge.listener import API_ERRORS
from flows.prefect_edge.waking import waking
from infrastructure.config_models import Platform
from infrastructure.errors import UiciError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

TAG = "uici:approval"
_TRIES = 3  # runs of one request that may fail before only the command is left
_PAGE = 200
# Not begun, or suspended: nobody is in the middle of it.
_IDLE = frozenset({StateType.SCHEDULED, StateType.PAUSED})


class Approving:
    """Keeps the runs of the deployment in step with what waits.

    `loop` is the loop that was given, which wakes this whenever one of its runs ends.
    """

    def __init__(
        self, platform: Platform, loop: Loop, ask: Callable[[frozenset[str]], None]
    ) -> None:
        """Call it on the event loop that `run` will run on.

        Args:
            platform: platform.yml.
            loop: the plain loop; without a desk nothing is shown in Prefect.
            ask: has targets looked at soon.
        """
        self._platform = platform
        self._desk = loop.desk
        self._deployment: UUID | None = None
        self._wake = asyncio.Event()
        self._flow_loop = replace(loop, decided=lambda target: ask(frozenset({target})))
        self.loop = replace(loop, run=waking(loop.run, self._wake))

    async def register(self) -> dict[UUID, Flow[..., Any]]:
        """The deployment and its flow; what can't be registered now is left to `uici approve`."""
        if self._desk is None:
            return {}
        flow = build_approve_flow(lambda: contextlib.nullcontext(self._flow_loop))
        spec = approve_spec(self._platform.prefect, TAG)
        try:
            async with get_client() as client:
                self._deployment = await ensure_deployment(client, flow, spec)
        except (*API_ERRORS, RuntimeError) as exc:
            reason = str(exc).partition("\n")[0]
            structlog.get_logger(LOGGER_NAME).warning("approve_not_registered", reason=reason)
            return {}
        return {self._deployment: flow}

    async def run(self) -> None:
        """Look whenever a run has ended and every so often, until cancelled."""
        if self._desk is None or self._deployment is None:
            return
        runs = ApprovalRuns(self._desk, self._deployment)
        every = self._platform.reconcile.interval.total_seconds()
        async with get_client() as client:
            while True:
                self._wake.clear()
                await _guarded(runs, client)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), every)


async def _guarded(runs: ApprovalRuns, client: PrefectClient) -> None:
    """An API or a repository that is away is asked again; approving by command goes on."""
    try:
        await runs.look(client)
    except (*API_ERRORS, UiciError) as exc:
        structlog.get_logger(LOGGER_NAME).warning(
            "approvals_not_shown",
            error=f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}",
            consequence="uici approve shows them; Prefect does as soon as it answers",
        )


@dataclass(frozen=True, slots=True)
class ApprovalRuns:
    """One look at what waits and at the deployment's runs."""

    desk: Desk
    deployment: UUID

    async def look(self, client: PrefectClient) -> None:
        """Once."""
        shown = await in_thread(self.desk.all)
        runs = await self._runs(client)
        for each in shown:
            own = [run for run in runs if run.parameters.get("request") == each.request.id]
            if each.stands.standing is Standing.WAITING:
                await self._asked(client, each, own)
            else:
                await _ended(client, each, own)

    async def _runs(self, client: PrefectClient) -> list[FlowRun]:
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[self.deployment]))
        return await client.read_flow_runs(deployment_filter=wanted, limit=_PAGE)

    async def _asked(self, client: PrefectClient, shown: Shown, own: Sequence[FlowRun]) -> None:
        if any(not _final(run) for run in own) or len(own) >= _TRIES:
            return
        request = shown.request
        await client.create_flow_run_from_deployment(
            self.deployment,
            parameters={"request": request.id},
            name=title(request),
            tags=[TAG],
            # Asked twice at the same moment it is one run; after one that failed, another.
            idempotency_key=f"{request.id}-{len(own)}",
        )


async def _ended(client: PrefectClient, shown: Shown, own: Iterable[FlowRun]) -> None:
    for run in own:
        if run.state is not None and run.state.type in _IDLE:
            message = f"{shown.stands.standing.value}: {shown.stands.reason}"
            await client.set_flow_run_state(run.id, Cancelled(message=message), force=True)


def _final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()
