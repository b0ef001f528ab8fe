"""`uici plan`: stages 1 to 4 without the power to act. Nothing is committed or executed.

It plans as a run would, and for targets that are only observed, too. An incident that a run
leaves alone, or does not ask the model about again, costs nothing here, either; a new one does,
within the same budgets. What the model has answered is kept for a while
(`flows.llm.answer_book`): the next preview and the run that acts do not ask the same again. What
it has cost is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flows.cases import Case, LeftAlone, open_cases
from flows.command_line.grace import Grace
from flows.compare import Comparison
from flows.listener import NullListener, RunRequest
from flows.llm.planner import NoLlm
from flows.observe import Observation, SourceFailure
from flows.plan import Planner, PlannerKind
from flows.pruning import stray_targets, strays_stay
from flows.reconcile import look
from flows.repository.contract import DesiredState
from flows.runtime import Runtime
from flows.world import World
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import empty


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would find and do now."""

    desired: DesiredState
    comparison: Comparison
    failures: tuple[SourceFailure, ...]
    cases: tuple[Case, ...]
    left: tuple[LeftAlone, ...]
    grace: Grace
    # Environment with policy.prune and strays → whether a person may remove these, and why not.
    strays: Mapping[str, str] = field(default_factory=empty)

    @property
    def differs(self) -> bool:
        """Whether anything declared differs, also where nothing would be done about it."""
        drifts = (*self.comparison.drifts, *self.comparison.pending)
        return any(drift.kind is not DriftKind.ORPHAN for drift in drifts)

    @property
    def nothing_in_force(self) -> bool:
        """Whether the newest commit is refused and none before it is known to be valid.

        Beside nothing at all, everything that runs would look superfluous.
        """
        return self.desired.refused_revision is not None and not self.desired.services

    @property
    def of_newest(self) -> bool:
        """Whether this is about what Git says now, and not about an older commit in its place."""
        return self.desired.refused_revision is None and self.desired.stale is None


def preview(request: RunRequest, runtime: Runtime, *, unasked: str = "") -> Preview:
    """Look, compare, plan and judge.

    Args:
        request: what is looked at.
        runtime: of the process.
        unasked: why no model is asked; what it would be asked is planned by those after it.
            Empty: it is asked.

    Raises:
        InvalidInputError: the request names what is not there.
        TemporaryError: no desired state could be read, now or ever before.
    """
    world = runtime.open_world(request)
    if unasked:
        world = _without_model(world, unasked)
    sight = look(world)
    cases, left = open_cases(world, sight.comparison, sight.seen, NullListener(), observed_too=True)
    failures = tuple(f for e in sight.seen.environments.values() for f in e.failures)
    strays = _strays(world, sight.comparison, sight.seen)
    grace = Grace(
        world.config.platform.compare.grace, world.comparing.first_seen, runtime.clock.now()
    )
    return Preview(world.desired, sight.comparison, failures, cases, left, grace, strays)


def _without_model(world: World, why: str) -> World:
    nobody = NoLlm(f"the LLM is not asked: {why}")

    def unasked(planner: Planner) -> Planner:
        """One that nothing is configured for says so itself."""
        asks = planner.kind is PlannerKind.LLM and not isinstance(planner, NoLlm)
        return nobody if asks else planner

    planners = (unasked(planner) for planner in world.planners)
    return replace(world, planners=tuple(planners))


def _strays(world: World, comparison: Comparison, seen: Observation) -> dict[str, str]:
    found = {d.target.partition("/")[0] for d in comparison.drifts if d.kind is DriftKind.ORPHAN}
    strays, told = stray_targets(seen), {}
    for environment in sorted(found):
        if world.config.environments.environments[environment].policy.prune is None:
            continue
        reason = strays_stay(world, environment, sorted(strays))
        told[environment] = (
            f"must stay: {reason}" if reason else "may be removed, by uici run prune TARGET"
        )
    return told
