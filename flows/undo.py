"""Take back what did not help: the inverse of a plan's steps, where one may run.

Live operations only restore what Git declares, so most inverses are forbidden: they would
bring the drift back. What is left are steps that went above Git within the Service's own
limits: more replicas, more memory or CPU. When such a plan is verified not to have helped, the
target goes back to where it was. Inverses are judged by the same guard before the intent is
committed, and stand in it. Neighbours: `flows.reconcile`, `flows.act` (call), docs/adr/0014.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from flows.cases import Case
from flows.execute import Execution
from flows.guard import Decision, GuardInput, Verdict, judge
from flows.plan import Plan, PlannerKind, PlanStep
from flows.world import World
from infrastructure.errors import UiciError
from infrastructure.observed import ObservedInstance
from infrastructure.operations import OperationOutcome, OutcomeStatus
from infrastructure.templates import render

_log = structlog.get_logger("uici")

Values = Mapping[str, Any]  # of a target, by the names that templates of inverses see


def with_undo(
    cases: Sequence[Case],
    world: World,
    before: Mapping[str, tuple[ObservedInstance, ...]],
    guard: GuardInput,
) -> tuple[Case, ...]:
    """The cases with the inverses of their steps that may run, by the steps' positions.

    Args:
        cases: about to be committed.
        world: of the run.
        before: instances of each target as observed.
        guard: as for the plans; taking back is no attempt, and needs no rest.
    """
    free = replace(guard, attempts={}, acted={}, used_targets=frozenset(), used_steps=0)
    return tuple(
        replace(case, undo=_inverses(case, world, before, free)) if case.changes else case
        for case in cases
    )


def _inverses(
    case: Case,
    world: World,
    before: Mapping[str, tuple[ObservedInstance, ...]],
    guard: GuardInput,
) -> dict[int, Verdict]:
    found: dict[int, Verdict] = {}
    for position, verdict in enumerate(case.steps):
        known = values_of(before.get(verdict.step.target, ()))
        step = _inverse(verdict.step, world, known) if known is not None else None
        if step is None:
            continue
        plan = _alone(case, step)
        (answer,) = judge(plan, case.incident, guard)
        if answer.decision is Decision.ALLOWED:
            found[position] = answer
    return found


def _alone(case: Case, step: PlanStep) -> Plan:
    return Plan(
        fingerprint=case.plan.fingerprint,
        planner=PlannerKind.NONE,
        planner_reason="the plan did not help",
        diagnosis=case.plan.diagnosis,
        confidence=1.0,
        evidence=(),
        steps=(step,),
    )


def _inverse(step: PlanStep, world: World, before: Values) -> PlanStep | None:
    """What would take the step back; None: nothing, or it has no sense here."""
    inverse = world.registry.get(step.operation).inverse
    if inverse is None:
        return None
    try:
        given = render(inverse.parameters, {"parameters": dict(step.parameters), "before": before})
        if inverse.operation == step.operation:  # what the step left alone is left alone
            given = _of_same_names(given, step.parameters)
        given = world.registry.validate(inverse.operation, given)
    except UiciError as exc:
        _log.debug("no_inverse", operation=step.operation, reason=str(exc))
        return None
    if inverse.operation == step.operation and given == dict(step.parameters):
        return None
    why = f"takes {step.operation} back, which did not help"
    return PlanStep(inverse.operation, step.target, given, why)


def _of_same_names(values: Values, named: Values) -> dict[str, Any]:
    return {
        key: _of_same_names(value, named[key])
        if isinstance(value, Mapping) and isinstance(named[key], Mapping)
        else value
        for key, value in values.items()
        if key in named and value is not None
    }


def values_of(instances: Sequence[ObservedInstance]) -> dict[str, Any] | None:
    """What the templates of inverses see; None: nothing is there, or replicas differ."""
    specs = [instance.spec for instance in instances]
    if not specs:
        return None
    first = specs[0]
    alike = all(
        (s.image, s.env, s.memory, s.cpu) == (first.image, first.env, first.memory, first.cpu)
        for s in specs
    )
    if not alike:
        return None
    return {
        "image": first.image,
        "env": dict(first.env),
        "memory": first.memory,
        "cpu": None if first.cpu is None else str(first.cpu),
        "replicas": len(specs),
    }


def undo(
    case: Case,
    execution: Execution,
    world: World,
    before: Mapping[str, tuple[ObservedInstance, ...]],
    done: Callable[[OperationOutcome], None],
) -> tuple[tuple[OperationOutcome, ...], str]:
    """Take back the steps that were done, the last one first.

    Nothing is taken back while it is unknown what a step has done.

    Returns:
        What was done, and how the target stands by that; both empty: nothing was to be done.
    """
    certain = (OutcomeStatus.SUCCEEDED, OutcomeStatus.FAILED, OutcomeStatus.SKIPPED)
    if any(outcome.status not in certain for outcome in execution.outcomes):
        return (), ""
    outcomes: list[OperationOutcome] = []
    for position, outcome in reversed(list(enumerate(execution.outcomes))):
        verdict = case.undo.get(position)
        if verdict is None or not outcome.changed or outcome.status is not OutcomeStatus.SUCCEEDED:
            continue
        outcomes.append(world.guarded.run(verdict, deadline=world.deadline))
        done(outcomes[-1])
        if outcomes[-1].status is not OutcomeStatus.SUCCEEDED:
            return tuple(outcomes), f"taking it back ended in: {outcomes[-1].error}"
    if not outcomes:
        return (), ""
    return tuple(outcomes), _as_before(outcomes, world, before)


def _as_before(
    outcomes: Sequence[OperationOutcome],
    world: World,
    before: Mapping[str, tuple[ObservedInstance, ...]],
) -> str:
    targets = sorted({outcome.call.target for outcome in outcomes})
    seen = world.look_again(targets)
    names = ", ".join(dict.fromkeys(outcome.call.operation for outcome in outcomes))
    for target in targets:
        engine = seen.environments[target.partition("/")[0]].engine
        found = engine.services.get(target) if engine is not None else None
        now = values_of(found.instances) if found is not None else None
        then = values_of(before.get(target, ()))
        keys = {key for o in outcomes if o.call.target == target for key in o.call.parameters}
        if now is None or then is None or any(now.get(k) != then.get(k) for k in keys):
            return f"taken back by {names}, and it can't be seen that {target} is as before"
    return f"taken back by {names}"
