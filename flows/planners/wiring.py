"""The planners of a run in the order in which they are asked. Wiring only.

`flows.runtime` hands in what lives as long as the process; `flows.planners.order` asks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flows.learning.relapse import RelapseWindow
from flows.llm.assembly import make_llm_planner
from flows.llm.budget import OnRequest
from flows.llm.isolation import ReadOperation
from flows.llm.planner import PlanningWorld
from flows.plan import Planner
from flows.planners.learned import LearnedPlanner
from flows.planners.runbook import RunbookPlanner
from flows.planners.tried import Relapsing, TriedPlans
from flows.reporting.status import Reported
from flows.world import executor_types
from infrastructure.config_loader import UniversalConfig
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome
from infrastructure.service import Service
from infrastructure.universal_interface import UniversalInfrastructureInterface

if TYPE_CHECKING:
    from flows.guard import GuardedInterface


def planners_over(
    services: Mapping[str, Service],
    reported: Reported,
    *,
    config: UniversalConfig,
    interface: UniversalInfrastructureInterface,
    guarded: GuardedInterface,
    registry: OperationRegistry,
    redact: Callable[[str], str],
    now: Callable[[], datetime],
    on_llm_request: OnRequest,
) -> tuple[Planner, ...]:
    """What has helped before, then the model, then the runbooks.

    Args:
        services: desired state by target.
        reported: what earlier runs have learned and tried.
        config: the process's.
        interface: tells what each target can do.
        guarded: the only way in which the model's look-ups reach an engine.
        registry: the declared operations.
        redact: cuts secrets out of what the model is told.
        now: clock with time zone.
        on_llm_request: is told of each request to the model.
    """
    platform = config.platform
    executors = executor_types(config)
    window = RelapseWindow(platform.learning.relapse_within, now())
    tried = TriedPlans.remembered(
        reported.statuses, services, registry, Relapsing(window, executors)
    )
    learned = LearnedPlanner(
        reported.knowledge,
        services,
        executors,
        registry,
        interface.capabilities,
        trust_after=platform.learning.trust_after,
        give_way_after=platform.learning.give_way_after,
        refusal=interface.refusal,
        tried=tried,
    )
    model = make_llm_planner(
        platform,
        platform.agent,
        config.get_agent(),
        PlanningWorld(
            services,
            registry,
            interface.capabilities,
            redact,
            read=_reader(guarded, now),
        ),
        config_directory=config.directory,
        data_directory=config.data_directory,
        now=now,
        on_request=on_llm_request,
    )
    runbooks = RunbookPlanner(
        config.runbooks,
        services,
        interface.capabilities,
        interface.refusal,
        tried=tried,
    )
    return (learned, model, runbooks)


def _reader(guarded: GuardedInterface, now: Callable[[], datetime]) -> ReadOperation:
    """For a model's look-ups: the guard's reads, within so many seconds."""

    def read(call: OperationCall, seconds: float) -> OperationOutcome:
        return guarded.read(call, deadline=now() + timedelta(seconds=seconds))

    return read
