"""The course of an incident on its page: the timeline, and what was learned. Pure.

Neighbours: `flows.reporting.timeline` (the rows), `flows.reporting.markdown` (the page).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from flows.learning.incident_class import class_name
from flows.learning.shelf import knowledge_path
from flows.reporting.pages.table import table
from flows.reporting.timeline import timeline
from flows.reporting.values import IncidentReport, RunReport

# From the folder of a minute, where `flows.report.report_path` puts a report.
_TOP = "../" * 6
_ROWS = 50


def _clock(at: datetime, report: RunReport) -> str:
    """With its day, where that is not the run's."""
    same = at.astimezone(UTC).date() == report.started_at.astimezone(UTC).date()
    return f"{at:%H:%M:%S}" if same else f"{at:%Y-%m-%d %H:%M:%S}"


def course_lines(
    report: RunReport, incident: IncidentReport, put: Callable[..., str]
) -> Iterator[str]:
    """Lines that follow on the incident's own. `put` redacts a text and makes it harmless."""
    rows: list[tuple[str, str]] = []
    for row in timeline(report, incident):
        at = _clock(row.at, report) if row.at else ""
        if rows and at in ("", rows[-1][0]):  # what one second holds is one row
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} → {put(row.words, 300)}")
        else:
            rows.append((at, put(row.words, 300)))
    yield from ("", *table(("UTC", "Timeline"), rows, limit=_ROWS))
    for lesson in report.lessons.items:
        if lesson.trial.target == incident.incident.root:
            name = class_name(lesson.when)
            steps = ", ".join(step.operation for step in lesson.steps)
            helped = "helped" if lesson.trial.helped else "did not help"
            where = f"[{put(name)}]({_TOP}{knowledge_path(name)})"
            yield from ("", f"Learned: {put(steps)} {helped} against {where}")
