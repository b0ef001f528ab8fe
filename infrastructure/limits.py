"""What Git declares at a place of a Service's spec, and how far above it is right, too.

`remediation.limits` lets a repair go up: more replicas, memory or cores than declared. What
lies between the two is neither a drift (`flows.comparison`) nor out of bounds
(`flows.guarding.bounds`): two rules in two places would undo each other's work for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any

from pydantic.alias_generators import to_snake

from infrastructure.service import ServiceSpec

# What every target is asked for in every run.
_OFTEN = {
    "/replicas": attrgetter("replicas"),
    "/resources/memory": attrgetter("resources.memory"),
    "/resources/cpu": attrgetter("resources.cpu"),
}


def declared_at(spec: ServiceSpec, pointer: str) -> Any:
    """The typed value at a JSON pointer of camelCase names; None where nothing is."""
    if (often := _OFTEN.get(pointer)) is not None:
        return often(spec)
    value: Any = spec
    for key, attribute in _parts(pointer):
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, attribute, None)
    return value


@functools.lru_cache(maxsize=256)
def _parts(pointer: str) -> tuple[tuple[str, str], ...]:
    return tuple((part, to_snake(part)) for part in pointer[1:].split("/"))


def within_limit(spec: ServiceSpec, pointer: str, value: int | Decimal) -> bool:
    """Whether a number is above what Git declares and at most the Service's own limit.

    What Git does not declare, or declares as none, has nothing above it. An engine's 0 for
    "unlimited" is within no limit.
    """
    declared, limit = declared_at(spec, pointer), _limit(spec, pointer)
    return bool(declared) and limit is not None and bool(declared < value <= limit)


def declared_or_within(spec: ServiceSpec, pointer: str, seen: int | Decimal) -> bool:
    """Whether what was seen at /replicas, /resources/memory or /resources/cpu is right."""
    return bool(seen == declared_at(spec, pointer)) or within_limit(spec, pointer, seen)


def _limit(spec: ServiceSpec, pointer: str) -> int | Decimal | None:
    limits = spec.remediation.limits
    match pointer:
        case "/replicas":
            return limits.replicas.max if limits.replicas else None
        case "/resources/memory":
            return limits.memory.max if limits.memory else None
        case "/resources/cpu":
            return limits.cpu.max if limits.cpu else None
        case _:
            return None
