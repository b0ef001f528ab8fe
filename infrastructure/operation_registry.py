"""OperationRegistry: the universal operations of operations.yml, by name.

Says whether something is an operation, whether its parameters are right, and what it is
like, for people and for a model. Knows nothing of environments: how an operation is done
is the translator's. Neighbours: `infrastructure.universal_interface` and `flows.guard`
validate here; `flows.llm.answer` makes the schema of a model's answers of `schema_for_model`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from infrastructure.config_models import Operation, Operations
from infrastructure.errors import PermanentError, UnsupportedOperationError
from infrastructure.operation_schema import closed_object, from_strict, strict
from infrastructure.templates import check as check_templates

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

_SHOWN_PROBLEMS = 5
_SHOWN_CHARS = 80


class OperationRegistry:
    """Immutable after construction, and safe to use from several threads."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations.operations
        self._validator = lru_cache(maxsize=None)(self._make_validator)

    def names(self) -> tuple[str, ...]:
        """All operations, in the order of the file."""
        return tuple(self._operations)

    def get(self, name: str) -> Operation:
        """The declared operation.

        Raises:
            UnsupportedOperationError: there is none; names the closest ones.
        """
        operation = self._operations.get(name)
        if operation is None:
            close = difflib.get_close_matches(name, self._operations, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "see `uici operations`"
            raise UnsupportedOperationError(f"no operation is named {_shown(name)}; {hint}")
        return operation

    def validate(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the parameters, checked against the schema, with its defaults.

        A whole number written as 3.0 becomes 3 where an integer is asked for.

        Raises:
            UnsupportedOperationError: no such operation.
            PermanentError: one line that names each wrong parameter and what is allowed.
        """
        schema = self.get(name).parameters
        try:
            plain = json.loads(json.dumps(dict(parameters), allow_nan=False))
        except (TypeError, ValueError, RecursionError) as exc:
            raise PermanentError(f"{name}: its parameters are not JSON data: {exc}") from exc
        completed: dict[str, Any] = _complete(plain, schema)
        errors = sorted(self._validator(name).iter_errors(completed), key=lambda e: e.json_path)
        if errors:
            lines = list(dict.fromkeys(_explain(error) for error in errors))[:_SHOWN_PROBLEMS]
            raise PermanentError(f"{name}: {'; '.join(lines)}")
        return completed

    def with_all_names(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as templates see them: every declared one, None if not given."""
        declared = self.get(name).parameters.get("properties", {})
        return dict.fromkeys(declared) | dict(parameters)

    def defaults(self, name: str) -> dict[str, Any]:
        """The parameters' default values, of those that have one.

        Raises:
            UnsupportedOperationError: no such operation.
        """
        return dict(_complete({}, self.get(name).parameters))

    def describe(self, name: str) -> dict[str, Any]:
        """Everything about an operation, as JSON-able data.

        Raises:
            UnsupportedOperationError: no such operation.
        """
        operation = self.get(name)
        return {"name": name, **operation.model_dump(mode="json", by_alias=True)}

    def schema_for_model(self, names: Iterable[str], targets: Sequence[str] = ()) -> dict[str, Any]:
        """JSON Schema of a list of steps, of the subset that strict endpoints take.

        A step has `operation`, `target`, `parameters`, `why` and `expected_effect`, in
        this order. Its parameters are read back by `from_model`.

        Args:
            names: operations that may be returned, in the order they are offered.
            targets: inventory ids that may be named; none: any text.

        Raises:
            UnsupportedOperationError: a name that is no operation.
        """
        target: dict[str, Any] = {"type": "string"}
        if targets:
            target["enum"] = list(targets)
        steps = []
        for name in names:
            operation = self.get(name)
            step = closed_object(
                {
                    "operation": {"type": "string", "enum": [name]},
                    "target": target,
                    "parameters": strict(operation.parameters),
                    "why": {"type": "string"},
                    "expected_effect": {"type": "string"},
                }
            )
            steps.append(step | {"description": " ".join(operation.description.split())})
        return {"type": "array", "items": {"anyOf": steps}}

    def from_model(self, name: str, parameters: Any) -> dict[str, Any]:
        """Parameters as a model returned them under `schema_for_model`, validated.

        Null means "not given", for one parameter or for all.

        Raises:
            PermanentError: as `validate`.
        """
        schema = self.get(name).parameters
        given = {} if parameters is None else from_strict(parameters, schema)
        if not isinstance(given, dict):
            raise PermanentError(f"{name}: its parameters must be an object")
        return self.validate(name, given)

    def check(self) -> list[str]:
        """Mistakes in operations.yml that its own shape does not show, one line each."""
        problems = []
        for name, operation in self._operations.items():
            try:
                self._validator(name)
            except PermanentError as exc:
                problems.append(str(exc))
            declared = operation.parameters.get("properties", {})
            problems += [
                f"{name}: incidental names {_shown(each)}, which is no parameter of it"
                for each in operation.incidental
                if not isinstance(declared, Mapping) or each not in declared
            ]
            problems += self._inverse_problems(name, operation)
        return problems

    def _inverse_problems(self, name: str, operation: Operation) -> list[str]:
        if operation.inverse is None:
            return []
        other = self._operations.get(operation.inverse.operation)
        if other is None:
            return [f"{name}: its inverse {operation.inverse.operation} is no operation"]
        declared = other.parameters.get("properties", {})
        unknown = _list(key for key in operation.inverse.parameters if key not in declared)
        problems = [f"{name}: its inverse takes no {unknown}"] if unknown else []
        return problems + [
            f"{name}: {line}" for line in check_templates(operation.inverse.parameters)
        ]

    def _make_validator(self, name: str) -> Draft202012Validator:
        # 0.15 CPU-seconds to import, and a run without drift validates nothing.
        from jsonschema import Draft202012Validator  # noqa: PLC0415
        from jsonschema.exceptions import SchemaError  # noqa: PLC0415

        schema = self.get(name).parameters
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as exc:
            raise PermanentError(
                f"{name}: its parameters are no JSON Schema: {exc.json_path}: {_line(exc.message)}"
            ) from exc
        if schema.get("type") != "object":
            raise PermanentError(f"{name}: its parameters must be a schema of type object")
        if "$ref" in json.dumps(schema):
            raise PermanentError(f"{name}: its parameters use $ref; write the schema out")
        return Draft202012Validator(schema)


def _complete(value: Any, schema: Any) -> Any:
    """Fill in defaults, objects within objects included, and make whole numbers integers."""
    if not isinstance(schema, Mapping):
        return value  # JSON Schema's `true` and `false`
    if isinstance(value, float) and schema.get("type") == "integer" and value.is_integer():
        return int(value)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_complete(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    given = {key: _complete(item, properties.get(key, {})) for key, item in value.items()}
    defaults = {
        key: inner["default"]
        for key, inner in properties.items()
        if isinstance(inner, Mapping) and "default" in inner
    }
    return json.loads(json.dumps(defaults)) | given


def _explain(error: ValidationError) -> str:
    """One mistake in a person's words. Values are not shown, but for enums and bounds."""
    path = ".".join(str(part) for part in error.absolute_path)
    where = f"parameter {path}" if path else "parameters"
    limit: Any = error.validator_value
    words = _WORDS.get(str(error.validator))
    if words is None:
        return f"{where} must satisfy {error.validator} {_shown(limit)}"
    return f"{where} {words(error.instance, limit, error.schema)}"


def _list(items: Iterable[Any]) -> str:
    return ", ".join(map(_shown, items))


def _missing(given: Any, required: Any, _schema: Any) -> str:
    return f"lack {_list(key for key in required if key not in given)}"


def _unknown(given: Any, _limit: Any, schema: Any) -> str:
    known = schema.get("properties", {})
    unknown = _list(key for key in given if key not in known)
    return f"hold unknown {unknown}; allowed: {_list(known) or 'none'}"


# JSON Schema keyword → (value, the keyword's value, schema) → what is wrong.
_WORDS: Mapping[str, Callable[[Any, Any, Any], str]] = {
    "enum": lambda given, limit, _: f"is {_shown(given)}; allowed: {_list(limit)}",
    "required": _missing,
    "additionalProperties": _unknown,
    "type": lambda _, limit, __: (
        f"must be of type {limit if isinstance(limit, str) else ' or '.join(limit)}"
    ),
    "pattern": lambda _, limit, __: f"must match {limit}",
    "minimum": lambda given, limit, _: f"is {_shown(given)}; must be at least {limit}",
    "maximum": lambda given, limit, _: f"is {_shown(given)}; must be at most {limit}",
}


def _shown(value: Any) -> str:
    """A value on one line, as JSON, cut."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
