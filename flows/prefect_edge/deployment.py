"""The work pool and the deployments of `reconcile` and `propose`: made, updated, never twice.

What platform.yml says is written only where Prefect's server holds something else; a
schedule that a person paused in the UI stays paused. Neighbour: `flows.serve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import Flow
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.callables import parameter_schema

from flows.prefect_edge.worker import WORKER_TYPE, UiciWorker
from infrastructure.errors import PermanentError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

# Marks deployments that `uici serve` made: one that was renamed in platform.yml is found
# again by it and retired.
MANAGED_TAG = "uici:managed"
ENTRYPOINT = "flows/prefect_edge/flow.py:reconcile"
PROPOSE_ENTRYPOINT = "flows/prefect_edge/propose_flow.py:propose"
DESCRIPTION = """\
Heals services so that they are as Git says: observe, compare, plan, guard, execute, verify,
report.

Kept up to date by `uici serve` from `platform.yml`; change it there. Only one run works at a
time: one that is due while another works is cancelled, the next looks at the world anew.
"""


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What platform.yml says about the deployment."""

    name: str
    work_pool: str
    interval: timedelta
    tags: Sequence[str]

    @property
    def all_tags(self) -> list[str]:
        """The configured tags and UICI's own mark."""
        return sorted({*self.tags, MANAGED_TAG})


async def ensure_deployment(
    client: PrefectClient, flow: Flow[..., Any], spec: DeploymentSpec
) -> UUID:
    """Bring pool and deployment to what `spec` says; returns the deployment's id.

    Raises:
        PermanentError: a work pool of that name exists and is of another type.
    """
    await _ensure_pool(client, spec.work_pool)
    await _retire_others(client, flow, spec)
    schema = parameter_schema(flow).model_dump_for_openapi()
    try:
        existing = await client.read_deployment_by_name(f"{flow.name}/{spec.name}")
    except ObjectNotFound:
        existing = None
    if existing is not None and _matches(existing, spec, schema):
        return existing.id
    return await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=spec.name,
        work_pool_name=spec.work_pool,
        schedules=[
            DeploymentScheduleCreate(
                schedule=IntervalSchedule(interval=spec.interval), active=_is_active(existing)
            )
        ],
        paused=existing.paused if existing is not None else False,
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        parameters={},
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        description=DESCRIPTION,
        tags=spec.all_tags,
        entrypoint=ENTRYPOINT,
        path=None,
    )


async def ensure_by_hand(
    client: PrefectClient, flow: Flow[..., Any], spec: DeploymentSpec, *, entrypoint: str
) -> UUID:
    """A deployment without a schedule next to the other, in the same pool; its id."""
    return await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=spec.name,
        work_pool_name=spec.work_pool,
        schedules=[],
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        parameters={},
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        description=flow.description,
        tags=spec.all_tags,
        entrypoint=entrypoint,
        path=None,
    )


async def _ensure_pool(client: PrefectClient, name: str) -> None:
    try:
        await client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=WORKER_TYPE,
                description="UICI's warm workers: `uici serve`.",
                base_job_template=UiciWorker.get_default_base_job_template(),
            )
        )
    except ObjectAlreadyExists:
        pool = await client.read_work_pool(name)
        if pool.type != WORKER_TYPE:
            raise PermanentError(
                f"work pool {name} is of type {pool.type}, not {WORKER_TYPE}: set another "
                "prefect.workPool in platform.yml, or delete that pool"
            ) from None


async def _retire_others(client: PrefectClient, flow: Flow[..., Any], spec: DeploymentSpec) -> None:
    """Pause what an earlier name left behind: two schedules would reconcile twice."""
    managed = await client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow.name])),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[spec.work_pool])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[MANAGED_TAG])),
    )
    for deployment in managed:
        if deployment.name != spec.name and not deployment.paused:
            await client.update_deployment(deployment.id, DeploymentUpdate(paused=True))


def _is_active(existing: DeploymentResponse | None) -> bool:
    return existing is None or all(schedule.active for schedule in existing.schedules)


def _matches(existing: DeploymentResponse, spec: DeploymentSpec, schema: dict[str, Any]) -> bool:
    intervals = [
        s.schedule.interval if isinstance(s.schedule, IntervalSchedule) else None
        for s in existing.schedules
    ]
    limit = existing.global_concurrency_limit
    options = existing.concurrency_options
    return (
        intervals == [spec.interval]
        and limit is not None
        and limit.limit == 1
        and options is not None
        and options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
        and existing.work_pool_name == spec.work_pool
        and sorted(existing.tags) == spec.all_tags
        and existing.description == DESCRIPTION
        and existing.parameter_openapi_schema == schema
    )
