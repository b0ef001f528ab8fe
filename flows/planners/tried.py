"""Plans that were carried out on a target's present spec and did not help.

None of them is carried out again before the target recovers or Git declares something
else. One that helped for a while only (`flows.learning.relapse`) counts as tried against the
same class of incidents, whether or not the target has recovered since, until its time is over.
Two plans are the same when their steps are, however their defaults are written.
Neighbours: `flows.reporting.status` (where they are kept), the planners.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flows.comparison.drift import Incident
from flows.learning.incident_class import class_name, class_of
from flows.learning.relapse import RelapseWindow, by_itself
from flows.plan import Evidence, Plan
from flows.reporting.status import PastIncident, TargetStatus, TriedPlan
from infrastructure.errors import UiciError
from infrastructure.observed import empty
from infrastructure.operation_registry import OperationRegistry
from infrastructure.service import Service


@dataclass(frozen=True, slots=True)
class Relapsing:
    """What of the histories may have been in vain: of each target, with its spec's digest.

    `executors`: type of each environment's executor.
    """

    window: RelapseWindow
    executors: Mapping[str, str]
    histories: Mapping[str, tuple[str, tuple[PastIncident, ...]]] = field(default_factory=empty)

    def of(self, incident: Incident, evidence: Evidence) -> tuple[TriedPlan, ...]:
        """Plans that this incident shows to have helped for a while only, the oldest first."""
        digest, history = self.histories.get(incident.root, ("", ()))
        if not history or not by_itself(incident):
            return ()
        executor = self.executors.get(incident.environment, "unknown")
        name = class_name(class_of(incident, evidence, executor))
        found = self.window.of(history, incident_class=name, spec_digest=digest)
        return tuple(map(_relapsed, found))


@dataclass(frozen=True, slots=True)
class TriedPlans:
    """By target; `registry` completes parameters with their defaults."""

    by_target: Mapping[str, tuple[TriedPlan, ...]] = field(default_factory=empty)
    registry: OperationRegistry | None = None
    relapsing: Relapsing | None = None

    @classmethod
    def remembered(
        cls,
        statuses: Mapping[str, TargetStatus],
        services: Mapping[str, Service],
        registry: OperationRegistry,
        relapsing: Relapsing | None = None,
    ) -> TriedPlans:
        """Those of the statuses whose spec is still the same.

        Args:
            statuses: what is remembered of each target.
            services: desired state.
            registry: the operations.
            relapsing: for how long a recovery may prove to be none; None: that is not asked.
        """
        histories = {
            target: (services[target].spec_digest, status.history)
            for target, status in statuses.items()
            if relapsing is not None and status.history and target in services
        }
        return cls(
            {
                target: status.attempts.tried
                for target, status in statuses.items()
                if status.attempts is not None
                and target in services
                and status.attempts.spec_digest == services[target].spec_digest
            },
            registry,
            replace(relapsing, histories=histories) if relapsing is not None else None,
        )

    def about(self, incident: Incident, evidence: Evidence) -> TriedPlans:
        """With what this incident shows to have helped for a while only."""
        found = self.relapsing.of(incident, evidence) if self.relapsing is not None else ()
        if not found:
            return self
        root = incident.root
        both = tuple(sorted((*found, *self.of(root)), key=lambda past: past.at))
        return replace(self, by_target={**self.by_target, root: both}, relapsing=None)

    def of(self, target: str) -> tuple[TriedPlan, ...]:
        """Plans for this root, the oldest first."""
        return self.by_target.get(target, ())

    def same(self, root: str, plan: Plan) -> TriedPlan | None:
        """The tried plan that this one would repeat."""
        tried = self.of(root)
        if not tried:
            return None
        own = all(step.target == root for step in plan.steps)
        steps = self._key((s.operation, s.parameters) for s in plan.steps)
        for past in tried:
            if past.remedy == plan.remedy:
                return past
            if own and self._key((s.operation, s.parameters) for s in past.steps) == steps:
                return past
        return None

    def _key(self, steps: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
        return json.dumps([[o, self._complete(o, p)] for o, p in steps], sort_keys=True)

    def _complete(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if self.registry is not None:
            try:
                return self.registry.validate(operation, parameters)
            except UiciError:
                pass  # it never ran like this; as it was written, then
        return dict(parameters)


NOTHING_TRIED = TriedPlans()


def _relapsed(past: PastIncident) -> TriedPlan:
    """A plan of the history, which has its steps: it is known by them."""
    return TriedPlan(
        remedy="",
        planner=past.planner,
        steps=past.steps,
        at=past.at,
        result="it helped, and the fault came back",
    )


def told(past: TriedPlan) -> str:
    """`restart (runbook)`."""
    return f"{', '.join(step.operation for step in past.steps)} ({past.planner})"
