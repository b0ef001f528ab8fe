"""What an incident's targets need, how that stands, and the deepest that is broken. Pure.

A dependency that works says little; where one is broken, its own are followed, and the one
that needs nothing broken is named: it is where to look first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flows.dossier.facts import observed_of, works
from flows.observe import Observation
from infrastructure.observed import AlertState, MetricReading, ProbeReading, Reading
from infrastructure.service import Service


class State(NamedTuple):
    """How a service stands, in a few words."""

    broken: bool
    text: str


@dataclass(frozen=True, slots=True)
class Need:
    """A sentence; those about what is broken tell more."""

    broken: bool
    text: str


def needs(target: str, services: Mapping[str, Service], observation: Observation) -> Iterator[Need]:
    """The direct dependencies of a target, and below each broken one the deepest broken ones."""
    for dependency in _of(target, services):
        state = state_of(dependency, services, observation)
        yield Need(state.broken, f"{target} needs {dependency}: {state.text}")
    for path in _broken_paths(target, services, observation):
        text = state_of(path[-1], services, observation).text
        way = " → ".join(path)
        yield Need(True, f"the deepest broken one: {path[-1]} ({text}); {way}")


def _of(target: str, services: Mapping[str, Service]) -> tuple[str, ...]:
    service = services.get(target)
    return tuple(sorted(service.dependencies)) if service is not None else ()


def _broken_paths(
    target: str, services: Mapping[str, Service], observation: Observation
) -> Iterator[tuple[str, ...]]:
    """Ways to dependencies that are broken and need nothing broken, each once."""
    seen = {target}
    stack: list[tuple[str, ...]] = [(target,)]
    while stack:
        path = stack.pop()
        fresh = [d for d in reversed(_of(path[-1], services)) if d not in seen]
        seen.update(fresh)
        stack += [(*path, dependency) for dependency in fresh]
        if len(path) > 1 and state_of(path[-1], services, observation).broken:
            below = _below(path[-1], services)
            if not any(state_of(each, services, observation).broken for each in below):
                yield path


def _below(target: str, services: Mapping[str, Service]) -> set[str]:
    found: set[str] = set()
    stack = [target]
    while stack:
        fresh = [d for d in _of(stack.pop(), services) if d not in found]
        found.update(fresh)
        stack += fresh
    return found


def state_of(target: str, services: Mapping[str, Service], observation: Observation) -> State:
    """How a service stands by what this run saw."""
    service = services.get(target)
    environment = target.partition("/")[0] if service is None else service.metadata.environment
    seen = observation.environments.get(environment)
    observed = observed_of(seen, target) if seen is not None else None
    if seen is None or observed is None:
        return State(False, "unknown")
    workload = observed.workload
    if not observed.instances and workload is None:
        return State(True, "missing")
    working = sum(map(works, observed.instances))
    kept = workload.replicas if workload is not None else None
    wanted = len(observed.instances) if kept is None else kept
    told = f"{working} of {wanted} instances work"
    if workload is not None and workload.reason:
        told += f"; {workload.reason}"
    failing = [f"probe failed: {p.detail}" for p in seen.probes if _fails(p, target)]
    failing += [f"metric {m.check} failed" for m in seen.metrics if _fails(m, target)]
    failing += [
        f"alert {alert.name} firing"
        for alert in seen.alerts or ()
        if service is not None
        and alert.state is AlertState.ACTIVE
        and any(s.matchers.items() <= alert.labels.items() for s in service.spec.alerts)
    ]
    return State(working < wanted or bool(failing), "; ".join([told, *failing[:2]]))


def _fails(read: ProbeReading | MetricReading, target: str) -> bool:
    return read.target == target and read.reading is Reading.FAILED
