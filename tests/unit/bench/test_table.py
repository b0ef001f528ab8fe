"""What the bench says about a figure: ratio, verdict, and how it is written."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.bench.table import Aim, Of, Row, shown, table


def row(value: float, bound: float | None = None, aim: Aim | None = None) -> Row:
    return Row("commit", "wall", value, "s", "git", bound, aim)


@pytest.mark.parametrize(
    ("value", "bound", "aim", "met"),
    [
        (0.3, None, Aim(0.3), True),
        (0.31, None, Aim(0.3), False),
        (0.0, None, Aim(0), True),
        (3.0, 2.0, Aim(1.5, Of.RATIO), True),
        (3.1, 2.0, Aim(1.5, Of.RATIO), False),
        (1.2, 0.25, Aim(1.0, Of.EXCESS), True),
        (1.3, 0.25, Aim(1.0, Of.EXCESS), False),
        (1.3, 0.25, None, None),
        # Nothing to hold it against is no verdict, and above all not a good one.
        (3.0, None, Aim(1.5, Of.RATIO), None),
        (3.0, 0.0, Aim(1.5, Of.RATIO), None),
        (3.0, None, Aim(1.0, Of.EXCESS), None),
    ],
)
def test_an_aim_limits_the_value_the_ratio_or_the_excess(
    value: float, bound: float | None, aim: Aim | None, met: bool | None
) -> None:
    assert row(value, bound, aim).met is met


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00043, "s", "430 µs"),
        (0.0124, "s", "12.4 ms"),
        (1.254, "s", "1.25 s"),
        (0, "B", "0 B"),
        (5120, "B", "5.12 KB"),
        (128_000_000, "B", "128 MB"),
        (0, "", "0"),
    ],
)
def test_figures_are_written_for_people(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_the_table_says_met_and_missed_and_the_json_the_same() -> None:
    rows = [row(3.0, 2.0, Aim(1.5, Of.RATIO)), row(4.0, 2.0, Aim(1.0, Of.EXCESS))]
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table(rows))
    text = console.export_text()
    assert "1.50 x" in text
    assert "≤ 1.5 x" in text
    assert "≤ bound + 1 s" in text
    assert text.index("met") < text.index("MISSED")
    data = json.loads(json.dumps([one.data() for one in rows]))
    assert [one["met"] for one in data] == [True, False]
    assert data[0]["aim"] == {"limit": 1.5, "of": "ratio"}
    assert data[0]["ratio"] == 1.5
