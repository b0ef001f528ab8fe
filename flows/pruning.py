"""What UICI made and Git no longer names, as something that an operation can be about.

A service that left Git has no spec more. To be removed by the same way as everything else is
done (guard, intent, approval, verification, report), it is made a Service of no replicas for
that one run: removing it is then what desired state says. Neighbours: `flows.guarding.prune`
(may it go?), `flows.command_line.manual` (a person asks for it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from flows.guarding.prune import prune_gate
from flows.observe import Observation
from flows.world import World
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.observed import NativeObject
from infrastructure.service import Service, target_id

TARGET_LABEL = "uici.target"  # by it an engine tells whose an object is


@dataclass(frozen=True, slots=True)
class Stray:
    """A target that is to be removed; `stays` says why it may not."""

    service: Service
    stays: str | None


def stray_targets(seen: Observation) -> dict[str, tuple[NativeObject, ...]]:
    """What no longer is in desired state, by the target that it was made for."""
    found: dict[str, list[NativeObject]] = {}
    for name, environment in seen.environments.items():
        for native in environment.engine.orphans if environment.engine else ():
            target = native.labels.get(TARGET_LABEL, "")
            if target.startswith(target_id(name, "")):
                found.setdefault(target, []).append(native)
    return {target: tuple(natives) for target, natives in found.items()}


def strays_stay(world: World, environment: str, strays: Sequence[str]) -> str | None:
    """Why what left Git must stay in an environment; None: a person may remove it."""
    desired = world.desired
    doubt = desired.stale or ("it is refused" if desired.refused_revision else None)
    return prune_gate(
        environment,
        prune=world.config.environments.environments[environment].policy.prune,
        declared=desired.services,
        known_before=world.statuses,
        orphans=strays,
        doubt=f"desired state is in doubt: {doubt}" if doubt else None,
    )


def find_stray(world: World, seen: Observation, name: str) -> Stray:
    """The one that a person names, by its target or its name alone.

    Raises:
        InvalidInputError: there is none, it is not the only one, or desired state has it.
    """
    strays = stray_targets(seen)
    found = sorted(t for t in strays if name in (t, t.partition("/")[2]))
    if len(found) != 1:
        raise InvalidInputError([_no_such(world, strays, name)])
    target = found[0]
    environment, _, service = target.partition("/")
    try:
        made = Service.model_validate(
            {
                "apiVersion": "uici/v1",
                "kind": "Service",
                "metadata": {"name": service, "environment": environment},
                "spec": {"image": "no-longer-declared", "replicas": 0},
            }
        )
    except ValidationError as exc:
        problem = Problem("run parameters", 0, 0, f"{target} is no name of a service")
        raise InvalidInputError([problem]) from exc
    return Stray(made, strays_stay(world, environment, sorted(strays)))


def _no_such(world: World, strays: Mapping[str, object], name: str) -> Problem:
    declared = [t for t in world.services if name in (t, t.partition("/")[2])]
    if declared:
        remedy = "take it out of Git first"
        return Problem("run parameters", 0, 0, f"{declared[0]} is in desired state", remedy)
    known = ", ".join(sorted(strays)) or "there is nothing that Git no longer names"
    return Problem("run parameters", 0, 0, f"nothing is left of a target {name}", f"known: {known}")
