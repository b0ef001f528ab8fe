"""Is an operation's `parameters` a JSON Schema, and does a constant fit it?

Asked while configuration is loaded, which every command waits for. The jsonschema
package takes longer to import than the whole rest of loading, and stays silent about a
misspelt keyword, so the words of Draft 2020-12 that operations use are checked here;
a test holds the answers against jsonschema's. Parameters of a running operation are
checked by jsonschema itself, in `infrastructure.operation_registry`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.model_problems import suggestion
from infrastructure.yaml_source import Location


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong at a location below the schema or value."""

    location: Location
    message: str
    remedy: str = ""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    return _number(value) and value == int(value)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": _integer,
    "number": _number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(item, str) for item in value)
        and len(set(value)) == len(value)
    )


def _type_names(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return bool(names) and _names(names) and all(name in _TYPES for name in names)


def _regex(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True


def _count(value: Any) -> bool:
    return _integer(value) and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


# Keyword → (what its value has to be, in words).
_KEYWORDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_type_names, f"one of {', '.join(_TYPES)}, or a list of them"),
    "required": (_names, "a list of different names"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of values"),
    "pattern": (_regex, "a regular expression"),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (_number, "a number")
    ),
    "multipleOf": (lambda value: _number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(
        (
            *("minLength", "maxLength", "minItems", "maxItems"),
            *("minProperties", "maxProperties", "minContains", "maxContains"),
        ),
        (_count, "a whole number, 0 or more"),
    ),
    **dict.fromkeys(("title", "description", "format", "$comment"), (_text, "text")),
    **dict.fromkeys(
        ("uniqueItems", "deprecated", "readOnly", "writeOnly"),
        (lambda value: isinstance(value, bool), "true or false"),
    ),
    "examples": (lambda value: isinstance(value, list), "a list"),
    **dict.fromkeys(("default", "const"), (lambda _: True, "")),
}
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = (
    *("additionalProperties", "propertyNames", "items", "contains"),
    *("not", "if", "then", "else"),
)
_ALL = (*_KEYWORDS, *_MAPS, *_LISTS, *_SCHEMAS)


def schema_mistakes(schema: Any, location: Location = ()) -> Iterator[Mistake]:
    """Everything that keeps this from being a JSON Schema (Draft 2020-12) without `$ref`."""
    if isinstance(schema, bool) and location:
        return
    if not isinstance(schema, dict):
        yield Mistake(location, "must be a JSON Schema", "write a mapping such as {type: string}")
        return
    for keyword, value in schema.items():
        here = (*location, keyword)
        if keyword in _KEYWORDS:
            fits, words = _KEYWORDS[keyword]
            if not fits(value):
                yield Mistake(here, f"must be {words}")
        elif keyword in _SCHEMAS:
            yield from schema_mistakes(value, here)
        elif keyword in _MAPS or keyword in _LISTS:
            yield from _several(keyword, value, here)
        elif keyword == "$ref":
            yield Mistake(here, "is not followed here", "write the schema out")
        else:
            yield Mistake(here, "is no keyword of JSON Schema", suggestion(keyword, _ALL))


def _several(keyword: str, value: Any, location: Location) -> Iterator[Mistake]:
    if keyword in _MAPS:
        if not isinstance(value, dict):
            yield Mistake(location, "must be a mapping of names to JSON Schemas")
            return
        if keyword == "patternProperties":
            wrong = [pattern for pattern in value if not _regex(pattern)]
            yield from (Mistake((*location, p), "is no regular expression") for p in wrong)
        entries = list(value.items())
    else:
        if not isinstance(value, list) or not value:
            yield Mistake(location, "must be a list of JSON Schemas")
            return
        entries = list(enumerate(value))
    for name, inner in entries:
        yield from schema_mistakes(inner, (*location, name))


def value_mistakes(
    value: Any, schema: Any, *, skip: Callable[[Any], bool], location: Location = ()
) -> Iterator[Mistake]:
    """Where a value breaks a valid schema.

    Args:
        value: JSON-like data.
        schema: one without mistakes.
        skip: values that are not known yet (templates); nothing is asked of them.
        location: of the value.
    """
    if skip(value) or schema is True:
        return
    if schema is False:
        yield Mistake(location, "is not allowed here")
        return
    kinds = schema.get("type", list(_TYPES))
    names = [kinds] if isinstance(kinds, str) else kinds
    if not any(_TYPES[name](value) for name in names):
        yield Mistake(location, f"must be of type {' or '.join(names)}")
        return
    for keyword, (breaks, words) in _LIMITS.items():
        if keyword in schema and breaks(value, schema[keyword]):
            yield Mistake(location, f"{words} {_listed(schema[keyword])}")
    if isinstance(value, dict):
        yield from _member_mistakes(value, schema, skip=skip, location=location)
    if isinstance(value, list):
        for number, item in enumerate(value):
            inner = schema.get("items", True)
            yield from value_mistakes(item, inner, skip=skip, location=(*location, number))


def _listed(limit: Any) -> str:
    return ", ".join(map(str, limit)) if isinstance(limit, list) else str(limit)


def _same(left: Any, right: Any) -> bool:
    """JSON equality: 1 is 1.0, but true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


# Keyword → (whether a value breaks it, words before the limit). A keyword says nothing
# about values of another type.
_LIMITS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "enum": (lambda v, limit: not any(_same(v, each) for each in limit), "must be one of"),
    "const": (lambda v, limit: not _same(v, limit), "must be"),
    "minimum": (lambda v, limit: _number(v) and v < limit, "must be at least"),
    "maximum": (lambda v, limit: _number(v) and v > limit, "must be at most"),
    "exclusiveMinimum": (lambda v, limit: _number(v) and v <= limit, "must be above"),
    "exclusiveMaximum": (lambda v, limit: _number(v) and v >= limit, "must be below"),
    "pattern": (lambda v, limit: _text(v) and not re.search(limit, v), "must match"),
    "minLength": (lambda v, n: _text(v) and len(v) < n, "has fewer characters than"),
    "maxLength": (lambda v, n: _text(v) and len(v) > n, "has more characters than"),
    "minItems": (lambda v, n: isinstance(v, list) and len(v) < n, "has fewer items than"),
    "maxItems": (lambda v, n: isinstance(v, list) and len(v) > n, "has more items than"),
    "minProperties": (lambda v, n: isinstance(v, dict) and len(v) < n, "has fewer fields than"),
    "maxProperties": (lambda v, n: isinstance(v, dict) and len(v) > n, "has more fields than"),
}


def _member_mistakes(
    value: dict[str, Any],
    schema: Mapping[str, Any],
    *,
    skip: Callable[[Any], bool],
    location: Location,
) -> Iterator[Mistake]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield Mistake(location, f"lacks {name}", f"add {name}: …")
    for name, item in value.items():
        here = (*location, name)
        if name in properties:
            yield from value_mistakes(item, properties[name], skip=skip, location=here)
        elif "patternProperties" not in schema:
            others = schema.get("additionalProperties", True)
            if others is False:
                yield Mistake(here, "is not a parameter", suggestion(name, properties))
            else:
                yield from value_mistakes(item, others, skip=skip, location=here)
