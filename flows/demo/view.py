"""What the person at the terminal sees. 80 columns; no colours or spinners in a pipe.

Every fact is a line of its own as soon as it is known.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from flows.demo.feed import Event
from flows.demo.place import Place

_WIDTH = 80
_LABEL = 11
_STAMP = 9


@dataclass(frozen=True, slots=True)
class Line:
    """One incident in the final table."""

    title: str
    detected: str
    planner: str
    operations: str
    seconds: float | None
    commit: str
    complaints: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing to complain about."""
        return not self.complaints


class View:
    """Prints the demo as it goes on."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        # Wider terminals would only tear label and text apart.
        console.width = min(console.width, _WIDTH)
        self._console = console
        self._zero: float | None = None

    def heading(self, text: str) -> None:
        """A new chapter; times count anew."""
        self._zero = None
        self._console.print()
        self._console.print(Rule(Text(text, style="bold"), align="left", style="dim"))

    def clock_starts(self, at: float) -> None:
        """Later lines show the seconds since this moment."""
        self._zero = at

    def row(self, label: str, text: str, *, style: str = "", at: float | None = None) -> None:
        """One line: label, text, and the time since the fault."""
        passed = f"+{at - self._zero:.1f} s" if at is not None and self._zero is not None else ""
        room = self._console.width - _LABEL - _STAMP
        for number, part in enumerate(textwrap.wrap(text, room) or [""]):
            line = Text()
            line.append(f"{'' if number else label:<{_LABEL}}", style="dim")
            line.append(part, style=style)
            if passed and number == 0:
                line.append(f"{' ' * (room - len(part))}{passed:>{_STAMP}}", style="dim")
            self._console.print(line, no_wrap=True)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """What is waited for: on a terminal with the seconds that it has lasted, else a line."""
        if not self._console.is_terminal:
            self.row("wait", text)
            return nullcontext()
        return self._console.status(_Waiting(text))

    def drift(self, event: Event) -> None:
        """One thing that differs from Git, when it is seen."""
        field = event.text("field")
        what = f"{short(event.text('target'))} {event.text('kind')}" + (
            f" {field}" if field else ""
        )
        seen = event.text("observed") or event.text("message")
        wanted = event.text("desired")
        told = f"Git says {wanted}, seen: {seen}" if wanted else seen
        self.row("drift", f"{what}: {told}", style="yellow", at=event.at)

    def begun(self, event: Event) -> None:
        """What is being done to the world."""
        text = f"{event.text('operation')} {short(event.text('target'))} …"
        self.row("operation", text, at=event.at)

    def plan(self, event: Event) -> None:
        """Who planned, why that one, and what."""
        runbook = event.text("runbook")
        who = event.text("planner") + (f" {runbook}" if runbook else "")
        self.row("plan", f"{who} ({event.text('reason')})", style="bold", at=event.at)
        self.row("", event.text("diagnosis"))
        for step in event.fields.get("steps", ()):
            self.row("", f"→ {step['operation']} {short(step['target'])}: {step['why']}")

    def verdict(self, event: Event) -> None:
        """The guard's answer."""
        allowed = event.text("decision") == "allowed"
        self.row(
            "guard",
            f"{event.text('operation')} {short(event.text('target'))}: "
            f"{event.text('decision')}, {event.text('reason')}",
            style="green" if allowed else "red",
            at=event.at,
        )

    def intent(self, event: Event) -> None:
        """The commit before the act."""
        self.row(
            "intent", f"commit {event.text('sha')[:7]}, {event.text('durability')}", at=event.at
        )

    def operation(self, event: Event) -> None:
        """What was done."""
        text = (
            f"{event.text('operation')} {short(event.text('target'))}: {event.text('status')}"
            f" in {float(event.fields.get('seconds') or 0):.2f} s"
        )
        error = event.text("error")
        self.row("operation", text + (f" ({error})" if error else ""), at=event.at)

    def verification(self, event: Event) -> None:
        """Whether the service really recovered, and by which checks."""
        root = event.text("target")
        by_state: dict[str, list[str]] = {}
        for check in event.fields.get("checks", ()):
            service = "" if check["target"] == root else f"{short(check['target'])} "
            by_state.setdefault(check["state"], []).append(service + check["name"])
        if "pending" in by_state:
            by_state["left to the next run"] = by_state.pop("pending")
        marks = "; ".join(f"{', '.join(names)} {state}" for state, names in by_state.items())
        good = event.text("result") == "recovered"
        self.row(
            "verified",
            f"{short(root)} {event.text('result')}: {marks}",
            style="green" if good else "red",
            at=event.at,
        )

    def complaints(self, complaints: Sequence[str]) -> None:
        """What the demo's own checks found."""
        for complaint in complaints:
            self.row("NOT PROVED", complaint, style="bold red")

    def addresses(self, place: Place) -> None:
        """Where to look."""
        self.row("Prefect", place.prefect_url)
        self.row("Prometheus", place.prometheus_url)
        self.row("Alerts", place.alertmanager_url)
        self.row("agent", f"{place.agent_url}/metrics")
        self.row("state repo", str(place.remote))
        self.row("log", str(place.scratch / "agent.log"))

    def result(self, lines: Sequence[Line]) -> None:
        """The final table."""
        self.heading("Result")
        table = _table()
        table.add_column("incident", ratio=17)
        table.add_column("detected by", ratio=17, overflow="fold")
        table.add_column("planner", no_wrap=True)
        table.add_column("operations", ratio=12, overflow="fold")
        table.add_column("healed", justify="right", no_wrap=True)
        table.add_column("report", no_wrap=True)
        for line in lines:
            table.add_row(
                Text(line.title, style="" if line.passed else "bold red"),
                line.detected,
                line.planner,
                line.operations,
                "–" if line.seconds is None else f"{line.seconds:.1f} s",
                line.commit[:7] or "–",
            )
        self._console.print(table)
        self._console.print()


class _Waiting:
    """Text that grows older while it is shown."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._since = time.monotonic()

    def __rich__(self) -> Text:
        return Text(f"{self._text} {time.monotonic() - self._since:.0f} s", style="dim")


def _table() -> Table:
    """Without frames: every column of a narrow terminal is needed for words."""
    return Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        expand=True,
        header_style="dim",
    )


def short(target: str) -> str:
    """`market-predictor` of `local-docker/market-predictor`."""
    return target.rpartition("/")[2]
