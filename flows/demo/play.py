"""The order of events: start, converge, five incidents, the final table, the exit code."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from flows.demo import proof
from flows.demo.faults import AGENT_FAULT, FAULTS, Fault
from flows.demo.feed import Feed
from flows.demo.place import AGENT, who_plans
from flows.demo.stage import Stage, stage
from flows.demo.view import Line, View
from flows.demo.watch import SERVICES, Repair, Watch
from infrastructure.errors import UiciError

_START_SECONDS = 320.0
_REPAIR_SECONDS = 45.0
_QUIET_SECONDS = 30.0
_ALERT_SECONDS = 40.0
# How many runs have to see the agent's own alert and leave it alone.
_IGNORING_RUNS = 3
_INTERRUPTED = 130  # as shells report SIGINT


def run_demo(*, keep: bool) -> int:
    """Run the demo; ends everything that it started, also on Ctrl-C and SIGTERM.

    Args:
        keep: leave it running at the end, until Ctrl-C or SIGTERM.

    Returns:
        0: every incident healed, verified and committed, and the agent left itself alone;
        1: not so, or something could not be started; 130: interrupted.
    """
    view = View()
    scratch = Path(tempfile.mkdtemp(prefix="uici-demo-"))
    previous = signal.signal(signal.SIGTERM, _interrupt)
    code = 1
    try:
        with stage(scratch, lambda text: view.row("start", text)) as running:
            code = 0 if _Play(running, view).perform() else 1
            if keep:
                _stay(running, view)
    except KeyboardInterrupt:
        view.row("stopped", "everything that the demo started has been ended")
        code = code if keep and code == 0 else _INTERRUPTED
    except UiciError as exc:
        sys.stderr.write(f"error: {exc}\n")
    finally:
        signal.signal(signal.SIGTERM, previous)
        if code == 1:
            sys.stderr.write(f"the logs are kept in {scratch}\n")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    return code


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stay(running: Stage, view: View) -> None:
    """Print the addresses and wait for a person.

    The servers are this process' children, so it has to stay.
    """
    view.heading("Still running")
    view.addresses(running.place)
    view.row("stop", f"Ctrl-C here, or: kill {os.getpid()}", style="bold")
    while True:
        signal.pause()


@dataclass
class _Play:
    """One performance on a stage."""

    stage: Stage
    view: View

    def __post_init__(self) -> None:
        self._feed = Feed(self.stage.agent)
        self._watch = Watch(self.stage.place, self._feed, self.view)

    def perform(self) -> bool:
        """All chapters; whether everything was proved."""
        began = time.monotonic()
        self.view.addresses(self.stage.place)
        self.view.row("planner", who_plans(self.stage.place))
        self.view.row("its name", f"{AGENT}: the agent itself, which repairs the two services")
        lines = [self._converge()]
        lines += [self._incident(number, fault) for number, fault in enumerate(FAULTS, start=1)]
        lines.append(self._own_alert())
        self.view.result(lines)
        for line in lines:
            self.view.complaints([f"{line.title}: {text}" for text in line.complaints])
        passed = all(line.passed for line in lines)
        words = "all healed, verified and committed" if passed else "NOT everything was proved"
        style = "bold green" if passed else "bold red"
        self.view.row("result", f"{words}, in {time.monotonic() - began:.0f} s", style=style)
        return passed

    def _converge(self) -> Line:
        """From an empty engine to what Git says, by the first scheduled run."""
        self.view.heading("Start: nothing runs, Git declares two services")
        began = self.stage.stand_in.end
        self.view.clock_starts(began)
        with self.view.waiting(
            "Prefect starts, which takes a while; its schedule makes the first run …"
        ):
            repair = self._watch.repair(SERVICES, broke_at=began, seconds=_START_SECONDS)
        return self._line("start: both created", repair, since=began)

    def _incident(self, number: int, fault: Fault) -> Line:
        quiet, span = self._break(number, fault)
        with self.view.waiting("the next scheduled run will see it …"):
            repair = self._watch.repair(
                frozenset({fault.target}), broke_at=span.begin, seconds=_REPAIR_SECONDS
            )
        before = () if quiet else ("drift was left from before",)
        return self._line(fault.title, repair, since=span.end, before=before)

    def _own_alert(self) -> Line:
        """The last incident: the one that nobody but people may act on."""
        fault, place = AGENT_FAULT, self.stage.place
        early = [alert.name for alert in proof.firing_alerts(place, AGENT)]
        _, span = self._break(len(FAULTS) + 1, fault)
        self.view.row("that is", f"the agent itself ({AGENT}): a container stands in its place")
        with self.view.waiting("Prometheus and Alertmanager will see it …"):
            fired, runs = self._watch.agent_alert(seconds=_ALERT_SECONDS, runs=_IGNORING_RUNS)
        told, commit = proof.told_of_agent(place)
        self.view.row("told", told or "nobody", at=time.time())
        if commit:
            self.view.row("report", f"commit {commit[:7]} on {proof.REPORTS_BRANCH}")
        complaints = proof.agent_untouched(place, self.stage.stand_in, span)
        complaints += proof.agent_is_scraped(place)
        complaints += [f"{name} fired while the agent was up" for name in early]
        if not fired:
            complaints.append("its down alert did not fire")
        if runs < _IGNORING_RUNS:
            complaints.append(f"only {runs} runs saw the alert and left it alone")
        if not told:
            complaints.append("the reports branch does not tell people of it")
        if not complaints:
            text = f"engine's record: only the demo touched it; {runs} runs left it alone"
            self.view.row("proof", text, style="bold green")
        self.view.complaints(complaints)
        return Line(
            fault.title, fired, "nobody", "none: told people", None, commit, tuple(complaints)
        )

    def _break(self, number: int, fault: Fault) -> tuple[bool, proof.Span]:
        """Break something once all is well; whether it was, and when it was broken."""
        with self.view.waiting("until everything is as Git says …"):
            quiet = self._watch.quiet(seconds=_QUIET_SECONDS)
        self.view.heading(f"{number}/{len(FAULTS) + 1} {fault.title}")
        self._feed.skip()
        begin = time.time()
        self.view.clock_starts(begin)
        self.view.row("fault", fault.command, style="bold yellow", at=begin)
        fault.break_it(self.stage.place)
        return quiet, proof.Span(begin, time.time())

    def _line(
        self, title: str, repair: Repair, *, since: float, before: Sequence[str] = ()
    ) -> Line:
        place = self.stage.place
        complaints = list(before)
        if repair.seconds is None:
            complaints.append("no verified recovery in time")
        complaints += proof.services_work(place)
        complaints += proof.committed_first(
            place, intent=repair.intent, report=repair.report, since=since
        )
        if not complaints:
            text = "services answer, limits and variables as in Git; commits pushed first"
            self.view.row("proof", text, style="bold green")
        self.view.complaints(complaints)
        return Line(
            title=title,
            detected=repair.detected_by,
            planner=repair.planner,
            operations=", ".join(dict.fromkeys(repair.operations)),
            seconds=repair.seconds,
            commit=repair.report,
            complaints=tuple(complaints),
        )
