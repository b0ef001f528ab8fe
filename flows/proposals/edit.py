"""One scalar of one document of a YAML file, replaced as a person would: nothing else moves.

A splice and not a dump: comments, order, quotes, indentation, line ends and every other
document stay byte for byte. What can't be edited in one line is refused, with the reason.
Pure; that the result means what it should is checked by `flows.proposals.propose`, with
the parser of desired state.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infrastructure.service import Service
from infrastructure.yaml_source import Location, Place, YamlDocument, parse_yaml

# Line ends that YAML counts and other tools don't: positions would not be the same.
_ODD_LINE_ENDS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
_PLAIN_STYLES = {None: "{}", "": "{}", '"': '"{}"', "'": "'{}'"}
_UNQUOTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*[A-Za-z0-9]|[A-Za-z0-9]")


class UneditableError(Exception):
    """The file can't be changed in one line; says why."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A scalar in its line: columns from 0, `style` its quotes."""

    line: int
    start: int
    end: int
    style: str | None


def declares(document: YamlDocument, service: Service) -> bool:
    """Whether this document of a file is the service's own."""
    data = document.data
    if not isinstance(data, dict) or data.get("kind") != "Service":
        return False
    metadata = data.get("metadata")
    wanted = {"name": service.metadata.name, "environment": service.metadata.environment}
    return isinstance(metadata, dict) and all(metadata.get(k) == v for k, v in wanted.items())


def edit(content: bytes, service: Service, pointer: str, value: str, *, file: str) -> bytes:
    """The file with this field of the service's spec set.

    Args:
        content: the file, which declares the service.
        service: as it is declared.
        pointer: JSON pointer into the spec. The field is there, or is `/replicas`, which
            gets a line of its own after the image.
        value: as it is to be read; quoted as the old one is.
        file: its name in messages.

    Raises:
        UneditableError: the value is not one plain scalar on one line, is shared through an
            anchor, or the document is not found.
        InvalidInputError: the file is no YAML.
    """
    if not _UNQUOTED.fullmatch(value):
        raise UneditableError(f"the value {value!r} would need quotes of its own")
    documents = parse_yaml(content, file=file, max_bytes=len(content))
    document = next((d for d in documents if declares(d, service)), None)
    if document is None:
        raise UneditableError(f"{file} does not declare it")
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    text = content[len(mark) :].decode("utf-8")
    if _ODD_LINE_ENDS.search(text):
        raise UneditableError(f"{file} has line ends that can't be kept")
    location: Location = ("spec", *pointer.strip("/").split("/"))
    lines = text.split("\n")
    place = document.below(location)
    if place is not None:
        span = _span(text, place, file)
        line = lines[span.line]
        written = _PLAIN_STYLES[span.style].format(value)
        lines[span.line] = line[: span.start] + written + line[span.end :]
    else:
        _insert_after_image(lines, text, document, location, value=value)
    return mark + "\n".join(lines).encode("utf-8")


def _span(text: str, place: Place, file: str) -> _Span:
    """Where a scalar begins and ends: the reader keeps the beginning only."""
    at = (place.line - 1, place.column - 1)
    for event in _scalars(text):
        start, end = event.start_mark, event.end_mark
        if (start.line, start.column) != at:
            continue
        if event.anchor is not None or start.line != end.line or event.style not in _PLAIN_STYLES:
            break
        return _Span(start.line, start.column, end.column, event.style)
    raise UneditableError(f"{file}:{place.line}: the value is not one plain scalar on one line")


def _insert_after_image(
    lines: list[str], text: str, document: YamlDocument, location: Location, *, value: str
) -> None:
    """A new line for a field that the spec leaves to its default."""
    spec, image = document.below(("spec",)), document.below(("spec", "image"))
    if len(location) != 2 or spec is None or image is None:
        raise UneditableError(f"{document.file} does not write {'.'.join(map(str, location))}")
    key_line, key_column = spec.keys["image"]
    before = lines[key_line - 1][: key_column - 1]
    span = _span(text, image, document.file)
    if before.strip() or span.line != key_line - 1 or "}" in lines[span.line][span.end :]:
        raise UneditableError(f"{document.file}:{key_line}: the spec is not written as a block")
    ending = "\r" if lines[span.line].endswith("\r") else ""
    if span.line + 1 == len(lines):  # the file's last line, without an end of its own
        lines[span.line] += ending
    lines.insert(span.line + 1, f"{before}{location[1]}: {value}{ending}")


def _scalars(text: str) -> Iterator[Any]:
    """Scalars as the YAML parser tells them; its types say too little of their marks.

    Its reader in Python is stricter than the one that read the file first: a tab before a
    comment is none of its blanks.
    """
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if type(event) is yaml.ScalarEvent:
                yield event
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        said = getattr(exc, "problem", None) or type(exc).__name__
        raise UneditableError(f"{where}it is not plain YAML: {said}") from exc
