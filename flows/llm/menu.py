"""What a model may answer about an environment: the one source of every schema it is offered.

`flows.llm.planner` and `flows.llm.conversation` ask with it, `uici operations --json` prints
it. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from flows.escalation import ESCALATE
from flows.llm.answer import Offer, answer_schema, read_tools
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import Effect, Risk

# An environment's targets stand in the schema up to this number, so that a small model can
# name no other; the schema must not grow with the inventory, nor change with the incident.
_MAX_ENUM = 24


def menu_of(
    registry: OperationRegistry,
    has: Collection[str],
    *,
    targets: Sequence[str] = (),
    may_stop: bool = False,
    looks: bool = True,
) -> Offer:
    """What any answer about an environment may hold: the same for all its incidents.

    Args:
        registry: the operations.
        has: those that the environment can do.
        targets: its targets, sorted; none, or too many to name: any text.
        may_stop: whether one of them is declared to be stopped.
        looks: whether a model may look before it answers.
    """
    return Offer(
        operations=repairs(registry, has, may_stop=may_stop),
        targets=tuple(targets) if len(targets) <= _MAX_ENUM else (),
        reads=reads(registry, has) if looks else (),
    )


def repairs(
    registry: OperationRegistry, has: Collection[str], *, may_stop: bool
) -> tuple[str, ...]:
    """Operations that may be steps of a plan."""
    return tuple(
        name for name in registry.names() if name in has and _repairs(registry, name, may_stop)
    )


def reads(registry: OperationRegistry, has: Collection[str]) -> tuple[str, ...]:
    """Operations that a model may look with, before it answers."""
    names = (name for name in registry.names() if name in has and name != ESCALATE)
    return tuple(name for name in names if registry.get(name).risk is Risk.READ)


def offered(
    registry: OperationRegistry, menu: Offer, *, tools: bool
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """The schema of answers, and the functions beside it.

    Args:
        registry: the operations.
        menu: see `menu_of`.
        tools: whether the endpoint calls functions; else looking first is an answer, too.
    """
    if not tools:
        return answer_schema(registry, menu), ()
    functions = read_tools(registry, menu.reads) if menu.reads else ()
    return answer_schema(registry, replace(menu, reads=())), functions


def _repairs(registry: OperationRegistry, name: str, may_stop: bool) -> bool:
    operation = registry.get(name)
    if name == ESCALATE:
        return True
    if operation.risk is Risk.READ or operation.leaves_desired_state or operation.prunes:
        return False
    if operation.effect is Effect.NONE:
        return False  # nothing of Git is restored by it, and nothing can be verified
    return may_stop or operation.effect not in {Effect.STOPPED, Effect.PAUSED}
