"""What one line of a log is: its level, and its template: the line without what varies.

Plain text, JSON and logfmt. Two lines with one template say the same about other numbers,
ids, addresses or names. Pure; used by `flows.dossier.log_digest`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """How bad a line says it is; more is worse."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


# A template is made of a line's beginning: what varies behind it does not matter.
SHAPED = 600
_WORDS = {
    "trace": Level.DEBUG, "debug": Level.DEBUG, "dbg": Level.DEBUG, "verbose": Level.DEBUG,
    "info": Level.INFO, "inf": Level.INFO, "information": Level.INFO, "notice": Level.INFO,
    "log": Level.INFO,
    "warn": Level.WARNING, "warning": Level.WARNING, "wrn": Level.WARNING,
    "err": Level.ERROR, "error": Level.ERROR, "severe": Level.ERROR, "fatal": Level.ERROR,
    "crit": Level.ERROR, "critical": Level.ERROR, "panic": Level.ERROR, "alert": Level.ERROR,
    "emerg": Level.ERROR, "emergency": Level.ERROR,
}  # fmt: skip
# Bunyan and pino write numbers: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal.
_NUMBERS = ((50, Level.ERROR), (40, Level.WARNING), (30, Level.INFO), (0, Level.DEBUG))
_LEVEL_KEYS = ("level", "severity", "lvl", "levelname", "loglevel", "log.level")
_MESSAGE_KEYS = ("message", "msg", "event", "error", "err", "exception", "reason", "text")
_LEVEL_FIELD = re.compile(r"\b(?:level|severity|lvl|levelname)=\"?([A-Za-z]+)", re.IGNORECASE)
# A level stands near the beginning, in capitals or in brackets, or before a colon.
_LEVEL_WORD = re.compile(
    r"(?<![A-Za-z])(?:\[\s*([A-Za-z]{3,11})\s*\]|([A-Z]{3,11})\b|([A-Za-z]{3,11}):)"
)
_LEVEL_WITHIN = 100
_ALARMING = re.compile(
    r"(?i)\b(?:error|exception|traceback|fatal|panic(?:ked)?|fail(?:ed|ure|s)?|segfault|segmentation"
    r"|cannot|can't|unable|refused|denied|killed|abort(?:ed)?|unhandled)\b|\b[A-Z]\w+(?:Error|Exception)\b"
)
_CONTINUES = re.compile(r"\s|at |Caused by:|\.\.\. \d+ more|[}\])]")

_STAMP = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\d\d?/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d"
)
_VARYING = re.compile(
    r"(?P<said>\b(?:msg|message|err|error|event|reason)=\"[^\"]{0,400}\")"
    r"|(?P<quoted>\"[^\"]{1,200}\"|(?<!\w)'[^']{1,200}')"
    r"|(?P<address>\b[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,7}\b|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?)"
    r"|(?P<uuid>\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b)"
    r"|(?P<hex>\b(?:0x)?(?=[A-Fa-f]*\d)[0-9A-Fa-f]{6,}\b)"
    r"|(?P<number>[+-]?\d+(?:[.,:]\d+)*)"
)
# Without any of these in it a text has nothing that varies.
_VARIES = re.compile(r"[\d\"'=:-]")
_PLACES = {"quoted": '"…"', "address": "<address>", "uuid": "<id>", "hex": "<id>", "number": "#"}


def parsed(line: str) -> Mapping[str, Any] | None:
    """The fields of a JSON line, whatever stands before its first brace; None: it is none."""
    start = line.find("{")
    if start < 0 or line[-1:] != "}":
        return None
    try:
        found = json.loads(line[start:])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def said(fields: Mapping[str, Any]) -> str:
    """The message of a JSON line."""
    texts = (str(fields[key]) for key in _MESSAGE_KEYS if fields.get(key))
    return " ".join(texts) or " ".join(sorted(map(str, fields)))


def level_of(line: str, fields: Mapping[str, Any] | None) -> Level | None:
    """What the line says of itself; None: nothing, so that it goes on from the line before."""
    if fields is not None:
        return _level_of_fields(fields)
    if _CONTINUES.match(line):
        return None
    found = _LEVEL_FIELD.search(line[:SHAPED])
    if found is not None and found[1].lower() in _WORDS:
        return _WORDS[found[1].lower()]
    for match in _LEVEL_WORD.finditer(line[:_LEVEL_WITHIN]):
        level = _WORDS.get((match[1] or match[2] or match[3]).lower())
        if level is not None:
            return level
    return Level.ERROR if _ALARMING.search(line[:SHAPED]) else Level.INFO


def _level_of_fields(fields: Mapping[str, Any]) -> Level:
    for key in _LEVEL_KEYS:
        value = fields.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return next((level for least, level in _NUMBERS if value >= least), Level.DEBUG)
        if isinstance(value, str) and value.lower() in _WORDS:
            return _WORDS[value.lower()]
    return Level.ERROR if _ALARMING.search(said(fields)[:SHAPED]) else Level.INFO


def template(text: str) -> str:
    """The text without what varies: equal templates are one kind of line."""
    start = text[:SHAPED]
    if _VARIES.search(start) is None:
        return start
    return _VARYING.sub(_place, _STAMP.sub("<time>", start))


def _place(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    if kind == "said":  # what a logfmt line says is no value: only its numbers vary
        return re.sub(r"\d+", "#", match[0])
    return _PLACES[kind]


def shown(line: str) -> str:
    """The line as the dossier has it: its engine's time stamp as a time of day, no second one."""
    found = _STAMP.match(line)
    if found is None:
        return line
    clock = re.search(r"\d\d:\d\d:\d\d", found[0])
    rest = line[found.end() :].lstrip(" \t")
    own = _STAMP.match(rest.lstrip("["))
    if own is not None:
        rest = rest.lstrip("[")[own.end() :].lstrip("] \t")
    return f"{clock[0]} {rest}" if clock else line


def unstamped(line: str) -> str:
    """The line without a time stamp of its engine at its beginning."""
    found = _STAMP.match(line)
    return line if found is None else line[found.end() :].removeprefix(" ")
