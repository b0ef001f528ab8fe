"""Plans that were carried out on a target's present spec and did not help.

None of them is carried out again before the target recovers or Git declares something
else. Two plans are the same when their steps are, however their defaults are written.
Neighbours: `flows.reporting.status` (where they are kept), the planners.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.plan import Plan
from flows.reporting.status import TargetStatus, TriedPlan
from infrastructure.errors import UiciError
from infrastructure.observed import empty
from infrastructure.operation_registry import OperationRegistry
from infrastructure.service import Service


@dataclass(frozen=True, slots=True)
class TriedPlans:
    """By target; `registry` completes parameters with their defaults."""

    by_target: Mapping[str, tuple[TriedPlan, ...]] = field(default_factory=empty)
    registry: OperationRegistry | None = None

    @classmethod
    def remembered(
        cls,
        statuses: Mapping[str, TargetStatus],
        services: Mapping[str, Service],
        registry: OperationRegistry,
    ) -> TriedPlans:
        """Those of the statuses whose spec is still the same."""
        return cls(
            {
                target: status.attempts.tried
                for target, status in statuses.items()
                if status.attempts is not None
                and target in services
                and status.attempts.spec_digest == services[target].spec_digest
            },
            registry,
        )

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


def told(past: TriedPlan) -> str:
    """`restart (runbook)`."""
    return f"{', '.join(step.operation for step in past.steps)} ({past.planner})"
