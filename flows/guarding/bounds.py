"""Live operations only restore what Git declares; anything else is a proposal to Git.

The one exception is a limit that the Service itself gives: up to it an operation may go
above what Git declares (`infrastructure.limits`), never below.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flows.guarding.verdict import Subject
from infrastructure.limits import declared_at, within_limit
from infrastructure.operations import Effect
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import ServiceSpec

_REPLICAS = "/replicas"


def restores_desired_state(subject: Subject) -> str | None:
    """Why a step would lead away from what Git declares."""
    operation, spec = subject.operation, subject.service.spec
    if operation.leaves_desired_state:
        return "it would leave the state that Git declares: revert the commit instead"
    if operation.effect in (Effect.STOPPED, Effect.PAUSED) and spec.replicas > 0:
        return "it would take away capacity that Git declares"
    scaling = [p for p, pointer in operation.bounds.items() if pointer == _REPLICAS]
    if operation.effect is Effect.SCALED and not any(
        subject.step.parameters.get(parameter) is not None for parameter in scaling
    ):
        return "it would set a number of replicas that nothing binds to what Git declares"
    for parameter, pointer in operation.bounds.items():
        value = subject.step.parameters.get(parameter)
        if value is not None and not _fits(value, pointer, spec):
            return f"{parameter} differs from what Git declares at {pointer}"
    return None


def _fits(value: Any, pointer: str, spec: ServiceSpec) -> bool:
    declared = declared_at(spec, pointer)
    number = _number(value, declared)
    return _same(value, declared) or (number is not None and within_limit(spec, pointer, number))


def _same(value: Any, declared: Any) -> bool:
    """Whether a parameter says what Git declares; a mapping may say a part of it."""
    if isinstance(declared, Mapping) and isinstance(value, Mapping):
        return all(key in declared and _same(v, declared[key]) for key, v in value.items())
    number = _number(value, declared)
    if number is not None:
        return bool(number == declared)
    return type(value) is type(declared) and bool(value == declared)


def _number(value: Any, declared: Any) -> int | Decimal | None:
    """A parameter as the number that stands at its pointer; None: it is none."""
    try:
        if isinstance(declared, Decimal):
            return parse_cpu(value)
        if isinstance(declared, int) and not isinstance(declared, bool):
            return parse_memory(value)
    except ValueError:
        return None
    return None
