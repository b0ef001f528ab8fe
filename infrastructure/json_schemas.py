"""JSON Schemas of everything that people write, generated from the models.

Editors complete and check YAML by the schema that a file's first line names. They are
committed; `python -m infrastructure.json_schemas` writes them anew, and a test fails
when they are not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from docstring_parser import DocstringStyle, parse
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema

from infrastructure.config_models import (
    Agents,
    CommandTranslations,
    Environments,
    Operations,
    Platform,
    Runbooks,
)
from infrastructure.knowledge import Knowledge
from infrastructure.quantities import format_duration
from infrastructure.service import Document, Service
from infrastructure.sources.source import Source

_ROOT = Path(__file__).parents[1]
_CONFIG: Mapping[str, type[Document]] = {
    "platform": Platform,
    "agents": Agents,
    "environments": Environments,
    "operations": Operations,
    "command_translations": CommandTranslations,
    "runbooks": Runbooks,
}
# Files of the reports branch that people may edit.
_LEARNED: Mapping[str, type[Document]] = {"knowledge": Knowledge}
# Beside the Service files, so that they find it in every clone of a state repository.
_STATE: Mapping[str, type[Document]] = {"service": Service, "source": Source}

# `${env:NAME}` may stand wherever a single value stands.
_REFERENCE = {
    "type": "string",
    "pattern": r"\$\{(env|file):[^}]+\}",
    "description": "filled in when the configuration is loaded",
}
_SCALARS = frozenset({"integer", "number", "boolean"})


def schemas(root: Path = _ROOT) -> dict[Path, str]:
    """Path → text of every schema file. The same models always give the same text."""
    config, state = root / "infrastructure/config/schemas", root / "desired-state"
    return {
        **{config / _name(n): _text(m, references=_REFERENCE) for n, m in _CONFIG.items()},
        **{config / _name(n): _text(m, references=None) for n, m in _LEARNED.items()},
        **{state / _name(n): _text(m, references=None) for n, m in _STATE.items()},
    }


def service_schema() -> str:
    """The text of the schema that Service files name."""
    return _text(Service, references=None)


def main(root: Path = _ROOT) -> None:
    """Write the schema files."""
    for path, text in schemas(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(root)}\n")


def _name(name: str) -> str:
    return f"{name}.schema.json"


class _Generator(GenerateJsonSchema):
    """Pydantic's, with defaults as people write them and no titles made of field names."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 — as overridden
        return False


def json_schema(model: type[Document]) -> dict[str, Any]:
    """The schema of a model: every key with what its docstring says of it."""
    return _told(_bare(model))


def _bare(model: type[Document]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    closed: dict[str, Any] = _closed_names(schema)
    return closed


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """The same with words: each key has its sentence of the docstring's section "Attributes"."""
    for described in (schema, *schema.get("$defs", {}).values()):
        if "properties" in described:
            _tell(described)
    return schema


def _tell(schema: dict[str, Any]) -> None:
    told = parse(schema.get("description", ""), DocstringStyle.GOOGLE)
    attributes = {to_camel(p.arg_name.rstrip("_")): p.description for p in told.params}
    for key, value in schema["properties"].items():
        if meaning := attributes.get(key):
            words = " ".join(meaning.split())
            value["description"] = words[0].upper() + words[1:]
    if attributes:
        schema["description"] = (told.description or "").strip()


def _text(model: type[Document], *, references: dict[str, Any] | None) -> str:
    schema = _bare(model)
    if references is not None:
        schema = _with_references(schema)
        schema["$defs"]["Reference"] = references
    schema = _told(schema)
    whole = {"$schema": GenerateJsonSchema.schema_dialect, **schema}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _closed_names(schema: Any) -> Any:
    """A mapping whose names follow a pattern has no other names."""
    if isinstance(schema, list):
        return [_closed_names(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed_names(item) for key, item in schema.items()}
    if "patternProperties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def _with_references(schema: Any) -> Any:
    """The schema, with `${env:…}` allowed for every value that is more than any text."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if _is_narrow(schema):
        return {"anyOf": [schema, {"$ref": "#/$defs/Reference"}]}
    return {
        # Names and values of `const` and `enum` are no schemas.
        key: item if key in {"const", "enum", "required"} else _with_references(item)
        for key, item in schema.items()
    }


def _is_narrow(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    return (bool(kinds) and (kinds <= _SCALARS)) or (
        "string" in kinds and not {"pattern", "enum", "format"}.isdisjoint(schema)
    )


if __name__ == "__main__":
    main()
