"""The strict subset of JSON Schema: what a model may be asked to fit, and the way back.

Structured outputs of OpenAI-compatible endpoints take a subset only: every property is
required, no further ones, optional ones may be null, no bounds, no free maps. A bound
becomes words in the description, a free map a list of `{name, value}`. Nothing is lost:
`infrastructure.operation_registry` checks the answer against the full schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_SCALARS = ["string", "number", "boolean"]
_TYPES: Mapping[type, tuple[str, ...]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    str: ("string",),
    list: ("array",),
    dict: ("object",),
}
# Keywords that the strict subset lacks → the words that say the same.
_HINTS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches {}",
    "format": "format {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} of them",
    "maxProperties": "at most {} of them",
    "examples": "such as {}",
    "default": "null means {}",
}


def strict(schema: Mapping[str, Any] | bool) -> dict[str, Any]:
    """A schema of the strict subset that every value of `schema` has a form for.

    Keywords that only narrow (`allOf`, `not`, `if` …) are left out.
    """
    whole = _whole(schema)
    return _shape(whole) | _description(whole)


def from_strict(value: Any, schema: Mapping[str, Any] | bool) -> Any:
    """A value that fits `strict(schema)` → the same as `schema` writes it.

    Null means "not given" and is dropped from objects. What doesn't fit is handed on as it
    is, for the check against `schema` to name.
    """
    schema = _whole(schema)
    for branch in _branches(schema):
        if _fits_type(value, _whole(branch)):
            return from_strict(value, branch)
    if isinstance(value, list):
        return _from_list(value, schema)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {
            key: from_strict(item, properties.get(key, _free_value(schema)))
            for key, item in value.items()
            if item is not None
        }
    return value


def _whole(schema: Mapping[str, Any] | bool) -> Mapping[str, Any]:
    """JSON Schema's `true` stands for a schema without a word."""
    return schema if isinstance(schema, Mapping) else {}


def _shape(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "const" in schema:
        return _enum([schema["const"]])
    if "enum" in schema:
        return _enum(schema["enum"])
    if branches := _branches(schema):
        return {"anyOf": [strict(branch) for branch in branches]}
    types = _types(schema)
    shapes = [_of_type(kind, schema) for kind in types if kind in {"object", "array"}]
    scalars = [kind for kind in types if kind not in {"object", "array"}]
    if scalars:
        shapes.append({"type": scalars if len(scalars) > 1 else scalars[0]})
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}


def _of_type(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "array":
        return {"type": "array", "items": strict(schema.get("items", {}))}
    if _is_free_map(schema):
        entry = {"name": {"type": "string"}, "value": strict(_free_value(schema))}
        return {"type": "array", "items": closed_object(entry)}
    required = schema.get("required", ())
    return closed_object(
        {
            name: strict(inner) if name in required else _nullable(strict(inner))
            for name, inner in schema.get("properties", {}).items()
        }
    )


def closed_object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object that has exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    wider = schema | {"type": [*(kind for kind in kinds if kind != "null"), "null"]}
    if "enum" in schema:
        wider["enum"] = [*(item for item in schema["enum"] if item is not None), None]
    return wider


def _enum(values: Sequence[Any]) -> dict[str, Any]:
    kinds = list(
        dict.fromkeys(_TYPES[type(item)][0] if item is not None else "null" for item in values)
    )
    return {"type": kinds if len(kinds) > 1 else kinds[0], "enum": list(values)}


def _description(schema: Mapping[str, Any]) -> dict[str, str]:
    words = [schema["description"].strip()] if schema.get("description") else []
    words += [hint.format(_words(schema[key])) for key, hint in _HINTS.items() if key in schema]
    return {"description": "; ".join(words)} if words else {}


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " or ".join(map(_words, value))
    return value if isinstance(value, str) else json.dumps(value)


def _branches(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    branches: Sequence[Mapping[str, Any]] = schema.get("anyOf") or schema.get("oneOf") or ()
    return branches


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type")
    if kinds is None:
        kinds = "object" if "properties" in schema else "array" if "items" in schema else _SCALARS
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _is_free_map(schema: Mapping[str, Any]) -> bool:
    """Names that the schema does not list: the strict subset has no such thing."""
    return not schema.get("properties") and schema.get("additionalProperties", True) is not False


def _free_value(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = schema.get("additionalProperties")
    return inner if isinstance(inner, Mapping) else {}


def _fits_type(value: Any, schema: Mapping[str, Any]) -> bool:
    names = _TYPES.get(type(value), ("null",))
    kinds = _types(schema)
    if "object" in kinds and isinstance(value, list) and _is_free_map(schema):
        names = ("array", "object") if _entries(value) is not None else names
    return any(name in kinds for name in names)


def _from_list(value: list[Any], schema: Mapping[str, Any]) -> Any:
    entries = _entries(value)
    if entries is not None and "object" in _types(schema) and _is_free_map(schema):
        return {name: from_strict(item, _free_value(schema)) for name, item in entries.items()}
    return [from_strict(item, schema.get("items", {})) for item in value]


def _entries(value: list[Any]) -> dict[str, Any] | None:
    """`[{name, value}, …]` as a mapping; None if it is something else or a name repeats."""
    entries: dict[str, Any] = {}
    for item in value:
        if not (isinstance(item, dict) and item.keys() == {"name", "value"}):
            return None
        name = item["name"]
        if not isinstance(name, str) or name in entries:
            return None
        entries[name] = item["value"]
    return entries
