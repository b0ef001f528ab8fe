"""Writing for people and programs, without what a terminal would act upon."""

from __future__ import annotations

import json
import sys
from typing import Any

from flows.command_line.streams import writes_all_letters


def printable(text: object) -> str:
    """Text from files and servers, on one line."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def say(line: object) -> None:
    """One line on stdout."""
    print(printable(line))  # noqa: T201 - a command line speaks


def complain(line: object) -> None:
    """One line on stderr."""
    print(printable(line), file=sys.stderr)  # noqa: T201 - a command line speaks


def print_json(data: Any) -> None:
    """One document on stdout, which means the same however it is spelled."""
    text = json.dumps(data, ensure_ascii=not writes_all_letters(), indent=2)
    if not text.replace("\n", "").isprintable():
        # What a terminal would act upon, as JSON spells it.
        kept = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
        text = "".join(kept)
    print(text)  # noqa: T201 - a command line speaks
