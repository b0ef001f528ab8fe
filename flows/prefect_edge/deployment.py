"""The work pool and the deployments of UICI's flows: made, updated, never twice.

What the configuration says is written only where Prefect's server holds something else; a
schedule that a person paused in the UI stays paused. Neighbours: `flows.prefect_edge.choices`
(what the forms offer), `flows.prefect_edge.worker_thread` (calls this at `uici serve`'s start
and whenever a run has read another desired state).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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

from flows.prefect_edge.choices import Choices, form_schema
from flows.prefect_edge.worker import WORKER_TYPE, UiciWorker
from infrastructure.config_models import PrefectSettings
from infrastructure.errors import PermanentError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

# Marks deployments that `uici serve` made: one that was renamed in platform.yml is found
# again by it and retired.
MANAGED_TAG = "uici:managed"
_ONE_AT_A_TIME = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One deployment as it should be.

    Attributes:
        name: of the deployment; the flow has its own.
        work_pool: made if it is not there.
        tags: without UICI's own mark.
        entrypoint: where the flow stands.
        description: Markdown, for the deployment's page.
        interval: of its schedule; None: it is started by hand.
        one_at_a_time: a run that is due while another works is cancelled.
        choices: what its form offers.
    """

    name: str
    work_pool: str
    tags: Sequence[str]
    entrypoint: str
    description: str
    interval: timedelta | None = None
    one_at_a_time: bool = True
    choices: Choices = field(default_factory=Choices)

    @property
    def all_tags(self) -> list[str]:
        """The configured tags and UICI's own mark."""
        return sorted({*self.tags, MANAGED_TAG})


def reconcile_spec(
    settings: PrefectSettings, interval: timedelta, choices: Choices
) -> DeploymentSpec:
    """The deployment that heals, by its schedule and by hand."""
    return DeploymentSpec(
        name=settings.deployment,
        work_pool=settings.work_pool,
        tags=settings.tags,
        entrypoint="flows/prefect_edge/flow.py:reconcile",
        description=_RECONCILE,
        interval=interval,
        choices=choices,
    )


def propose_spec(settings: PrefectSettings, choices: Choices) -> DeploymentSpec:
    """The deployment that proposes another desired state, by hand."""
    return DeploymentSpec(
        name=settings.deployment,
        work_pool=settings.work_pool,
        tags=settings.tags,
        entrypoint="flows/prefect_edge/propose_flow.py:propose",
        description=_PROPOSE,
        choices=choices,
    )


def approve_spec(settings: PrefectSettings, tag: str) -> DeploymentSpec:
    """The deployment of the forms, as many at once as requests wait."""
    return DeploymentSpec(
        name=settings.deployment,
        work_pool=settings.work_pool,
        tags=(*settings.tags, tag),
        entrypoint="flows/prefect_edge/approve_flow.py:approve",
        description=_APPROVE,
        one_at_a_time=False,
    )


async def ensure_deployment(
    client: PrefectClient, flow: Flow[..., Any], spec: DeploymentSpec
) -> UUID:
    """Bring pool and deployment to what `spec` says; returns the deployment's id.

    Raises:
        PermanentError: a work pool of that name exists and is of another type.
    """
    await _ensure_pool(client, spec.work_pool)
    if spec.interval is not None:
        await _retire_others(client, flow, spec)
    try:
        existing = await client.read_deployment_by_name(f"{flow.name}/{spec.name}")
    except ObjectNotFound:
        existing = None
    registered = existing.parameter_openapi_schema if existing is not None else None
    schema = form_schema(flow, spec.choices, registered)
    if existing is not None and _matches(existing, spec, schema):
        return existing.id
    return await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=spec.name,
        work_pool_name=spec.work_pool,
        schedules=_schedules(spec, existing),
        paused=existing.paused if existing is not None else False,
        concurrency_limit=1 if spec.one_at_a_time else None,
        concurrency_options=_ONE_AT_A_TIME if spec.one_at_a_time else None,
        parameters={},
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        description=spec.description,
        tags=spec.all_tags,
        entrypoint=spec.entrypoint,
        path=None,
    )


@dataclass(slots=True)
class Registration:
    """One deployment that is kept up to date while the process lives."""

    id: UUID
    flow: Flow[..., Any]
    spec: DeploymentSpec

    async def refresh(self, client: PrefectClient, choices: Choices) -> None:
        """Have its form offer these; nothing is asked of the server when it does already."""
        if choices == self.spec.choices:
            return
        spec = replace(self.spec, choices=choices)
        await ensure_deployment(client, self.flow, spec)
        self.spec = spec


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


def _schedules(
    spec: DeploymentSpec, existing: DeploymentResponse | None
) -> list[DeploymentScheduleCreate]:
    if spec.interval is None:
        return []
    active = existing is None or all(schedule.active for schedule in existing.schedules)
    schedule = IntervalSchedule(interval=spec.interval)
    return [DeploymentScheduleCreate(schedule=schedule, active=active)]


def _matches(existing: DeploymentResponse, spec: DeploymentSpec, schema: dict[str, Any]) -> bool:
    intervals = [
        s.schedule.interval if isinstance(s.schedule, IntervalSchedule) else None
        for s in existing.schedules
    ]
    return (
        intervals == ([] if spec.interval is None else [spec.interval])
        and _limited(existing) is spec.one_at_a_time
        and existing.work_pool_name == spec.work_pool
        and sorted(existing.tags) == spec.all_tags
        and existing.description == spec.description
        and existing.entrypoint == spec.entrypoint
        and existing.parameter_openapi_schema == schema
    )


def _limited(existing: DeploymentResponse) -> bool:
    """Whether it runs one at a time, and the others are cancelled."""
    limit = existing.global_concurrency_limit
    options = existing.concurrency_options
    return (
        limit is not None
        and limit.limit == 1
        and options is not None
        and options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
    )


_RECONCILE = """\
**Heals services so that they are as Git says**: observe, compare, plan, guard, execute, verify,
report.

- **Run → Quick run** looks at everything now. **Custom run** narrows it to environments, to
  services, or to a mode: *observe* looks, *propose* plans, *enforce* acts. A mode never allows
  more than desired state and configuration do.
- A run's name says what came of it. Its page has the report, the drift and the plan with the
  guard's verdicts under **Artifacts**.
- Only one run works at a time: one that is due meanwhile is cancelled, the next looks anew.

Kept up to date by `uici serve` from `platform.yml`: change it there. A schedule that is paused
here stays paused.
"""
_PROPOSE = """\
**Proposes another desired state where the same drift recurs**, as a branch for a pull request.

Every run of `reconcile` looks for such drift by itself; this one is for looking now. With
**dry run** it says what it would propose, writes nothing and asks no model.

Kept up to date by `uici serve` from `platform.yml`: change it there.
"""
_APPROVE = """\
**Asks a person whether a plan that waits may be carried out.** Each request has one paused run:
open it, read it, and choose **Resume** to fill in the form. An approval holds for exactly that
plan, once, until it expires; `uici approve` and a pull request say the same.

UICI makes these runs by itself. Kept up to date by `uici serve` from `platform.yml`.
"""
