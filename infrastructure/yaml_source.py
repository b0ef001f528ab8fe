"""YAML as people write it → plain data that remembers where each value stands.

Used by the config loader and the desired-state parser; `infrastructure.model_problems`
turns a model's complaints into places with what is kept here. Read event by event, and
not with PyYAML's own constructors, for four reasons: every value keeps its line and
column, duplicate keys and tags are refused, nesting and aliases are bounded, and plain
words follow YAML 1.2 as editors do (`no` and `22:22` are texts, a date is a text).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from infrastructure.errors import InvalidInputError, Problem

Location = tuple[str | int, ...]

# Structural limits, not settings: nothing that a person writes comes near them.
_MAX_DEPTH = 64
_MIN_NODES = 10_000  # aliases may always expand a document to this many values
_MIN_TEXT = 1_000_000  # and repeat this many characters of text

# libyaml where PyYAML was built with it (every wheel is): eight times faster.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Events are of these very classes, never of a subclass.
_SCALAR, _SEQUENCE_END, _MAPPING_END = (
    yaml.ScalarEvent,
    yaml.SequenceEndEvent,
    yaml.MappingEndEvent,
)

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("0123456789+-.")
# Longer digit strings (account numbers, hashes) are kept as text: no number here needs them.
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_BASED = re.compile(r"0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")


# Everything outside of c-printable (YAML 1.2, §5.1). Not compiled before it is needed: that
# takes longer than reading most files.
_FORBIDDEN = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"

_NO_KEYS: dict[str, tuple[int, int]] = {}
_NO_MEMBERS: dict[str, Place] = {}
_NO_ITEMS: list[Place] = []


class Place:
    """Where one value stands, and the places of what it contains."""

    __slots__ = ("column", "items", "keys", "line", "members", "text")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.text: str | None = None  # a scalar as it was written, without quotes
        # Shared until a mapping or sequence brings its own: most places are scalars.
        self.keys = _NO_KEYS
        self.members = _NO_MEMBERS
        self.items = _NO_ITEMS

    def below(self, segment: str | int) -> Place | None:
        """The place of a member or item, or None."""
        if isinstance(segment, str):
            return self.members.get(segment)
        return self.items[segment] if 0 <= segment < len(self.items) else None


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file: its data, and where everything in it stands.

    `data` may share values between places (aliases): treat it as immutable.
    """

    file: str
    data: Any
    root: Place

    def position(self, location: Location, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column (from 1) of a value, or of its key.

        What does not exist is answered with the nearest that does: the deepest existing
        ancestor's key.
        """
        place = self.root
        parent: Place | None = None
        last: str | int = ""
        for segment in location:
            below = place.below(segment)
            if below is None:
                of_key = True
                break
            place, parent, last = below, place, segment
        if of_key and parent is not None and isinstance(last, str):
            return parent.keys[last]
        return place.line, place.column

    def below(self, location: Location) -> Place | None:
        """The place of a value; None if there is no such value."""
        place: Place | None = self.root
        for segment in location:
            place = place.below(segment) if place is not None else None
        return place

    def written(self, location: Location) -> str | None:
        """A scalar's own text (`1.10` and not the number 1.1); None for anything else."""
        place = self.below(location)
        return place.text if place is not None else None

    def problem(
        self, location: Location, message: str, remedy: str = "", *, of_key: bool = False
    ) -> Problem:
        """A mistake at a location of this document."""
        line, column = self.position(location, of_key=of_key)
        return Problem(self.file, line, column, message, remedy)


def parse_yaml(content: bytes, *, file: str, max_bytes: int) -> tuple[YamlDocument, ...]:
    """Every document of a YAML file; empty ones are left out.

    Args:
        content: the file.
        file: its name in messages.
        max_bytes: a larger file is refused unread.

    Raises:
        InvalidInputError: it is too large, not UTF-8, not YAML, repeats a key, carries a
            tag, or nests or expands beyond bounds. Nothing else is ever raised.
    """
    if len(content) > max_bytes:
        message = f"the file has {len(content)} bytes, more than the {max_bytes} allowed"
        raise InvalidInputError([Problem(file, 0, 0, message, "split it")])
    reader = _Reader(file, _decode(content, file), limit=max(_MIN_NODES, len(content)))
    documents = reader.read()
    if reader.problems:
        raise InvalidInputError(reader.problems)
    return documents


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line, column = _line_column(content[: exc.start].decode("utf-8", "replace"))
        raise InvalidInputError(
            [Problem(file, line, column, "this is not UTF-8 text", "save the file as UTF-8")]
        ) from exc


def _line_column(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def plain_scalar(text: str) -> Any:
    """Value of an unquoted scalar by the core schema of YAML 1.2 (§10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _text_size(value: Any) -> int:
    """Characters of all texts in a value, keys included."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _text_size(item) for key, item in value.items())
    return sum(_text_size(item) for item in value) if isinstance(value, list) else 0


class _RefusedError(Exception):
    """The rest of the file can't be read; the reason is already among the problems."""


class _Reader:
    """Builds data and places from parser events. One for each file."""

    def __init__(self, file: str, text: str, *, limit: int) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._text = text
        self._limit = limit
        self._nodes = 0
        self._repeated = 0
        self._depth = 0
        self._anchors: dict[str, tuple[Any, Place, int, int]] = {}
        self._events: Iterator[Any] = iter(())

    def read(self) -> tuple[YamlDocument, ...]:
        documents = []
        try:
            loader = _LOADER(self._text)
            self._events = iter(loader.get_event, None)
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    self._anchors = {}
                    data, place = self._node(next(self._events))
                    if data is not None:
                        documents.append(YamlDocument(self._file, data, place))
        except yaml.YAMLError as exc:
            self.problems.append(_syntax_problem(exc, self._file, self._text))
        except _RefusedError:
            pass  # its problem is recorded
        return tuple(documents)

    def _report(self, event: Any, message: str, remedy: str) -> None:
        mark = event.start_mark
        self.problems.append(Problem(self._file, mark.line + 1, mark.column + 1, message, remedy))

    def _refuse(self, event: Any, message: str, remedy: str) -> NoReturn:
        self._report(event, message, remedy)
        raise _RefusedError

    def _node(self, event: Any) -> tuple[Any, Place]:
        # Half of all time goes by here: the plain scalar, by far the commonest, comes first.
        if type(event) is _SCALAR and event.anchor is None:
            return self._scalar_node(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._nodes
        data: Any
        if isinstance(event, yaml.ScalarEvent):
            data, place = self._scalar_node(event)
        else:
            data, place = self._collection(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (data, place, self._nodes - before, _text_size(data))
        return data, place

    def _scalar_node(self, event: Any) -> tuple[Any, Place]:
        self._nodes += 1
        if self._nodes > self._limit or event.tag is not None:
            self._doubt(event)
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1)
        place.text = text = event.value
        return (plain_scalar(text) if event.implicit[0] else text), place

    def _collection(self, event: Any) -> tuple[Any, Place]:
        self._nodes += 1
        if self._nodes > self._limit or event.tag is not None:
            self._doubt(event)
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._refuse(event, f"nested deeper than {_MAX_DEPTH} levels", "flatten it")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        data: Any = self._mapping(place) if is_mapping else self._sequence(place)
        self._depth -= 1
        return data, place

    def _doubt(self, event: Any) -> None:
        """A value too many, or a tag."""
        self._count(event, 0)
        if event.tag is not None:
            self._report(event, f"the tag {event.tag} is not allowed", "write the value alone")

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > self._limit:
            message = f"aliases expand this file to more than {self._limit} values"
            self._refuse(event, message, "write the values out, or use fewer aliases")

    def _alias(self, event: Any) -> tuple[Any, Place]:
        # An anchor is known only after its value is complete, so a value can't contain itself.
        if event.anchor not in self._anchors:
            self._report(
                event,
                f"the alias *{event.anchor} has no anchor before it",
                f"write &{event.anchor} in front of the value that is meant",
            )
            return None, Place(event.start_mark.line + 1, event.start_mark.column + 1)
        data, place, size, characters = self._anchors[event.anchor]
        self._count(event, size)
        # In memory they share one text; whoever writes it out or fills it in does not.
        self._repeated += characters
        most = max(_MIN_TEXT, len(self._text))
        if self._repeated > most:
            message = f"aliases repeat more than {most} characters of text"
            self._refuse(event, message, "write the values out, or use fewer aliases")
        return data, place

    def _sequence(self, place: Place) -> list[Any]:
        data = []
        place.items = []
        for event in self._events:
            if type(event) is _SEQUENCE_END:
                break
            value, below = self._node(event)
            data.append(value)
            place.items.append(below)
        return data

    def _mapping(self, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[tuple[Any, Any, Place]] = []
        keys: dict[str, tuple[int, int]] = {}
        members: dict[str, Place] = {}
        place.keys, place.members = keys, members
        for event in self._events:
            if type(event) is _MAPPING_END:
                break
            # As in `_node`: the usual key and the usual value take the shortest way.
            usual = type(event) is _SCALAR and event.tag is None and event.value
            key = event.value if usual else self._key(event)
            of_key = next(self._events)
            plain = type(of_key) is _SCALAR and of_key.anchor is None
            value, below = self._scalar_node(of_key) if plain else self._node(of_key)
            if key == "<<" and event.implicit[0]:
                merged.append((event, value, below))
            elif key is None:
                continue
            elif key in data:
                self._report(
                    event, f"{key} is written twice", f"the first is on line {keys[key][0]}"
                )
            else:
                data[key] = value
                mark = event.start_mark
                keys[key] = (mark.line + 1, mark.column + 1)
                members[key] = below
        for start, value, below in merged:
            self._merge(start, data, place, value=value, source=below)
        return data

    def _key(self, event: Any) -> str | None:
        if type(event) is _SCALAR and event.tag is None:
            text: str = event.value
            if text or not event.implicit[0]:
                return text
            self._report(event, "a key is missing before the colon", "write its name")
            return None
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event)
        remedy = 'a value that begins with a brace needs quotes, such as "{{ … }}"'
        self._report(event, "a key has to be a plain word", remedy)
        return None

    def _merge(
        self, event: Any, data: dict[str, Any], place: Place, *, value: Any, source: Place
    ) -> None:
        """`<<: *defaults`: what is written here wins, and an earlier source over a later."""
        sources = [(value, source)]
        if isinstance(value, list):
            sources = list(zip(value, source.items, strict=True))
        for content, origin in sources:
            if not isinstance(content, dict):
                self._report(event, "<< takes a mapping or a list of them", "name an alias")
                return
            for key in content.keys() - data.keys():
                place.keys[key] = origin.keys[key]
                place.members[key] = origin.members[key]
            data |= {key: item for key, item in content.items() if key not in data}


_HINTS = (
    ("could not find expected ':'", "a line lacks its colon, or a quote is not closed"),
    (
        "mapping values are not allowed",
        'check the indentation, and put text that contains ": " in quotes',
    ),
    ("did not find expected key", "check the indentation here and one line above"),
    ("block end", "check the indentation here and one line above"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("cannot start any token", "put the value in quotes; indent with spaces, never with tabs"),
    ("did not find expected ','", "a comma or a closing bracket is missing"),
)


def _syntax_problem(exc: yaml.YAMLError, file: str, text: str) -> Problem:
    """What the YAML parser says, in one line, with a next step."""
    if isinstance(exc, yaml.MarkedYAMLError):
        mark = exc.problem_mark or exc.context_mark
        said = exc.problem or exc.context or "not YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        if exc.context_mark and exc.context_mark.line + 1 < line:
            said += f"; what is not complete began on line {exc.context_mark.line + 1}"
    else:
        # A character that YAML does not allow; its offset counts bytes or characters,
        # depending on the parser, so the character itself is looked for.
        said = "a control character is not allowed in YAML"
        match = re.search(_FORBIDDEN, text)
        line, column = _line_column(text[: match.start()]) if match else (0, 0)
    remedy = next((hint for part, hint in _HINTS if part in said), "check this line")
    return Problem(file, line, column, f"not valid YAML: {said}", remedy)
