"""Which lines of a log are asked for: the meaning of `level` and `filter` everywhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_LEVELS = {
    "trace": 0, "debug": 0, "info": 1, "notice": 1, "warn": 2, "warning": 2, "err": 3,
    "error": 3, "critical": 3, "crit": 3, "fatal": 3, "panic": 3, "alert": 3, "emerg": 3,
}  # fmt: skip
_LEVEL = re.compile(
    r"\b(" + "|".join(sorted(_LEVELS, key=len, reverse=True)) + r")\b", re.IGNORECASE
)
_INFO = 1


def after_time(line: str) -> str:
    """What a line says behind the engine's own time stamp."""
    return line.partition(" ")[2]


def matching_lines(
    lines: Iterable[str],
    *,
    level: str | None,
    wanted: str | None,
    said: Callable[[str], str] = str,
) -> list[str]:
    """Lines of `level` or worse that contain `wanted`.

    A line that names no level has that of the line before it (a traceback's lines do); the
    first ones count as `info`.

    Args:
        lines: of one instance, oldest first: levels must not carry over to another's.
        level: as `get_logs` names it; None takes every line.
        wanted: a text; None takes every line.
        said: the part of a line that its writer wrote.
    """
    least, current = _LEVELS.get(level or "", 0), _INFO
    chosen = []
    for line in lines:
        text = said(line)
        match = _LEVEL.search(text)
        if match is not None:
            current = _LEVELS[match[1].lower()]
        if current >= least and (wanted is None or wanted in text):
            chosen.append(line)
    return chosen
