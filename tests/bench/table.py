"""What a measure says: a value, what it is held against, and whether the aim is met.

Pure. Every measure yields rows; `tests.bench.__main__` prints them and writes the JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


class Of(StrEnum):
    """What an aim limits."""

    VALUE = "value"
    RATIO = "ratio"  # value ÷ bound
    EXCESS = "excess"  # value - bound


@dataclass(frozen=True, slots=True)
class Aim:
    """At most `limit` of something."""

    limit: float
    of: Of = Of.VALUE

    def text(self, unit: str) -> str:
        """As it stands in the table: `≤ 1.5 x`, `≤ bound + 1 s`, `≤ 300 ms`."""
        match self.of:
            case Of.RATIO:
                return f"≤ {self.limit:g} x"
            case Of.EXCESS:
                return f"≤ bound + {shown(self.limit, unit)}"
            case _:
                return f"≤ {shown(self.limit, unit)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `unit` is `s`, `B` or a word; `bound` has the same unit as `value`.

    Attributes:
        measure: the group it belongs to.
        what: what was measured.
        against: what the bound is.
        note: conditions that a reader has to know.
    """

    measure: str
    what: str
    value: float
    unit: str
    against: str = ""
    bound: float | None = None
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value ÷ bound; None without a bound to divide by."""
        return self.value / self.bound if self.bound else None

    @property
    def met(self) -> bool | None:
        """None: there is no aim, or not what it is held against."""
        held: float | None
        match self.aim:
            case None:
                return None
            case Aim(of=Of.RATIO):
                held = self.ratio
            case Aim(of=Of.EXCESS):
                held = None if self.bound is None else self.value - self.bound
            case _:
                held = self.value
        return None if held is None else held <= self.aim.limit

    def data(self) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "measure": self.measure,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "against": self.against,
            "bound": self.bound,
            "ratio": self.ratio,
            "aim": None if self.aim is None else {"limit": self.aim.limit, "of": self.aim.of.value},
            "met": self.met,
            "note": self.note,
        }


def shown(value: float, unit: str) -> str:
    """A figure that a person reads at a glance: `12.3 ms`, `1.25 s`, `5.4 KB`, `210 MB`."""
    match unit:
        case "s" if abs(value) < 0.001:
            return f"{value * 1e6:.3g} µs"
        case "s" if abs(value) < 1:
            return f"{value * 1e3:.3g} ms"
        case "B" if abs(value) >= 1e6:
            return f"{value / 1e6:.3g} MB"
        case "B" if abs(value) >= 1e3:
            return f"{value / 1e3:.3g} KB"
        case _:
            return f"{value:.3g} {unit}".rstrip()


def table(rows: Sequence[Row]) -> Table:
    """All rows, grouped by measure in the order in which they came."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("measure", "value", "bound", "ratio", "aim", ""):
        right = heading in {"value", "bound", "ratio"}
        made.add_column(heading, justify="right" if right else "left", overflow="fold")
    measure = ""
    for row in rows:
        if row.measure != measure:
            measure = row.measure
            made.add_section()
            made.add_row(f"[bold]{measure}[/bold]")
        made.add_row(*_cells(row))
    return made


def _cells(row: Row) -> Iterable[str]:
    what = f"  {row.what}" + (f" ({row.note})" if row.note else "")
    bound = "" if row.bound is None else f"{shown(row.bound, row.unit)} {row.against}".rstrip()
    ratio = "" if row.ratio is None else f"{row.ratio:.2f} x"
    aim = "" if row.aim is None else row.aim.text(row.unit)
    verdict = {None: "", True: "[green]met[/green]", False: "[red]MISSED[/red]"}[row.met]
    return what, shown(row.value, row.unit), bound, ratio, aim, verdict
