"""`uici run`: one operation that a person asks for, by the same way as the loop's own.

Through the guard, with an intent before and a report after; a read is only answered.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.act import act, admit
from flows.approvals.wiring import bring_branches
from flows.cases import Case, natives
from flows.comparison.drift import Incident
from flows.comparison.incidents import fingerprint
from flows.execute import runnable
from flows.guard import judge
from flows.guarding.reach import engine_access
from flows.listener import Listener, RunRequest
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from flows.pruning import find_stray
from flows.reconcile import Ending, acting, close, commit_intent, look
from flows.report import RunReport
from flows.runtime import Runtime
from flows.world import World
from infrastructure.config_models import Operation
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus, Risk


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person typed. `target` may be a name alone."""

    operation: str
    target: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A report where the world was to be changed, else what the read has answered."""

    outcome: OperationOutcome | None = None
    report: RunReport | None = None

    @property
    def succeeded(self) -> bool:
        """Of a read."""
        return self.outcome is not None and self.outcome.status is OutcomeStatus.SUCCEEDED


def parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """Pairs such as `replicas=2` as parameters; a value that is JSON is read as JSON.

    Raises:
        InvalidInputError: a pair without an equals sign.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            problem = Problem("--param", 0, 0, f"{pair} is no pair", "write --param name=value")
            raise InvalidInputError([problem])
        try:
            found[key] = json.loads(value)
        except (ValueError, RecursionError):
            found[key] = value
    return found


def changes(asked: Asked, runtime: Runtime) -> bool:
    """Whether it may change something; a read can be broken off anywhere.

    Raises:
        UnsupportedOperationError: no such operation.
    """
    return runtime.registry.get(asked.operation).risk is not Risk.READ


def run(asked: Asked, runtime: Runtime, listener: Listener, *, run_id: str) -> Done:
    """Carry it out.

    Raises:
        InvalidInputError: no such target.
        UnsupportedOperationError: no such operation.
        PermanentError: the parameters do not fit, or a read on a protected target.
    """
    operation = runtime.registry.get(asked.operation)
    request = RunRequest(None, (asked.target,), None, run_id)
    _require(operation, asked)
    _require_lists(operation, asked)
    given = runtime.registry.validate(asked.operation, asked.parameters)
    if not changes(asked, runtime):
        world = runtime.open_world(request)
        world.look(world.selected)  # what the engine tells of secrets is cut out of the answer
        call = OperationCall(asked.operation, world.selected[0], given)
        return Done(outcome=world.guarded.read(call, deadline=world.deadline))
    started = runtime.clock.now()
    with runtime.one_run_at_a_time():
        world, orphans = _opened(operation, request, runtime)
        sight = look(world)
        step = PlanStep(asked.operation, world.selected[0], given, "a person asked for it")
        incident = _incident(world, step, sight.comparison.drifts)
        plan = _plan(incident, step)
        verdicts = judge(
            plan,
            incident,
            # Suspensions, silences, spent attempts and cool-downs hold the loop, not the
            # person who looks; windows, freezes and pauses hold everybody.
            replace(
                world.guard_input(
                    natives(sight.seen),
                    held={},
                    breaker=sight.comparison.breaker,
                    engine_access=engine_access(
                        sight.seen, world.config.platform.guard.engine_access
                    ),
                ),
                attempts={},
                acted={},
                orphans=orphans,
                approved=world.approvals.of_plan(plan, incident),
            ),
        )
        listener.judged(incident, verdicts)
        case = Case(incident, Evidence(), plan, verdicts, runnable(verdicts))
        ready, held = admit([case], (), acting(world, listener, sight, world.desired.stale))
        intent = commit_intent(runtime, world, sight, ready, listener=listener)
        done = act(intent.cases, acting(world, listener, sight, intent.unpushed))
        reports = (*done, *held, *intent.spent)
        report = close(runtime, world, sight, Ending(started, intent, reports, ()))
        bring_branches(runtime, world, report)
    listener.run_finished(report)
    return Done(report=report)


def _opened(
    operation: Operation, request: RunRequest, runtime: Runtime
) -> tuple[World, Mapping[str, str | None]]:
    """The world, and why what is to be pruned must stay there, if it must."""
    if not operation.prunes:
        return runtime.open_world(request), {}
    (name,) = request.targets or ("",)
    whole = runtime.open_world(replace(request, targets=None))
    stray = find_stray(whole, whole.look(whole.selected), name)
    target = stray.service.target
    world = runtime.open_world(replace(request, targets=(target,)), strays={target: stray.service})
    return world, {target: stray.stays}


def _require(operation: Operation, asked: Asked) -> None:
    """Name what is missing as a person would write it."""
    schema = operation.parameters
    missing = [name for name in schema.get("required", ()) if name not in asked.parameters]
    if missing:
        properties = schema.get("properties", {})
        add = " ".join(f"-p {name}={_example(properties.get(name, {}))}" for name in missing)
        raise PermanentError(f"{asked.operation} needs {' and '.join(missing)}: add {add}")


def _require_lists(operation: Operation, asked: Asked) -> None:
    """A word where a list or a mapping belongs: show how a shell takes it."""
    for name, schema in operation.parameters.get("properties", {}).items():
        given, kind = asked.parameters.get(name), schema.get("type")
        if not isinstance(given, str) or kind not in ("array", "object"):
            continue
        shown = shlex.quote(json.dumps(shlex.split(given) if kind == "array" else {"NAME": given}))
        what = "a list" if kind == "array" else "a mapping"
        raise PermanentError(f"{asked.operation}: {name} is {what}: write -p {name}={shown}")


def _example(schema: Mapping[str, Any]) -> str:
    """A value of the kind that a parameter takes."""
    if "enum" in schema:
        return str(schema["enum"][0])
    return _EXAMPLES.get(str(schema.get("type")), "VALUE")


_EXAMPLES: Mapping[str, str] = {
    "integer": "2",
    "number": "0.5",
    "boolean": "true",
    "array": """'["VALUE"]'""",
    "object": """'{"NAME": "VALUE"}'""",
}


def _incident(world: World, step: PlanStep, drifts: Sequence[Any]) -> Incident:
    own = tuple(drift for drift in drifts if drift.target == step.target)
    return Incident(
        fingerprint=fingerprint(own, world.services, world.comparing.lacking),
        environment=world.services[step.target].metadata.environment,
        root=step.target,
        targets=(step.target,),
        drifts=own,
    )


def _plan(incident: Incident, step: PlanStep) -> Plan:
    return Plan(
        fingerprint=incident.fingerprint,
        planner=PlannerKind.PERSON,
        planner_reason="uici run",
        diagnosis="a person asked for this operation",
        confidence=1.0,
        evidence=(),
        steps=(step,),
    )
