"""Environment files (`.env`, `env_file`): text → variables, with the line of each.

Source of the syntax: the environment file chapter of Docker Compose's documentation.
Values may hold variables, except in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from infrastructure.sources.draft import Findings, Point
from infrastructure.sources.variables import VariableError, fill

_LINE = re.compile(r"(?:export[ \t]+)?(?P<name>[^\s=:#'\"]+)[ \t]*(?P<rest>[=:].*)?", re.DOTALL)
_MOST_LINES = 500  # of one quoted value
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$$"}


@dataclass(frozen=True, slots=True)
class Variable:
    """One line of an environment file. `value` None: only its name stands there."""

    name: str
    value: str | None
    point: Point


def parse_env_file(
    content: bytes, *, file: str, values: Mapping[str, str], findings: Findings
) -> dict[str, Variable]:
    """Variables by name; of several lines with one name, the last counts.

    Args:
        content: the file.
        file: its name in messages.
        values: what variables inside of values mean, beside those defined above them.
        findings: gets every mistake.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        findings.error(Point(file, 1, 1), "this is not UTF-8 text", "save the file as UTF-8")
        return {}
    found: dict[str, Variable] = {}
    known = dict(values)
    for line, statement in _statements(text):
        point = Point(file, line, 1)
        match = _LINE.fullmatch(statement)
        if match is None:
            findings.error(point, "this line is no variable", "write NAME=value")
            continue
        name, rest = match["name"], match["rest"]
        if rest is None:
            found[name] = Variable(name, values.get(name), point)
            continue
        try:
            known[name] = _value(rest[1:].strip(), known, point, findings)
            found[name] = Variable(name, known[name], point)
        except VariableError as exc:
            findings.error(point, str(exc), "correct the value")
    return found


def _statements(text: str) -> list[tuple[int, str]]:
    """(line number, text) of each variable; quoted values may span lines."""
    found: list[tuple[int, str]] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        start, line = number, lines[number].strip()
        number += 1
        if not line or line.startswith("#"):
            continue
        end = min(len(lines), number + _MOST_LINES)
        while number < end and _is_open(line):
            line += "\n" + lines[number]
            number += 1
        found.append((start + 1, line))
    return found


def _is_open(line: str) -> bool:
    """Whether a quoted value begins in this text and does not end in it."""
    value = line.partition("=")[2].lstrip()
    quote = value[:1]
    return quote in {'"', "'"} and _end_of_quoted(value, quote) is None


def _end_of_quoted(value: str, quote: str) -> int | None:
    index = 1
    while index < len(value):
        if value[index] == "\\":
            index += 2
            continue
        if value[index] == quote:
            return index
        index += 1
    return None


def _value(written: str, values: Mapping[str, str], point: Point, findings: Findings) -> str:
    quote = written[:1]
    if quote not in {'"', "'"} or not written:
        # A comment needs a space before it.
        return _filled(
            re.split(r"(?:^|\s)#", written, maxsplit=1)[0].rstrip(), values, point, findings
        )
    end = _end_of_quoted(written, quote)
    if end is None:
        raise VariableError("a quote is not closed")
    rest = written[end + 1 :].strip()
    if rest and not rest.startswith("#"):
        raise VariableError("something stands after the closing quote")
    inside = written[1:end]
    if quote == "'":
        return inside.replace("\\'", "'")
    escaped = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), inside, flags=re.DOTALL)
    return _filled(escaped, values, point, findings)


def _filled(text: str, values: Mapping[str, str], point: Point, findings: Findings) -> str:
    filled = fill(text, values)
    for name in filled.unset:
        remedy = f"define it above, or write ${{{name}:-}} if it may be empty"
        findings.error(point, f"the variable {name} has no value", remedy)
    return filled.text
