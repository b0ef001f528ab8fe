"""A model's complaints → problems with file, line, column, and what to write instead.

Pydantic speaks of types; a person who writes YAML thinks in fields and lines. All
complaints about a document are told at once, each once, and none shows a value that
could be a secret. Neighbours: `infrastructure.yaml_source` knows the places.
"""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from infrastructure.errors import InvalidInputError, Problem
from infrastructure.service import PATTERN_WORDS
from infrastructure.yaml_source import Location, YamlDocument

_Model = TypeVar("_Model", bound=BaseModel)
_MIN_PART = 4  # characters from which on a part of a name tells what was meant
_MAX_SHOWN = 40  # characters of a value that a message repeats


def _nothing(_: Location) -> bool:
    return False


def _as_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Discretion:
    """What a message must not repeat.

    `hides` tells for a location whether its value may be secret; `redact` cuts what
    looks like a secret out of a finished message.
    """

    hides: Callable[[Location], bool] = _nothing
    redact: Callable[[str], str] = _as_is


def validate(
    model: type[_Model],
    document: YamlDocument,
    *,
    data: Any = None,
    discretion: Discretion = Discretion(),
    prefix: Location = (),
) -> _Model:
    """The document as a model.

    Args:
        model: what the document has to be.
        document: where the values stand.
        data: the values, where they differ from what is written (references resolved).
        discretion: what messages must not repeat.
        prefix: where the document stands in a larger one, for messages.

    Raises:
        InvalidInputError: every mistake that the model finds.
    """
    values = document.data if data is None else data
    try:
        return model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as exc:
        problems = _Complaints(model, document, values, discretion, prefix).problems(exc)
        raise InvalidInputError(problems) from exc


def field_path(location: Iterable[str | int]) -> str:
    """`("spec", "ports", 0)` → `spec.ports[0]`."""
    text = ""
    for segment in location:
        text += f"[{segment}]" if isinstance(segment, int) else f".{segment}"
    return text.removeprefix(".")


