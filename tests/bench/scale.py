"""Many simulated targets through the pure stages: compare, plan by runbook, guard.

One process a size, because memory that a process once had it keeps:
`python -m tests.bench.scale SIZE` prints one JSON document. Every hundredth target
drifts, in turn stopped, missing and with a memory limit changed by hand; all of them are
unhealthy by nobody's word but the engine's, and the limits of the guard are raised, so
that every plan is judged to its end.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from executors.translator import CommandTranslator
from flows.compare import CompareInput, Comparison, compare, confirm, unconfirmed_for
from flows.guard import Decision, GuardInput, Verdict, judge
from flows.observe import Observation
from flows.plan import Declined, Evidence, Plan
from flows.planners.runbook import RunbookPlanner
from flows.policy import effective_policy
from infrastructure.config_loader import UniversalConfig, UniversalConfigLoader
from infrastructure.config_models import BlastRadius
from infrastructure.observed import MetricReading, ObservedService, Reading
from infrastructure.operation_registry import OperationRegistry
from infrastructure.service import Service
from tests.bench.table import Aim, Of, Row
from tests.builders import (
    AGENT,
    ENVIRONMENT,
    NOW,
    as_declared,
    comparing,
    instance_of,
    observation,
    service,
    services,
    stopped,
)

NAME = "simulated targets"
_STAGES = ("compare", "confirm", "plan", "guard")
_DRIFTING = 100  # one in so many
# Ten times the targets may cost so many times as much each: caches get too small.
_LINEAR = Aim(1.5, Of.RATIO)
_CONFIRM_AFTER = timedelta(seconds=1)
T = TypeVar("T")


def measure(sizes: tuple[int, ...]) -> Iterator[Row]:
    """Rows for each size, and of the largest against the smallest, per target."""
    results = {size: _in_process(size) for size in sizes}
    for size, result in results.items():
        took = result["seconds"]
        parts = ", ".join(f"{stage} {took[stage]:.2f}" for stage in _STAGES)
        note = f"{result['incidents']} incidents; {parts} s"
        yield Row(NAME, f"{size} targets", sum(took.values()), "s", note=note)
        yield Row(
            NAME,
            f"{size} targets: peak memory",
            result["peak"],
            "B",
            "inputs alone",
            result["inputs"],
        )
    small, large = min(sizes), max(sizes)
    if small < large:
        for what, of in (("seconds", _seconds), ("memory", _memory)):
            yield Row(
                NAME,
                f"linear: {what} a target at {large}",
                of(results[large]) / large,
                "s" if what == "seconds" else "B",
                f"at {small}",
                of(results[small]) / small,
                _LINEAR,
            )


def _seconds(result: dict[str, Any]) -> float:
    return float(sum(result["seconds"].values()))


def _memory(result: dict[str, Any]) -> float:
    return float(result["peak"] - result["empty"])


def _in_process(size: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.bench.scale", str(size)]
    done = subprocess.run(argv, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def simulate(size: int) -> dict[str, Any]:
    """One size, in this process: seconds of each stage, peak resident memory in bytes."""
    config = UniversalConfigLoader().load()
    empty = _peak()
    all_services = services(*(_service(number) for number in range(size)))
    seen = _world(all_services)
    given = comparing(all_services)
    guard = _guard(config, all_services)
    planner = RunbookPlanner(config.runbooks, all_services, guard.capabilities)
    for one in all_services.values():  # once a commit, not once a run
        _ = one.target, one.spec_digest
    gc.collect()
    inputs = _peak()
    took: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], T]) -> T:
        begin = time.perf_counter()
        result = work()
        took[stage] = time.perf_counter() - begin
        return result

    first = timed("compare", lambda: compare(given, seen, now=NOW))
    comparison = timed("confirm", lambda: _confirmed(given, first, seen))
    plans = timed("plan", lambda: [planner.plan(i, Evidence()) for i in comparison.incidents])
    verdicts = timed("guard", lambda: _judged(comparison, plans, guard))
    allowed = sum(verdict.decision is Decision.ALLOWED for verdict in verdicts)
    if not len(comparison.incidents) == size // _DRIFTING <= allowed:
        raise RuntimeError(f"{len(comparison.incidents)} incidents, {allowed} steps allowed")
    return {
        "seconds": took,
        "incidents": len(comparison.incidents),
        "empty": empty,
        "inputs": inputs,
        "peak": _peak(),
    }


def _confirmed(given: CompareInput, first: Comparison, seen: Observation) -> Comparison:
    """The second look at what is in doubt, as `flows.reconcile` takes it."""
    doubtful = sorted(
        target
        for incident in first.incidents
        if unconfirmed_for(incident, _CONFIRM_AFTER, NOW)
        for target in incident.targets
    )
    second = compare(replace(given, selected=tuple(doubtful)), seen, now=NOW)
    return confirm(first, second)


def _judged(
    comparison: Comparison, plans: list[Plan | Declined], guard: GuardInput
) -> list[Verdict]:
    """As a run does it: each incident has what the ones before it have left."""
    verdicts: list[Verdict] = []
    for incident, plan in zip(comparison.incidents, plans, strict=True):
        if isinstance(plan, Declined):
            raise TypeError(f"no plan for {incident.root}: {plan}")
        judged = judge(plan, incident, guard)
        verdicts += judged
        targets = {v.step.target for v in judged if v.decision is Decision.ALLOWED}
        guard = replace(
            guard,
            used_targets=guard.used_targets | targets,
            used_steps=guard.used_steps + len(judged),
        )
    return verdicts


def _service(number: int) -> Service:
    name = f"service-{number}"
    return service(
        name,
        env={"LOG_LEVEL": "info", "PORT": "8000"},
        resources={"memory": "256Mi", "cpu": "0.5"},
        alerts=[{"matchers": {"service": name}}],
        health={"metrics": [{"name": "up", "query": f'up{{job="{name}"}}', "expect": "== 1"}]},
        dependsOn=[f"service-{number - 1}"] if number % _DRIFTING % 10 else [],
    )


def _world(all_services: dict[str, Service]) -> Observation:
    metrics = [
        MetricReading(target, "up", Reading.PASSED, 1.0, NOW, "1, as expected")
        for target in all_services
    ]
    seen = [_observed(number, one) for number, one in enumerate(all_services.values())]
    return observation(seen, metrics=metrics)


def _observed(number: int, wanted: Service) -> ObservedService:
    turn, rest = divmod(number, _DRIFTING)
    if rest != _DRIFTING - 1:
        return as_declared(wanted)
    match turn % 3:
        case 0:
            return ObservedService(wanted.target, (stopped(wanted),))
        case 1:
            return ObservedService(wanted.target)
        case _:
            return ObservedService(wanted.target, (instance_of(wanted, memory=64 * 2**20),))


def _guard(config: UniversalConfig, all_services: dict[str, Service]) -> GuardInput:
    registry = OperationRegistry(config.operations)
    able = CommandTranslator(config.translations).operations("docker") & frozenset(registry.names())
    environment = config.environments.environments[ENVIRONMENT]
    guard = config.platform.guard
    return GuardInput(
        services=all_services,
        policies={
            target: effective_policy(guard.policy, environment.policy, one.spec.remediation)
            for target, one in all_services.items()
        },
        catalogue=registry,
        capabilities=lambda _: able,
        identity=AGENT,
        blast_radius=BlastRadius(
            targets_per_run=len(all_services),
            steps_per_run=10 * len(all_services),
            steps_per_incident=guard.blast_radius.steps_per_incident,
        ),
        always_approve=frozenset(guard.always_approve),
        now=NOW,
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(simulate(int(sys.argv[1]))))  # noqa: T201 - its parent reads this
