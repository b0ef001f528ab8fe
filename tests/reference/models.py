"""A page about one kind of file: every key, its type, its value and its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from infrastructure.config_models.values import CommitUrl, Identifier, Period, Regex, Url
from infrastructure.json_schemas import json_schema
from infrastructure.quantities import Cpu, Duration, Memory
from infrastructure.service import (
    Document,
    EnvName,
    Moment,
    Name,
    Pointer,
    TimeOfDay,
)

Schema = Mapping[str, Any]

_LONGEST = 48  # a longer shipped value is to be read in the file itself
_WORDS = {"description", "default", "title", "examples"}


def _plain(schema: Schema) -> str:
    """A schema without words, to be compared."""
    return json.dumps({k: v for k, v in schema.items() if k not in _WORDS}, sort_keys=True)


_KNOWN = {
    _plain(TypeAdapter(kind).json_schema()): word
    for kind, word in (
        (Duration, "duration, such as `30s`"),
        (Period, "duration, such as `30s`"),
        (Memory, "memory, such as `256Mi`"),
        (Cpu, 'cores, such as `"0.5"`'),
        (Name, "name"),
        (Identifier, "identifier"),
        (Url, "http(s) address"),
        (CommitUrl, "address with `{sha}`"),
        (Regex, "regular expression"),
        (Moment, "time with zone"),
        (TimeOfDay, "time of day"),
        (Pointer, "JSON pointer"),
        (EnvName, "variable's name"),
    )
}


class _Page:
    def __init__(self, model: type[Document], example: Path | None) -> None:
        self.schema = json_schema(model)
        self.defs: Mapping[str, Schema] = self.schema.get("$defs", {})
        self.shipped = yaml.safe_load(example.read_text(encoding="utf-8")) if example else None
        self.has_example = example is not None
        # Where each part is used, in the order of the file.
        self.places: dict[str, list[str]] = {}
        self._find(self.schema, "")

    def _find(self, schema: Schema, path: str) -> None:
        for key, value in schema["properties"].items():
            for name in _refs(value):
                if "properties" not in self.defs[name]:
                    continue
                first = name not in self.places
                self.places.setdefault(name, []).append(f"{path}{key}{_many(value)}")
                if first:
                    self._find(self.defs[name], f"{path}{key}{_many(value)}.")

    def heading(self, name: str) -> str:
        places = self.places[name]
        return places[0] if len(places) == 1 else name

    def type(self, schema: Schema) -> str:
        if "$ref" in schema:
            return self._named(schema["$ref"].rpartition("/")[2])
        if _plain(schema) in _KNOWN:
            return _KNOWN[_plain(schema)]
        for word in ("const", "enum"):
            if word in schema:
                values = [schema[word]] if word == "const" else schema[word]
                return ", ".join(f"`{value}`" for value in values)
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            kinds = dict.fromkeys(self.type(c) for c in choices if c.get("type") != "null")
            return " or ".join(kinds)
        return self._built_in(schema)

    def _named(self, name: str) -> str:
        target = self.defs[name]
        if "properties" not in target:
            return self.type(target)
        return f"[`{self.heading(name)}`](#{anchor(self.heading(name))})"

    def _built_in(self, schema: Schema) -> str:
        kind = schema.get("type", "anything")
        if kind == "array":
            return f"list of {self.type(schema.get('items', {}))}"
        if kind == "object":
            values = [
                schema.get("additionalProperties"),
                *schema.get("patternProperties", {}).values(),
            ]
            inner = [self.type(value) for value in values if isinstance(value, dict) and value]
            return f"mapping to {inner[0]}" if inner else "mapping"
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        word = {"string": "text", "boolean": "`true`, `false`"}.get(str(kind), str(kind))
        if low is not None and high is not None:
            return f"{word} from {low} to {high}"
        if low is not None:
            return f"{word}, at least {low}" if "minimum" in schema else f"{word} above {low}"
        return word

    def rows(self, schema: Schema, path: str | None) -> Iterator[str]:
        required = set(schema.get("required", ()))
        for key, value in schema["properties"].items():
            kind, meaning = self.type(value), value.get("description", "")
            if key in {"apiVersion", "kind"}:
                meaning = "Always so."
            if self.has_example:
                place = f"{path}.{key}" if path else key
                given = self._shipped(place) if path is not None else ""
                given = given or ("" if key in required else "optional")
            else:
                given = "required" if key in required else _default(value)
            yield f"| `{key}` | {_cell(kind)} | {given} | {_cell(meaning)} |"

    def _shipped(self, path: str) -> str:
        value = self.shipped
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                return ""
            value = value[part]
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else _yaml(value)
        if isinstance(value, dict) or len(text) > _LONGEST:
            return ""
        return f"`{_cell(text)}`"


def model_page(title: str, model: type[Document], *, example: Path | None, intro: str) -> str:
    """The whole page."""
    page = _Page(model, example)
    column = "shipped" if page.has_example else "default"
    head = f"| key | type | {column} | meaning |\n|---|---|---|---|"
    parts = [
        f"# {title}",
        _words(page.schema),
        intro,
        "\n".join([head, *page.rows(page.schema, "")]),
    ]
    for name, places in page.places.items():
        schema = page.defs[name]
        parts.append(f"## `{page.heading(name)}`")
        parts.append(_words(schema))
        if len(places) > 1:
            parts.append("At " + ", ".join(f"`{place}`" for place in places) + ".")
        path = places[0] if len(places) == 1 and "*" not in places[0] else None
        parts.append("\n".join([head, *page.rows(schema, path)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def anchor(heading: str) -> str:
    """What a forge calls a heading."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _refs(schema: Any) -> Iterator[str]:
    """Names of the parts that a key's value may be made of."""
    if isinstance(schema, list):
        for item in schema:
            yield from _refs(item)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for key, item in schema.items():
            if key not in {"default", "examples"}:
                yield from _refs(item)


def _many(schema: Schema) -> str:
    kinds = [schema, *schema.get("anyOf", ())]
    if any(kind.get("type") == "array" for kind in kinds):
        return "[*]"
    if any(kind.get("type") == "object" and "properties" not in kind for kind in kinds):
        return ".*"
    return ""


def _words(schema: Schema) -> str:
    text = " ".join(str(schema.get("description", "")).split())
    return "" if text == "See the module." or text.endswith(".yml") else text


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value in (None, []) or isinstance(value, dict):
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else _yaml(value)
    return f"`{_cell(text)}`" if len(text) <= _LONGEST else ""


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
