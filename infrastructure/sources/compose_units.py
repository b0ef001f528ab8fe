"""Values as compose files write them → numbers of the Docker Engine. Pure.

After variables were filled in, any number or switch may be a text. Each function raises
ValueError with the accepted form.
"""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from typing import Any

_BYTES = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:([kmgtp])i?)?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h|d|w)")
_WORDS = {
    **dict.fromkeys(("true", "t", "1", "y", "yes", "on"), True),
    **dict.fromkeys(("false", "f", "0", "n", "no", "off"), False),
}


def size(value: Any) -> int:
    """`"1.5g"` → bytes; units are powers of 1024."""
    text = str(value).strip()
    if text.startswith("-") and text[1:].isdigit():
        return int(text)
    match = _BYTES.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError("write a size such as 512m or 1g")
    return int(Decimal(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()])


def nanoseconds(value: Any) -> int:
    """`"1m30s"` → nanoseconds."""
    text = str(value).strip()
    parts = _PART.findall(text)
    if text == "0":
        return 0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("write a duration such as 30s or 1m30s")
    return int(sum(Decimal(number) * _NANOSECONDS[unit] for number, unit in parts))


def seconds(value: Any) -> int:
    """`"1m30s"` → whole seconds."""
    return nanoseconds(value) // 10**9


def switch(value: Any) -> bool:
    """A switch; also the words that a variable may bring."""
    if isinstance(value, bool):
        return value
    try:
        return _WORDS[str(value).lower()]
    except KeyError:
        raise ValueError("write true or false") from None


def number(value: Any) -> int:
    """A whole number."""
    try:
        found = Decimal(str(value))
        if found == int(found) and not isinstance(value, bool):
            return int(found)
    except ArithmeticError:
        pass
    raise ValueError("write a whole number")


def text(value: Any) -> str:
    """A scalar as compose passes it on to the engine."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        shown = repr(value)
        if "e" in shown:
            raise ValueError("put this number in quotes")
        return shown.removesuffix(".0")
    return "" if value is None else str(value)


def texts(value: Any) -> list[str]:
    """One text or a list of them."""
    return [text(item) for item in value] if isinstance(value, list) else [text(value)]


def mapping(value: Any, *, separators: str = "=") -> dict[str, str | None]:
    """`{A: 1}` or `["A=1", "B"]`; a name alone has no value."""
    if isinstance(value, dict):
        return {key: None if item is None else text(item) for key, item in value.items()}
    found: dict[str, str | None] = {}
    for item in value or ():
        written = text(item)
        cut = next((written.index(c) for c in separators if c in written), None)
        name = written if cut is None else written[:cut]
        found[name] = None if cut is None else written[cut + 1 :]
    return found


def argv(value: Any) -> list[str]:
    """A command: a list, or a text that is split as a POSIX shell splits it."""
    if isinstance(value, list):
        return [text(item) for item in value]
    try:
        return shlex.split(str(value))
    except ValueError as exc:
        raise ValueError(f"the command can't be split: {exc}") from exc


def numbers(written: str) -> list[int]:
    """`"8000-8002"` → its numbers."""
    first, dash, last = written.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise ValueError("write a port or a range such as 8000-8002")
    start, end = int(first), int(last or first)
    if not 0 < start <= end <= 65535:
        raise ValueError("ports go from 1 to 65535")
    return list(range(start, end + 1))
