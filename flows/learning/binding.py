"""Steps of a plan ↔ steps of a class: parameters bound to what desired state declares.

Pure. A plan speaks of one target (`replicas: 3`); what is learned of it must fit others
(`{{ service.spec.replicas }}`). What can't be bound is a word of the operation's schema,
or its default; anything else is knowledge about one target only, and is not learned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from flows.plan import PlanStep
from infrastructure import templates
from infrastructure.config_models import Operation
from infrastructure.errors import PermanentError, UiciError
from infrastructure.knowledge import MAX_STEPS, LearnedResolution, LearnedStep
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import Risk
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import Service

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MAX_WHY = 200


class UnboundError(PermanentError):
    """Steps that fit their own target only, and why."""


def bound(
    steps: Sequence[PlanStep], service: Service, registry: OperationRegistry
) -> tuple[LearnedStep, ...]:
    """The steps as a class has them.

    Raises:
        UnboundError: they can't be generalised.
    """
    if not steps or len(steps) > MAX_STEPS:
        raise UnboundError(f"a resolution has 1 to {MAX_STEPS} steps")
    data = templates.service_data(service)
    return tuple(_bound(step, service, registry, data) for step in steps)


def rendered(
    resolution: LearnedResolution, service: Service, registry: OperationRegistry
) -> tuple[PlanStep, ...]:
    """The steps for one target.

    Raises:
        UiciError: an unknown operation, a template that fails, parameters that do not fit.
    """
    context = {"target": service.target, "service": templates.service_data(service)}
    return tuple(
        PlanStep(
            operation=step.operation,
            target=service.target,
            parameters=registry.validate(
                step.operation, _given(templates.render(step.parameters, context))
            ),
            why=step.why or "it has helped before",
            expected_effect=registry.get(step.operation).effect.value,
        )
        for step in resolution.steps
    )


def mistakes(resolution: LearnedResolution, registry: OperationRegistry) -> Iterator[str]:
    """What can be seen to be wrong without a target, one line each."""
    for step in resolution.steps:
        try:
            operation = registry.get(step.operation)
        except UiciError as exc:
            yield str(exc)
            continue
        unknown = step.parameters.keys() - operation.parameters.get("properties", {}).keys()
        if unknown:
            yield f"{step.operation} takes no {', '.join(sorted(unknown))}"
        yield from templates.check(step.parameters)


def _bound(
    step: PlanStep, service: Service, registry: OperationRegistry, data: Mapping[str, Any]
) -> LearnedStep:
    if step.target != service.target:
        raise UnboundError(f"{step.operation} is about another target")
    try:
        operation = registry.get(step.operation)
        given = registry.validate(step.operation, step.parameters)
    except UiciError as exc:
        raise UnboundError(str(exc)) from exc
    if operation.risk is Risk.READ or operation.leaves_desired_state or operation.prunes:
        raise UnboundError(f"{step.operation} is no repair")
    parameters = {}
    for name, value in given.items():
        if not _is_default(operation, name, value):
            parameters[name] = _parameter(operation, name, value, data)
    why = "".join(c if c.isprintable() else " " for c in step.why)[:_MAX_WHY]
    return LearnedStep(operation=step.operation, parameters=parameters, why=why)


def _is_default(operation: Operation, name: str, value: Any) -> bool:
    """A default that is no word needs no saying."""
    schema = _schema(operation, name)
    return "enum" not in schema and "default" in schema and schema["default"] == value


def _parameter(operation: Operation, name: str, value: Any, data: Mapping[str, Any]) -> Any:
    for path in _paths(operation, name, data["spec"]):
        made = _template(("service", "spec", *path), value, _below(data["spec"], path), data)
        if made is not None:
            return made
    schema = _schema(operation, name)
    if value in schema.get("enum", ()) or schema.get("type") == "boolean":
        return value
    raise UnboundError(f"parameter {name} is not what desired state declares")


def _schema(operation: Operation, name: str) -> Mapping[str, Any]:
    schema = operation.parameters.get("properties", {}).get(name, {})
    return schema if isinstance(schema, Mapping) else {}


def _paths(operation: Operation, name: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Where desired state may say it: as the operation declares, else under the same name."""
    pointer = operation.bounds.get(name)
    if pointer is not None:
        yield tuple(pointer[1:].split("/"))
        return
    key = to_camel(name)
    for prefix in ((), ("resources",)):
        if key in _mapping(_below(spec, prefix)):
            yield (*prefix, key)


def _below(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        value = _mapping(value).get(part)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _template(path: Sequence[str], value: Any, declared: Any, data: Mapping[str, Any]) -> Any:
    """`{{ service.spec.replicas }}`; for a part of a mapping, one template each; None: no."""
    if declared is None or not all(_IDENTIFIER.fullmatch(part) for part in path):
        return None
    if _same(value, declared, quantity="resources" in path):
        text = "{{ " + ".".join(path) + " }}"
        return text if _gives(text, declared, data) else None
    if isinstance(value, Mapping) and isinstance(declared, Mapping) and value:
        parts = {
            key: _template((*path, key), inner, declared.get(key), data)
            for key, inner in value.items()
        }
        return None if None in parts.values() else parts
    return None


def _gives(text: str, declared: Any, data: Mapping[str, Any]) -> bool:
    try:
        return bool(templates.render(text, {"service": data}) == declared)
    except PermanentError:
        return False


def _same(value: Any, declared: Any, *, quantity: bool) -> bool:
    """Whether both say the same; a quantity may be written in several ways."""
    if type(value) is type(declared) and value == declared:
        return True
    return quantity and any(
        _equal_as(parse, value, declared) for parse in (parse_memory, parse_cpu)
    )


def _equal_as(parse: Callable[[Any], Any], value: Any, declared: Any) -> bool:
    try:
        return bool(parse(value) == parse(declared))
    except (ValueError, TypeError, ArithmeticError):
        return False


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that desired state does not speak of."""
    return {name: value for name, value in parameters.items() if value is not None}
