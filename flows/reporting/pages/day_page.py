"""The index of one day: what happened when, and the page of each report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from flows.reporting.pages.index import DayCount, day_page
from flows.reporting.pages.stored import StoredRun
from flows.reporting.pages.table import link, table
from flows.reporting.text import Redact, cell, count, seconds


def counted_day(counted: DayCount) -> str:
    """`3 incidents: 2 recovered, 1 escalated`."""
    total = sum(counted.results.values())
    if not total:
        return "no incident"
    parts = [f"{n} {name.replace('_', ' ')}" for name, n in counted.results.items() if n]
    return f"{count(total, 'incident')}: {', '.join(parts)}"


def render_day(
    day: date,
    counted: DayCount,
    runs: Sequence[StoredRun],
    *,
    reports: int,
    before: date | None,
    status_page: str,
    redact: Redact,
) -> str:
    """The page.

    Args:
        day: UTC.
        counted: what is counted of the day.
        runs: its newest reports, the newest first; the page says how many more there are.
        reports: all of the day, also those that are not counted yet.
        before: the day before it that has a page.
        status_page: path of the page of all targets.
        redact: cuts secrets out.
    """
    page = day_page(day)

    def put(text: str, limit: int) -> str:
        return cell(redact(text), limit)

    ways = [link("All targets", status_page, page=page)]
    if before is not None:
        ways.append(link(f"← {before}", day_page(before), page=page))
    lines = [f"# {day}: {cell(counted_day(counted))}", "", " · ".join(ways), ""]
    if counted.reports < reports:
        lines += [f"Counting older reports: {counted.reports} of {reports} by now.", ""]
    if (mean := counted.mean_seconds) is not None:
        lines += [f"From fault to verified recovery: **{seconds(mean)}** on average.", ""]
    rows = [
        (
            link(_time(run.name), f"{run.path}.md", page=page),
            put(run.title, 400) or "(no title)",
            put(", ".join(dict.fromkeys(i.planner for i in run.incidents if i.planner)), 100),
            _tokens(run),
            link("JSON", f"{run.path}.json", page=page),
        )
        for run in runs
    ]
    head = ("Time (UTC)", "What happened", "Planned by", "Model", "Data")
    lines += table(head, rows, limit=len(rows))
    left = reports - len(rows)
    if left > 0:
        lines += ["", f"The newest {len(rows)}; {count(left, 'report')} more lie in the folders."]
    return "\n".join(lines) + "\n"


def _time(name: str) -> str:
    """`233405-ac5d0812` → `23:34:05`."""
    digits = name.partition("-")[0]
    whole = len(digits) == 6 and digits.isdecimal() and digits.isascii()
    return f"{digits[:2]}:{digits[2:4]}:{digits[4:]}" if whole else cell(name, 40)


def _tokens(run: StoredRun) -> str:
    tokens = sum(incident.tokens for incident in run.incidents)
    return count(tokens, "token") if tokens else ""
