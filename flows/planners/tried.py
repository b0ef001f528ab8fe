"""Plans that were carried out on a target's present spec and did not help.

None of them is carried out again before the target recovers or Git declares something
else. One that helped for a while only (`flows.learning.relapse`) counts as tried against the
same class of incidents, whether or not the target has recovered since, until its time is over.
Two plans are the same when they do the same, however it is written: operations that read or
tell do nothing, nor does a step that repeats the one before it; defaults need not be written,
and incidental parameters (operations.yml) say how patiently and not what.
Neighbours: `flows.reporting.status` (where they are kept), the planners.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from flows.comparison.drift import Incident
from flows.learning.incident_class import class_name, class_of
from flows.learning.relapse import RelapseWindow, by_itself
from flows.plan import Evidence, Plan
from flows.reporting.status import PastIncident, TargetStatus, TriedPlan
from infrastructure.errors import UiciError
from infrastructure.observed import empty
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import Risk
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
    """By target. `registry`: what operations do; `open_ended`: those of which nobody knows."""

    by_target: Mapping[str, tuple[TriedPlan, ...]] = field(default_factory=empty)
    registry: OperationRegistry | None = None
    relapsing: Relapsing | None = None
    open_ended: Mapping[str, tuple[TriedPlan, ...]] = field(default_factory=empty)

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
        attempts = {
            target: status.attempts
            for target, status in statuses.items()
            if status.attempts is not None
            and target in services
            and status.attempts.spec_digest == services[target].spec_digest
        }
        return cls(
            {target: each.tried for target, each in attempts.items()},
            registry,
            replace(relapsing, histories=histories) if relapsing is not None else None,
            {target: each.open_ended for target, each in attempts.items() if each.open_ended},
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
        return next(self._alike(root, plan, tried), None) if tried else None

    def ended_open(self, root: str, plan: Plan) -> int:
        """How often a plan like this one ended without anybody knowing what it is worth."""
        return sum(1 for _ in self._alike(root, plan, self.open_ended.get(root, ())))

    def _alike(self, root: str, plan: Plan, past: Iterable[TriedPlan]) -> Iterator[TriedPlan]:
        steps = ((s.operation, s.target, s.parameters) for s in plan.steps)
        does = deeds(steps, self.registry)
        for each in past:
            done = ((s.operation, s.target or root, s.parameters) for s in each.steps)
            if each.remedy == plan.remedy or (does and deeds(done, self.registry) == does):
                yield each


def deeds(
    steps: Iterable[tuple[str, str, Mapping[str, Any]]], registry: OperationRegistry | None
) -> tuple[str, ...]:
    """What steps (operation, target, parameters) do to the world: equal for the same.

    Empty: nothing. Without a registry every step does something.
    """
    done = (_deed(*step, registry) for step in steps)
    return tuple(deed for deed, _ in groupby(deed for deed in done if deed))


def _deed(
    operation: str, target: str, parameters: Mapping[str, Any], registry: OperationRegistry | None
) -> str:
    plain = dict(parameters)
    if registry is not None:
        try:
            declared = registry.get(operation)
            if declared.risk is Risk.READ:
                return ""
            plain = registry.validate(operation, parameters)
            plain = {k: v for k, v in plain.items() if k not in declared.incidental}
        except UiciError:
            pass  # it never ran like this; as it was written, then
    return json.dumps([operation, target, plain], sort_keys=True, default=str)


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
