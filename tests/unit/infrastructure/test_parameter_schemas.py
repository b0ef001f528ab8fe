"""The quick checks, held against jsonschema's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from infrastructure.parameter_schemas import schema_mistakes, value_mistakes
from infrastructure.yaml_source import parse_yaml
from tests.strategies import json_values

OPERATIONS = Path(__file__).parents[3] / "infrastructure/config/operations.yml"

_scalar = st.integers(-5, 5) | st.booleans() | st.none() | st.sampled_from(["", "a", "ab", "1"])
_kinds = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
_count = st.integers(0, 3)
schema_values = st.recursive(
    _scalar,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": _kinds | st.lists(_kinds, min_size=1, max_size=3, unique=True),
            "enum": st.lists(_scalar, min_size=1, max_size=3),
            "minimum": st.integers(-3, 3),
            "exclusiveMaximum": st.integers(-3, 3),
            "minLength": _count,
            "maxLength": _count,
            "pattern": st.sampled_from(["^a", "b$", "[0-9]"]),
            "minItems": _count,
            "maxProperties": _count,
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "const": _scalar,
        },
    )


valid_schemas = _objects(st.recursive(st.booleans(), _objects, max_leaves=3))
# Any keyword with any value: most are wrong.
keywords = st.sampled_from(
    (
        *("type", "enum", "required", "properties", "items", "anyOf", "pattern", "minimum"),
        *("minLength", "uniqueItems", "additionalProperties", "description", "not", "multipleOf"),
    )
)
odd_schemas = st.dictionaries(keywords, json_values | _kinds | valid_schemas, max_size=3)


@given(valid_schemas)
def test_a_valid_schema_has_no_mistake(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert list(schema_mistakes(schema)) == []


@given(odd_schemas)
def test_a_schema_without_mistakes_is_a_schema(schema: dict[str, Any]) -> None:
    try:
        Draft202012Validator.check_schema(schema)
        is_schema = True
    except SchemaError:
        is_schema = False
    assert is_schema or list(schema_mistakes(schema))


@given(valid_schemas, schema_values)
def test_a_value_fits_when_jsonschema_says_so(schema: dict[str, Any], value: Any) -> None:
    found = list(value_mistakes(value, schema, skip=lambda _: False))
    assert (not found) == Draft202012Validator(schema).is_valid(value)


def test_the_shipped_operations_have_schemas() -> None:
    (document,) = parse_yaml(OPERATIONS.read_bytes(), file="operations.yml", max_bytes=10**6)
    for operation in document.data["operations"].values():
        assert list(schema_mistakes(operation["parameters"])) == []


@pytest.mark.parametrize(
    ("schema", "location", "message", "remedy"),
    [
        ({"aditionalProperties": False}, ("aditionalProperties",), "no keyword", "additional"),
        ({"type": "text"}, ("type",), "one of object, array, string", ""),
        ({"properties": {"a": {"type": 1}}}, ("properties", "a", "type"), "one of", ""),
        ({"properties": []}, ("properties",), "a mapping of names", ""),
        ({"properties": {"a": 5}}, ("properties", "a"), "must be a JSON Schema", "{type: string}"),
        ({"patternProperties": {"[": {}}}, ("patternProperties", "["), "regular expression", ""),
        ({"anyOf": [{"type": "text"}]}, ("anyOf", 0, "type"), "one of object", ""),
        ({"anyOf": []}, ("anyOf",), "a list of JSON Schemas", ""),
        ({"required": ["a", "a"]}, ("required",), "different names", ""),
        ({"pattern": "["}, ("pattern",), "a regular expression", ""),
        ({"minLength": -1}, ("minLength",), "0 or more", ""),
        ({"$ref": "#/x"}, ("$ref",), "not followed", "write the schema out"),
        ([], (), "must be a JSON Schema", "{type: string}"),
        (True, (), "must be a JSON Schema", "{type: string}"),
    ],
)
def test_a_mistake_in_a_schema_is_placed(
    schema: Any, location: tuple[str | int, ...], message: str, remedy: str
) -> None:
    (mistake,) = schema_mistakes(schema)
    assert mistake.location == location
    assert message in mistake.message
    assert remedy in mistake.remedy


def test_templates_are_not_known_yet() -> None:
    schema = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    value = {"replicas": "{{ service.spec.replicas }}"}
    assert list(value_mistakes(value, schema, skip=lambda v: isinstance(v, str))) == []
    assert [m.location for m in value_mistakes(value, schema, skip=lambda _: False)] == [
        ("replicas",)
    ]


def test_a_value_under_the_schema_false_is_a_mistake() -> None:
    schema = {"type": "object", "properties": {"a": False}}
    (mistake,) = value_mistakes({"a": 1}, schema, skip=lambda _: False)
    assert mistake.message == "is not allowed here"
