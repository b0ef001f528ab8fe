"""The page about the universal operations, as they are shipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.config_models import Operation

_HEAD = """# Universal operations

As shipped in `infrastructure/config/operations.yml`, and carried out as
`command_translations.yml` says. `uici operations` shows those of your own configuration; a new one
is [YAML alone](../../CONTRIBUTING.md#add-an-operation-yaml-alone).

What runs alone, what waits for a person and what is denied is decided by risk and policy:
[what may run alone](../how-to/guard.md). *Undone by* is what takes a step back that did not help;
"nothing" is declared `irreversible`.

| operation | risk | has to be seen afterwards | undone by | in |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    config = UniversalConfigLoader().load()
    translations = config.translations.translations
    rows, details = [], []
    for name, operation in config.operations.operations.items():
        places = [where for where, able in translations.items() if name in able]
        rows.append(
            f"| [`{name}`](#{name}) | {operation.risk.value} | {_effect(operation)} |"
            f" {_undone(operation)} | {', '.join(places)} |"
        )
        details.append(_details(name, operation))
    return _HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(details) + "\n"


def _effect(operation: Operation) -> str:
    return "" if operation.effect.value == "none" else operation.effect.value.replace("_", " ")


def _undone(operation: Operation) -> str:
    if operation.inverse is not None:
        return f"`{operation.inverse.operation}`"
    return "nothing" if operation.irreversible else ""


def _details(name: str, operation: Operation) -> str:
    lines = [f"## {name}", "", operation.description]
    properties: Mapping[str, Any] = operation.parameters.get("properties", {})
    if properties:
        required = operation.parameters.get("required", ())
        lines += ["", "| parameter | type | default | meaning |", "|---|---|---|---|"]
        for key, schema in properties.items():
            default = schema.get("default")
            given = "required" if key in required else ("" if default is None else f"`{default}`")
            meaning = schema.get("description", "")
            if key in operation.bounds:
                meaning += f" As a repair: only `spec{operation.bounds[key]}`."
            lines.append(f"| `{key}` | {_type(schema)} | {given} | {meaning.strip()} |")
    return "\n".join(lines)


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    word = " or ".join(kind) if isinstance(kind, list) else str(kind)
    limits = [
        f"{name} {schema[key]}"
        for key, name in (("minimum", "from"), ("maximum", "to"))
        if key in schema
    ]
    return " ".join(
        [{"string": "text", "array": "list", "object": "mapping"}.get(word, word), *limits]
    )
