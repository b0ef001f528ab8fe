"""What the forms of deployments offer: environments and services to choose from.

Prefect makes a form of a deployment's parameter schema; a list of names in it becomes a
list to pick from. Pure. Neighbours: `flows.prefect_edge.deployment` registers the schema,
`flows.serve` knows the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

# A list that nobody reads through; a name is typed faster. Checked by the run all the same.
_MOST = 500
_FIELDS = ("environment", "targets")  # the flows' names of these parameters


@dataclass(frozen=True, slots=True)
class Choices:
    """Names to choose from. None: not known yet; what a form offers already stays."""

    environments: Sequence[str] | None = None
    targets: Sequence[str] | None = None

    def of(self, parameter: str) -> Sequence[str] | None:
        """Those of one parameter of a flow."""
        return {"environment": self.environments, "targets": self.targets}.get(parameter)


def form_schema(
    flow: Flow[..., Any], choices: Choices, registered: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The flow's parameter schema, with lists to pick from.

    Args:
        flow: whose parameters.
        choices: what is known now.
        registered: the schema that the server holds; what it offers stays where nothing
            newer is known.
    """
    schema: dict[str, Any] = parameter_schema(flow).model_dump_for_openapi()
    _flatten(schema)
    for name in _FIELDS:
        if (field := schema["properties"].get(name)) is None:
            continue
        known = choices.of(name)
        names = sorted(known) if known is not None else _offered(registered, name)
        items: dict[str, Any] = {"type": "string"}
        if names and len(names) <= _MOST:
            items["enum"] = names
        field |= {"type": "array", "items": items, "uniqueItems": True}
    return schema


def _flatten(schema: dict[str, Any]) -> None:
    """Take null, which only means "not given", out of the types of optional parameters.

    With a second type Prefect's form asks for the type before it shows a field.
    """
    definitions = schema.get("definitions", {})
    for name, field in schema["properties"].items():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) != 1:
            continue
        named = kinds[0].get("$ref", "").rpartition("/")[2]
        kind = definitions.get(named, kinds[0])
        own = {key: value for key, value in field.items() if key not in {"anyOf", "default"}}
        schema["properties"][name] = {**kind, **own}


def _offered(registered: Mapping[str, Any] | None, name: str) -> list[str]:
    items = (registered or {}).get("properties", {}).get(name, {}).get("items", {})
    found = items.get("enum", [])
    return [str(each) for each in found]
