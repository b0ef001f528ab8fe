"""`uici report --list`, `--day`, `--target`: the newest runs in a terminal, and as JSON.

The report of one run is printed by `flows.command_line.output`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from flows.command_line.freshness import Known, newer_than
from flows.command_line.grace import Grace
from flows.command_line.hints import here
from flows.command_line.output import escape, new_console, new_table
from flows.command_line.terminal import complain, print_json
from flows.git_state import GitState
from flows.reporting.pages.stored import StoredRun
from flows.reporting.status import REPORT_FOLDER
from flows.reporting.text import short_name
from flows.repository.memory import StoredReport
from flows.runtime import Runtime
from infrastructure.errors import InvalidInputError, NotFoundError, PermanentError, Problem

NEWEST = 20
_SEARCHED = 2_000  # newest reports that are searched for a target
_COLOURS = {
    "recovered": "green",
    "nothing_to_do": "green",
    "waiting": "yellow",
    "held": "yellow",
    "interrupted": "yellow",
}


def listed_runs(git: GitState, *, day: str = "", target: str = "") -> list[StoredRun]:
    """The newest reports first: 20, or all of a day or about a target that are found.

    Args:
        git: the state repository, with the newest reports.
        day: YYYY-MM-DD, UTC; empty: any.
        target: inventory id or name; empty: any.

    Raises:
        InvalidInputError: it is no day.
        NotFoundError: there is no such report.
    """
    of_day = _day(day) if day else None
    limit = _SEARCHED if day or target else NEWEST
    runs = git.newest_reports(limit, day=of_day)
    if target:
        runs = [r for r in runs if any(target in _names(i.root) for i in r.incidents)]
    if not runs:
        asked = " ".join(filter(None, [day and f"on {day}", target and f"about {target}"]))
        raise NotFoundError(
            f"no report {asked or 'yet'}: a run keeps one when it plans, acts or tells people"
            " (in the mode observe it never does); uici status and uici plan show how all stands"
        )
    return runs


def _names(root: str) -> tuple[str, str]:
    return root, short_name(root)


def _day(text: str) -> date:
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(text)
        if f"{day}" == text:  # Python takes weeks and days of the year, too
            return day
    said = f"{text} is no day: write it as 2026-11-22"
    raise InvalidInputError([Problem("--day", 0, 0, said)])


def show(runs: Sequence[StoredRun]) -> None:
    """For people."""
    console = new_console()
    table = new_table("report", "result", "what happened")
    table.columns[0].no_wrap = True
    for run in runs:
        results = dict.fromkeys(incident.result for incident in run.incidents)
        words = ", ".join(
            f"[{_COLOURS.get(result, 'red')}]{escape(result.replace('_', ' '))}[/]"
            for result in results
        )
        table.add_row(escape(run.path.removeprefix(f"{REPORT_FOLDER}/")), words, escape(run.title))
    console.print(table)
    quiet = "a run that met nothing new keeps no report"
    complain(here(f"{quiet}: uici status and uici plan show what differs"))


def say_what_is_newer(found: StoredReport, runtime: Runtime) -> None:
    """After the newest report: how old it is, and what is known since. Apart from the report."""
    now = runtime.clock.now()
    grace = Grace(runtime.config.platform.compare.grace, runtime.first_seen.read(now), now)
    reported = runtime.git.reported()
    known = Known(reported.statuses, reported.intents, grace)
    for line in newer_than(found.json_text, known):
        complain(line.shown)


def print_stored(found: StoredReport) -> None:
    """A report's JSON; it comes from a branch, and from whoever can push.

    Raises:
        PermanentError: it is no JSON, or nested too deeply to be printed.
    """
    try:
        print_json(json.loads(found.json_text))
    except (ValueError, RecursionError) as exc:
        raise PermanentError(f"the report can't be read: {exc}: uici report --list") from exc


def as_data(runs: Sequence[StoredRun]) -> dict[str, Any]:
    """For programs."""
    items = [
        {
            "path": run.path,
            "title": run.title,
            "incidents": [
                {
                    "root": incident.root,
                    "result": incident.result,
                    "planner": incident.planner,
                    "faultToRecoverySeconds": incident.seconds,
                    "tokens": incident.tokens,
                }
                for incident in run.incidents
            ],
        }
        for run in runs
    ]
    return {"apiVersion": "uici/v1", "kind": "ReportList", "items": items}
