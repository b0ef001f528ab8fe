"""Outcomes in a file, a JSON line each, so that several runs make one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.chaos.fault import Right
from tests.chaos.play import Outcome


def append(path: Path, outcome: Outcome) -> None:
    """Add one."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[Outcome]:
    """All of a file."""
    for text in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(text)
        yield Outcome(**{**found, "right": Right(found["right"])})
