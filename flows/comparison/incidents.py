"""Drifts that belong together become one incident. Part of stage 2, pure.

A target whose dependency drifts as well is a symptom, not a cause: it joins the
incident of the dependency that has no drifting dependency of its own. What a dependency
can't explain (somebody edited the target's configuration) stays an incident of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from flows.comparison.drift import Drift, Incident
from flows.comparison.target_judgement import TargetJudgement
from infrastructure.drift_kinds import DriftKind
from infrastructure.service import Service

# What a broken dependency can bring about in its dependents.
_SYMPTOMS = frozenset(
    {
        DriftKind.STOPPED,
        DriftKind.UNHEALTHY,
        DriftKind.CRASH_LOOPING,
        DriftKind.METRIC_BREACH,
        DriftKind.ALERT_FIRING,
    }
)
# What can break dependents: a wrong limit of a database that still answers does not.
_CAUSES = _SYMPTOMS | {DriftKind.MISSING}


# Symptoms that outlast their cause by a probe or a scrape.
_LAGGING = frozenset({DriftKind.UNHEALTHY, DriftKind.METRIC_BREACH, DriftKind.ALERT_FIRING})


def unsettled_cause(
    judged: TargetJudgement,
    everything: Mapping[str, TargetJudgement],
    services: Mapping[str, Service],
) -> str | None:
    """The dependency that a target has to wait for before its drifts are acted upon.

    A dependency whose own fault is within its grace, or that a person holds, explains any
    symptom; one that was started just now explains those that lag. Acting on the dependent
    would mend nothing.
    """
    kinds = {drift.kind for drift in judged.drifts}
    if not kinds or not kinds <= _SYMPTOMS:
        return None
    for name in sorted(_transitive(judged.state.target, services) & everything.keys()):
        needed = everything[name]
        if needed.state.held is not None and needed.drifts:
            return name
        if any(drift.kind in _CAUSES for drift in needed.pending):
            return name
        if needed.starting and not needed.drifts and kinds <= _LAGGING:
            return name
    return None


def group(
    drifts: Iterable[Drift], services: Mapping[str, Service], lacking: Collection[str] = ()
) -> tuple[Incident, ...]:
    """Incidents in dependency order: what others need comes first.

    Args:
        drifts: those that are to be acted upon; orphans are left out.
        services: the whole desired state (dependencies may be outside the selection).
        lacking: secret references that have no value now.
    """
    by_target: dict[str, list[Drift]] = {}
    for drift in drifts:
        if drift.kind is not DriftKind.ORPHAN and drift.target in services:
            by_target.setdefault(drift.target, []).append(drift)
    members: dict[str, list[str]] = {}
    for target in by_target:
        members.setdefault(_root(target, by_target, services), []).append(target)
    order = {target: i for i, target in enumerate(dependency_order(members, services))}
    incidents = []
    for root in sorted(members, key=order.__getitem__):
        targets = [root, *sorted(t for t in members[root] if t != root)]
        parts = tuple(drift for target in targets for drift in by_target[target])
        incidents.append(
            Incident(
                fingerprint=fingerprint(parts, services, lacking),
                environment=services[root].metadata.environment,
                root=root,
                targets=tuple(targets),
                drifts=parts,
            )
        )
    return tuple(incidents)


def _root(
    target: str, drifting: Mapping[str, Sequence[Drift]], services: Mapping[str, Service]
) -> str:
    """Follow drifting dependencies down to the one that explains the others.

    One in between may show nothing: a proxy without a check of its own stands as before while
    what is behind it is gone. Desired state has no cycles (refused at validation): this ends.
    """
    while all(drift.kind in _SYMPTOMS for drift in drifting[target]):
        causes = [
            dependency
            for dependency in _transitive(target, services)
            if any(drift.kind in _CAUSES for drift in drifting.get(dependency, ()))
        ]
        if not causes:
            break
        target = min(causes)
    return target


def dependency_order(targets: Iterable[str], services: Mapping[str, Service]) -> list[str]:
    """The targets sorted so that each comes after all it depends on, directly or not."""
    wanted = set(targets)
    done: dict[str, None] = {}
    for start in sorted(wanted):
        stack = [start]
        while stack:
            target = stack[-1]
            service = services.get(target)
            waiting = [d for d in (service.dependencies if service else ()) if d not in done]
            if waiting and not set(waiting) & set(stack):
                stack.extend(reversed(waiting))
            else:
                done[stack.pop()] = None
    return [target for target in done if target in wanted]


def waves(
    incidents: Sequence[Incident], services: Mapping[str, Service]
) -> tuple[tuple[Incident, ...], ...]:
    """Incidents in groups that may run side by side; a group needs the ones before it."""
    level: dict[str, int] = {}
    roots = {incident.root for incident in incidents}
    for target in dependency_order(roots, services):
        needed = _transitive(target, services) & level.keys()
        level[target] = 1 + max((level[n] for n in needed), default=-1)
    result: dict[int, list[Incident]] = {}
    for incident in incidents:
        result.setdefault(level[incident.root], []).append(incident)
    return tuple(tuple(result[i]) for i in sorted(result))


def depends_on_any(
    target: str, others: Iterable[str], services: Mapping[str, Service]
) -> str | None:
    """The first of the others that the target needs, directly or not."""
    return min(_transitive(target, services) & set(others), default=None)


def _transitive(target: str, services: Mapping[str, Service]) -> set[str]:
    found: set[str] = set()
    stack = [target]
    while stack:
        service = services.get(stack.pop())
        fresh = [d for d in (service.dependencies if service else ()) if d not in found]
        found.update(fresh)
        stack.extend(fresh)
    return found


def fingerprint(
    drifts: Iterable[Drift], services: Mapping[str, Service], lacking: Collection[str] = ()
) -> str:
    """Identity of a fault: targets, kinds, fields and spec digests; never texts or values.

    A secret that was not there and now is makes it another fault: what could not be tried can.
    """
    facts = sorted({(d.target, d.kind.value, d.field) for d in drifts})
    own = sorted({target for target, _, _ in facts if target in services})
    digests = [(target, services[target].spec_digest) for target in own]
    lacks = sorted({r for t in own for r in services[t].secrets.values() if r in lacking})
    identity = [facts, digests, lacks] if lacks else [facts, digests]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
