from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from infrastructure.config_models import Operations
from infrastructure.errors import PermanentError, UnsupportedOperationError
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operation_schema import from_strict, strict
from tests.unit.operations import shipped

REGISTRY = OperationRegistry(shipped.operations())
# What endpoints with strict structured outputs take.
STRICT_KEYWORDS = {
    "type",
    "enum",
    "anyOf",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "description",
}


def registry_with(parameters: dict[str, Any], **fields: Any) -> OperationRegistry:
    """A registry that has one operation more, `probe_it`."""
    document = shipped.document("operations.yml")
    operation = {
        "description": "Test.",
        "risk": "read",
        "parameters": parameters,
        "timeout": "5s",
        "effect": "none",
    }
    document["operations"]["probe_it"] = operation | fields
    return OperationRegistry(Operations.model_validate(document))


def test_the_shipped_operations_are_the_design_s() -> None:
    assert set(REGISTRY.names()) >= {
        "get_status", "get_logs", "check_resources", "check_health", "get_events",
        "query_metrics", "describe_dependencies", "start", "stop", "restart", "create",
        "recreate", "scale", "set_image", "set_resources", "set_env", "rollback_service",
        "pause", "resume", "execute_command", "escalate_to_human",
    }  # fmt: skip
    assert REGISTRY.check() == []


@pytest.mark.parametrize(
    ("name", "given", "complete"),
    [
        ("restart", {}, {"strategy": "graceful", "grace_seconds": 10}),
        ("restart", {"strategy": "force"}, {"strategy": "force", "grace_seconds": 10}),
        ("scale", {"replicas": 3.0}, {"replicas": 3}),
        ("get_logs", {"lines": 5}, {"lines": 5, "source": "all"}),
        ("set_env", {"env": {"A": "1"}}, {"env": {"A": "1"}}),
        (
            "execute_command",
            {"argv": ("ls", "-l")},
            {"argv": ["ls", "-l"], "timeout_seconds": 30, "max_output_bytes": 65536},
        ),
    ],
)
def test_defaults_are_filled_in(name: str, given: dict[str, Any], complete: dict[str, Any]) -> None:
    assert json.dumps(REGISTRY.validate(name, given), sort_keys=True) == json.dumps(
        complete, sort_keys=True
    )


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "restart",
            {"strategy": "fast"},
            'restart: parameter strategy is "fast"; allowed: "graceful", "force", "rolling"',
        ),
        ("scale", {}, 'scale: parameters lack "replicas"'),
        ("scale", {"replicas": -1}, "scale: parameter replicas is -1; must be at least 0"),
        ("scale", {"replicas": 1001}, "scale: parameter replicas is 1001; must be at most 1000"),
        ("scale", {"replicas": True}, "scale: parameter replicas must be of type integer"),
        ("scale", {"replicas": None}, "scale: parameter replicas must be of type integer"),
        (
            "scale",
            {"count": 1, "replicas": 1},
            'scale: parameters hold unknown "count"; allowed: "replicas"',
        ),
        ("start", {"now": 1}, 'start: parameters hold unknown "now"; allowed: none'),
        ("set_resources", {}, "set_resources: parameters must satisfy minProperties 1"),
        (
            "set_resources",
            {"memory": []},
            "set_resources: parameter memory must be of type string or integer",
        ),
        ("set_env", {"env": {"A": 1}}, "set_env: parameter env.A must be of type string"),
        (
            "get_logs",
            {"since": "yesterday"},
            r"get_logs: parameter since must match ^\d+(s|m|h|d)$",
        ),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(
    name: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        REGISTRY.validate(name, given)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(PermanentError, match="not JSON data"):
        REGISTRY.validate("set_resources", {"cpu": value})


def test_values_of_free_text_stand_in_no_message() -> None:
    with pytest.raises(PermanentError) as caught:
        REGISTRY.validate("set_env", {"env": {"A": {"k": "hunter2-secret"}}, "hm": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("name", "hint"), [("restrat", "restart"), ("§", "uici operations")])
def test_an_unknown_operation_is_refused_with_a_hint(name: str, hint: str) -> None:
    for refused in (REGISTRY.get, REGISTRY.describe):
        with pytest.raises(UnsupportedOperationError, match=hint):
            refused(name)
    with pytest.raises(UnsupportedOperationError, match=hint):
        REGISTRY.validate(name, {})


def test_validation_copies() -> None:
    env = {"A": "1"}
    valid = REGISTRY.validate("set_env", {"env": env})
    valid["env"]["B"] = "2"
    assert env == {"A": "1"}
    registry = registry_with(
        {"type": "object", "properties": {"words": {"type": "array", "default": []}}}
    )
    registry.validate("probe_it", {})["words"].append("x")
    assert registry.validate("probe_it", {}) == {"words": []}


def test_defaults_within_objects_and_lists_are_filled_in() -> None:
    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 7}},
    }
    registry = registry_with(
        {
            "type": "object",
            "properties": {"at": point, "via": {"type": "array", "items": point}, "any": True},
        }
    )
    given = {"at": {"x": 1.0}, "via": [{"x": 2}], "any": [1]}
    assert registry.validate("probe_it", given) == {
        "at": {"x": 1, "y": 7},
        "via": [{"x": 2, "y": 7}],
        "any": [1],
    }


