"""docs/CHAOS.md, made from what was played."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.play import CONTROL, Outcome
from tests.chaos.table import aims, complaints, line, markdown

PAGE = Path(__file__).parents[2] / "docs" / "CHAOS.md"
_WORDS = Path(__file__).parent / "page.md"
_MARK = "<!-- table -->"


def save(outcomes: Sequence[Outcome]) -> Path:
    """Write the page; the words around the table are in `page.md`."""
    PAGE.write_text(page(outcomes), encoding="utf-8")
    return PAGE


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole page."""
    faults = sum(1 for o in outcomes if o.kind != CONTROL)
    seeds = ", ".join(str(seed) for seed in sorted({o.seed for o in outcomes}))
    date = datetime.now(UTC).date().isoformat()
    about = (
        f"Seed {seeds}: {faults} faults and {len(outcomes) - faults} controls, {date}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}."
    )
    lines = [about, "", markdown(outcomes), "", "| aim | reached | |", "|---|---|---|"]
    lines += [
        f"| {aim.name} | {aim.reached} | {'met' if aim.met else '**missed**'} |"
        for aim in aims(outcomes)
    ]
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if failed:
        lines += ["", "What failed:", ""]
        for outcome in failed:
            lines.append(f"- `{line(outcome).strip()}`")
            lines += [f"  - {' '.join(text.split())}" for text in complaints(outcome)]
    return _WORDS.read_text(encoding="utf-8").replace(_MARK, "\n".join(lines))