def suggestion(word: str, known: Iterable[str]) -> str:
    """`did you mean replicas?`, or the list of what is known there, or nothing."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1) or [
        name for name in names if len(word) >= _MIN_PART and word.lower() in name
    ]
    if close:
        return f"did you mean {names[close[0]]}?"
    return f"known here: {', '.join(names.values())}" if names else ""


@dataclass(frozen=True, slots=True)
class _Complaints:
    model: type[BaseModel]
    document: YamlDocument
    values: Any
    discretion: Discretion
    prefix: Location

    def problems(self, exc: ValidationError) -> list[Problem]:
        found: dict[tuple[int, int, str], list[tuple[str, str]]] = {}
        for error in exc.errors(include_url=False):
            location = self._real(error["loc"], missing=error["type"] == "missing")
            message, remedy, of_key = self._words(location, error)
            line, column = self.document.position(location, of_key=of_key)
            path = field_path((*self.prefix, *location)) or "the document"
            # Several complaints about one value are the members of a union: alternatives.
            said = found.setdefault((line, column, path), [])
            if (message, remedy) not in said:
                said.append((message, remedy))
        return [
            Problem(
                self.document.file,
                line,
                column,
                self.discretion.redact(f"{path} {', or '.join(message for message, _ in said)}"),
                self.discretion.redact(next((remedy for _, remedy in said if remedy), "")),
            )
            for (line, column, path), said in found.items()
        ]

    def _real(self, location: Location, *, missing: bool) -> Location:
        """The location without what Pydantic adds to it (union members, `[key]`)."""
        real: list[str | int] = []
        value = self.values
        for number, segment in enumerate(location):
            if _has(value, segment):
                value = value[segment]
            elif not missing or number < len(location) - 1:
                continue
            real.append(segment)
        return tuple(real)

    def _words(self, location: Location, error: Mapping[str, Any]) -> tuple[str, str, bool]:
        """Message without the path, remedy, and whether the key is meant."""
        name = str(location[-1]) if location else ""
        if error["type"] == "missing":
            return "is missing", f"add {name}: …", True
        if error["type"] in _TAG_ERRORS:
            return *self._about_tag(location, error), False
        if error["type"] == "extra_forbidden":
            known = known_fields(self.model, location[:-1])
            return "is not a known field", suggestion(name, known), True
        message, remedy = self._about_value(error, self._shown(location, error["input"]))
        return message, remedy, error["loc"][-1:] == ("[key]",)

    def _about_tag(self, location: Location, error: Mapping[str, Any]) -> tuple[str, str]:
        """Of a mapping whose kind is told by one of its keys."""
        key = str(error["ctx"]["discriminator"]).strip("'")
        kinds = ", ".join(tags(self.model, location, key))
        if error["type"] == "union_tag_not_found":
            return f"has no {key}, which says of what kind it is", f"add {key}: {kinds}"
        return f"has a {key} that is none of {kinds}", ""

    def _about_value(self, error: Mapping[str, Any], shown: str) -> tuple[str, str]:
        """Message and remedy; `shown` is the value as a message may repeat it, or empty."""
        kind, value, context = error["type"], error["input"], error.get("ctx", {})
        not_this = f", not {shown}" if shown else ""
        if kind == "value_error":
            is_scalar = shown and not isinstance(value, dict | list | tuple)
            message = f"can't be read: {shown}" if is_scalar else "is not right"
            return message, str(context["error"])
        if kind in {"enum", "literal_error"}:
            allowed = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            close = difflib.get_close_matches(str(value).lower(), allowed, n=1) if shown else []
            remedy = f"did you mean {close[0]}?" if close else ""
            return f"must be one of {', '.join(allowed)}{not_this}", remedy
        if kind == "string_type":
            return f"must be text{not_this}", _quoted(value, shown)
        if kind == "string_pattern_mismatch":
            words = PATTERN_WORDS.get(context["pattern"], f"match {context['pattern']}")
            return f"must {words}{not_this}", ""
        if kind in {"too_short", "too_long"}:
            least = "at least" if kind == "too_short" else "at most"
            limit = context.get("min_length", context.get("max_length"))
            return f"must have {least} {limit} {'entry' if limit == 1 else 'entries'}", ""
        return f"{_plain(kind, error['msg'])}{not_this}", ""

    def _shown(self, location: Location, value: Any) -> str:
        """`"two"`; empty where the value may be secret or is long."""
        if value is None:
            return "empty"
        if isinstance(value, dict | list | tuple):
            return "a mapping" if isinstance(value, dict) else "a list"
        text = json.dumps(value, ensure_ascii=False, default=str)
        return "" if self.discretion.hides(location) or len(text) > _MAX_SHOWN else text


def _has(value: Any, segment: str | int) -> bool:
    if isinstance(value, dict):
        return segment in value
    return isinstance(value, list) and isinstance(segment, int) and segment < len(value)


_TAG_ERRORS = frozenset({"union_tag_not_found", "union_tag_invalid"})
_TYPE_WORDS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "dict": "must be a mapping",
    "model": "must be a mapping",
    "tuple": "must be a list",
    "list": "must be a list",
    "datetime": "must be a date and time such as 2026-12-01T00:00:00Z",
}


def _plain(kind: str, said: str) -> str:
    """Pydantic's error type or sentence, in a user's words."""
    family, _, rest = kind.partition("_")
    if family in _TYPE_WORDS and rest.split("_")[0] in {"type", "parsing", "from"}:
        return _TYPE_WORDS[family]
    for start in ("Input should ", "String should ", "Value should ", "must "):
        if said.startswith(start):
            return "must " + said.removeprefix(start)
    return f"is not right: {said}"


def _quoted(value: Any, shown: str) -> str:
    if isinstance(value, bool | int | float) and shown:
        return f'put it in quotes: "{json.dumps(value)}"'
    return ""


def known_fields(model: Any, location: Location) -> list[str]:
    """Names that YAML may use at this location of the model, in the model's order."""
    reached = list(_members(model))
    for segment in location:
        reached = [leaf for each in reached for leaf in _below(each, segment)]
    return [
        field.alias or name
        for each in reached
        if isinstance(each, type) and issubclass(each, BaseModel)
        for name, field in each.model_fields.items()
    ]


def tags(model: Any, location: Location, key: str) -> list[str]:
    """Values by which `key` tells the kinds of mappings apart that may stand at this location."""
    reached = list(_members(model))
    for segment in location:
        reached = [leaf for each in reached for leaf in _below(each, segment)]
    return [
        str(value)
        for each in reached
        if isinstance(each, type) and issubclass(each, BaseModel)
        for name, field in each.model_fields.items()
        if key in (field.alias, name)
        for value in get_args(field.annotation)
    ]


def _members(annotation: Any) -> Iterable[Any]:
    """The types that a value may have, with unions and annotations opened."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _below(annotation: Any, segment: str | int) -> Iterable[Any]:
    """The types of what is below a segment."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        yield from _members(arguments[1])
    elif origin in {tuple, list}:
        yield from _members(arguments[0])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if (field.alias or name) == segment:
                yield from _members(field.annotation)