def test_the_defaults_alone_are_told() -> None:
    assert REGISTRY.defaults("restart") == {"strategy": "graceful", "grace_seconds": 10}
    assert REGISTRY.defaults("scale") == {}


def test_an_incidental_parameter_has_to_be_one_of_the_operation() -> None:
    declared = {"type": "object", "properties": {"patience": {"type": "integer"}}}
    assert registry_with(declared, incidental=["patience"]).check() == []
    (problem,) = registry_with(declared, incidental=["haste"]).check()
    assert "haste" in problem


def test_templates_see_every_declared_name() -> None:
    assert REGISTRY.with_all_names("get_logs", {"lines": 5}) == {
        "lines": 5,
        "since": None,
        "level": None,
        "filter": None,
        "source": None,
    }


def test_a_description_is_json() -> None:
    described = json.loads(json.dumps([REGISTRY.describe(name) for name in REGISTRY.names()]))
    restart = next(d for d in described if d["name"] == "restart")
    assert restart["risk"] == "low"
    assert restart["timeout"] == "2m"
    assert restart["parameters"]["properties"]["strategy"]["default"] == "graceful"


@pytest.mark.parametrize(
    ("parameters", "fields", "problem"),
    [
        ({"type": "object", "properties": 3}, {}, "no JSON Schema"),
        ({"type": "array"}, {}, "type object"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, {}, "$ref"),
        ({"type": "object"}, {"inverse": {"operation": "undo", "parameters": {}}}, "no operation"),
        (
            {"type": "object"},
            {"inverse": {"operation": "scale", "parameters": {"count": 1}}},
            'takes no "count"',
        ),
        (
            {"type": "object"},
            {"inverse": {"operation": "scale", "parameters": {"replicas": "{{ before. }}"}}},
            "{{ before. }}",
        ),
    ],
)
def test_check_tells_mistakes(
    parameters: dict[str, Any], fields: dict[str, Any], problem: str
) -> None:
    problems = registry_with(parameters, **fields).check()
    assert len(problems) == 1
    assert problems[0].startswith("probe_it: ")
    assert problem in problems[0]


# ── the schema for a model ──────────────────────────────────────────────────────


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema within a strict schema."""
    inner = [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]
    inner += [schema["items"]] if "items" in schema else []
    return [schema, *(node for child in inner for node in nodes(child))]


def assert_strict(schema: dict[str, Any]) -> None:
    """By the rules of strict structured outputs."""
    Draft202012Validator.check_schema(schema)
    for node in nodes(schema):
        assert node.keys() <= STRICT_KEYWORDS
        assert "type" in node or "anyOf" in node
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])


def test_the_steps_schema_is_strict_and_pins_operation_and_target() -> None:
    schema = REGISTRY.schema_for_model(REGISTRY.names(), ["local/shop", "local/db"])
    assert_strict(schema)
    step = {
        "operation": "restart",
        "target": "local/shop",
        "parameters": {"strategy": None, "grace_seconds": 3},
        "why": "",
        "expected_effect": "",
    }
    fits = Draft202012Validator(schema).is_valid
    assert fits([])
    assert fits([step])
    assert not fits([step | {"operation": "destroy"}])
    assert not fits([step | {"target": "local/agent"}])
    assert not fits([step | {"parameters": {"strategy": "now", "grace_seconds": 3}}])
    assert not fits([step | {"parameters": {}}])
    assert not fits([step | {"more": 1}])


def test_only_the_offered_operations_fit() -> None:
    schema = REGISTRY.schema_for_model(["start"])
    step = {"target": "any", "parameters": {}, "why": "", "expected_effect": ""}
    fits = Draft202012Validator(schema).is_valid
    assert fits([step | {"operation": "start"}])
    assert not fits([step | {"operation": "stop"}])
    with pytest.raises(UnsupportedOperationError):
        REGISTRY.schema_for_model(["start", "no_such"])


@pytest.mark.parametrize(
    ("name", "answered", "parameters"),
    [
        ("set_env", {"env": [{"name": "A", "value": "1"}]}, {"env": {"A": "1"}}),
        ("set_env", {"env": {"A": "1"}}, {"env": {"A": "1"}}),
        ("set_resources", {"memory": "1Gi", "cpu": None}, {"memory": "1Gi"}),
        ("restart", {"strategy": None}, {"strategy": "graceful", "grace_seconds": 10}),
        ("start", None, {}),
    ],
)
def test_a_model_s_parameters_are_read_back(
    name: str, answered: Any, parameters: dict[str, Any]
) -> None:
    assert REGISTRY.from_model(name, answered) == parameters


@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("set_env", {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
        ("set_env", {"env": [{"name": "A"}]}),
        ("scale", {"replicas": None}),
        ("start", [1]),
        ("start", "now"),
    ],
)
def test_a_model_s_wrong_parameters_are_refused(name: str, answered: Any) -> None:
    with pytest.raises(PermanentError):
        REGISTRY.from_model(name, answered)


def test_a_branch_may_be_a_free_map() -> None:
    schema = {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {}]}
    assert_strict(strict(schema))
    assert from_strict([{"name": "a", "value": "b"}], schema) == {"a": "b"}
    assert from_strict("text", schema) == "text"
    optional = strict({"type": "object", "properties": {"either": schema}})
    assert optional["properties"]["either"]["anyOf"][-1] == {"type": "null"}
    either = {"anyOf": [{"type": ["object", "array"]}]}
    assert from_strict([1, 2], either) == [1, 2]
    assert from_strict([{"name": "a", "value": 1}], either) == {"a": 1}


SCALARS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "string", "minLength": 1, "pattern": "^[a-c]+$", "examples": ["abc"]},
    {"type": "integer", "minimum": -3, "maximum": 5, "default": 2},
    {"type": ["string", "integer"]},
    {"type": "boolean", "description": " words "},
    {"enum": ["a", 2, None, 2.5, True]},
    {"const": "only"},
    {},
]


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Parameter schemas as people write them."""
    scalar = st.sampled_from(SCALARS)

    def widen(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        names = st.dictionaries(st.sampled_from("pqr"), inner, min_size=1, max_size=3)
        return st.one_of(
            inner.map(lambda item: {"type": "array", "items": item, "maxItems": 3}),
            inner.map(lambda item: {"type": "object", "additionalProperties": item}),
            names.map(
                lambda props: {
                    "type": "object",
                    "properties": props,
                    "required": sorted(props)[:1],
                    "additionalProperties": False,
                }
            ),
            st.just({"oneOf": [{"type": "integer"}, {"type": "array"}]}),
        )

    return st.recursive(scalar, widen, max_leaves=5)


def to_strict(value: Any, schema: dict[str, Any]) -> Any:
    """What a model would write for a value, given `strict(schema)`."""
    if isinstance(value, list):
        return [to_strict(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    if "properties" not in schema:
        inner = schema["additionalProperties"]
        return [{"name": k, "value": to_strict(v, inner)} for k, v in value.items()]
    properties = schema["properties"]
    return {
        name: to_strict(value[name], inner) if name in value else None
        for name, inner in properties.items()
    }


@settings(max_examples=60)
@given(data=st.data(), schema=schemas())
def test_a_strict_schema_has_a_form_for_every_value(
    data: st.DataObject, schema: dict[str, Any]
) -> None:
    narrowed = strict(schema)
    assert_strict(narrowed)
    value = data.draw(values(schema))
    written = to_strict(value, schema)
    Draft202012Validator(narrowed).validate(written)
    assert from_strict(written, schema) == value


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit; null stands nowhere, as it means "not given" in objects."""
    if "properties" in schema:
        optional = {k: values(v) for k, v in schema["properties"].items()}
        required = {k: optional.pop(k) for k in schema["required"]}
        return st.fixed_dictionaries(required, optional=optional)
    if isinstance(schema.get("additionalProperties"), dict):
        return st.dictionaries(st.text(max_size=4), values(schema["additionalProperties"]))
    if "items" in schema:
        return st.lists(values(schema["items"]), max_size=3)
    return scalar_values(schema)


def scalar_values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "oneOf" in schema:
        return st.integers() | st.lists(st.text())
    if "enum" in schema:
        return st.sampled_from([item for item in schema["enum"] if item is not None])
    if "const" in schema:
        return st.just(schema["const"])
    kinds = {
        "string": st.text("abc", min_size=1),
        "integer": st.integers(-3, 5),
        "boolean": st.booleans(),
    }
    kind = schema.get("type", "string")
    return st.one_of([kinds[k] for k in ([kind] if isinstance(kind, str) else kind)])
