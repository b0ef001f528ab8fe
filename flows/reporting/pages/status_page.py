"""The first page of the reports branch: how every target stands, the days, chart and badges.

Made of the statuses and counts alone: without news the bytes are the same. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from flows.reporting.incident_result import IncidentResult
from flows.reporting.pages.badge import Colour, badge
from flows.reporting.pages.day_page import counted_day
from flows.reporting.pages.index import PAGES_FOLDER, DayCount, day_page
from flows.reporting.pages.table import link, picture, table
from flows.reporting.status import (
    AGENT_FOLDER,
    STATUS_FOLDER,
    Condition,
    ConditionType,
    TargetStatus,
)
from flows.reporting.text import Redact, cell, count, moment, seconds
from infrastructure.observed import empty

STATUS_PAGE = "README.md"
STATUS_PAGE_BESIDE = "UICI.md"  # where people have a README of their own
_MARK = "<!-- uici: this page is written anew; without this line it is yours and stays -->"
_BEFORE_MARK = "\nMade by UICI from "  # of a page from before the mark
CHART = f"{PAGES_FOLDER}/recoveries.svg"
_SERVICES = f"{PAGES_FOLDER}/services.svg"
_INCIDENTS = f"{PAGES_FOLDER}/incidents.svg"
_LAST = f"{PAGES_FOLDER}/last-report.svg"
_SICK_FIRST = ("Missing", "Degraded", "Unknown", "Progressing", "Suspended")
_OVER = (IncidentResult.RECOVERED.value, IncidentResult.NOTHING_TO_DO.value)
_MESSAGE = 200
_WRONG_CLOCK = (
    "**A clock is wrong**, this agent's or that of the one which wrote the reports."
    " Last told, whenever that was: {last}."
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the page tells of. `reports` are paths of reports by the end of their run's id.

    `behind` reports are not counted yet. `nothing_until`: no report is known up to this day,
    which the clock tells, and the newest one is of `beyond`; None: that is not so.
    """

    statuses: Mapping[str, TargetStatus]
    days: Mapping[date, DayCount]
    last_report: str = ""  # path of the newest, without its ending; empty: none is known
    last_at: datetime | None = None
    refused_revision: str | None = None
    reports: Mapping[str, str] = field(default_factory=empty)
    behind: int = 0
    nothing_until: date | None = None
    beyond: date | None = None

    @property
    def services(self) -> list[TargetStatus]:
        """Those that people run, what needs a look first; not the agent itself."""
        own = f"{AGENT_FOLDER}/"
        found = [s for s in self.statuses.values() if not s.target.startswith(own)]
        return sorted(found, key=lambda s: (_rank(s), s.target))

    @property
    def agents(self) -> list[TargetStatus]:
        """What is known of agents themselves: an alert about one fires."""
        return [s for s in self.statuses.values() if s.target.startswith(f"{AGENT_FOLDER}/")]


def is_ours(page: bytes) -> bool:
    """Whether a file is a status page of UICI's, which it may write anew."""
    return _MARK.encode() in page or _BEFORE_MARK.encode() in page


def badges(standing: Standing) -> dict[str, bytes]:
    """The badges by path."""
    services = standing.services
    healthy = sum(s.health == "Healthy" for s in services)
    stalled = sum(_stalled(s) for s in services)
    others = len(services) - healthy - sum(_stalled(s) and s.health != "Healthy" for s in services)
    parts = [f"{healthy} healthy"]
    parts += [f"{stalled} stalled"] if stalled else []
    parts += [f"{others} not well"] if others else []
    colour = Colour.BAD if stalled else Colour.WARNING if others else Colour.GOOD
    unsolved = sum(_open(s) for s in services)
    last = moment(standing.last_at) or "none yet"
    return {
        _SERVICES: badge("services", " / ".join(parts), colour if services else Colour.PLAIN),
        _INCIDENTS: badge(
            "open incidents", str(unsolved), Colour.WARNING if unsolved else Colour.GOOD
        ),
        _LAST: badge("last report", last, Colour.PLAIN),
    }


def render_status(standing: Standing, *, rows: int, redact: Redact) -> str:
    """The page, with at most `rows` targets."""

    def put(text: str, limit: int = _MESSAGE) -> str:
        return cell(redact(text), limit)

    page = STATUS_PAGE
    services = standing.services
    lines = [f"# {_headline(standing)}", "", _pictures(), ""]
    if standing.nothing_until is not None:
        lines += [_WRONG_CLOCK.format(last=_headline_of(services)), ""]
    for agent in standing.agents:
        ready = _ready(agent)
        lines += [f"**{put(agent.target)}:** {put(ready.message) if ready else ''}", ""]
    if standing.refused_revision:
        refused = put(standing.refused_revision)
        lines += [f"**Refused:** {refused}: the last good revision stays in force.", ""]
    if standing.last_report:
        newest = link(moment(standing.last_at), f"{standing.last_report}.md", page=page)
        lines += [f"Newest report: {newest}", ""]
    if standing.behind:
        older = count(standing.behind, "report")
        lines += [f"Counting older reports: {older} more of these days, in the next runs.", ""]
    lines += ["Made from time to time (`reports.pages`): `uici status` is newer.", ""]
    lines += ["## Targets", ""]
    told = [_row(status, standing, put) for status in services]
    head = ("Target", "Health", "In sync", "Since (UTC)", "Attempts", "Why", "Report")
    lines += table(head, told, limit=rows) if told else ["None has been seen yet."]
    if standing.days:
        lines += ["", "## Incidents", "", picture("Incidents a day", CHART, page=page), ""]
        lines += _day_table(standing.days, page)
    told_by = link("the newest statuses", STATUS_FOLDER, page=page)
    lines += ["", f"Made by UICI from {told_by}; in a terminal: `uici status`, `uici report`."]
    lines += ["", _MARK]
    return "\n".join(lines) + "\n"


def _pictures() -> str:
    shown = (("services", _SERVICES), ("open incidents", _INCIDENTS), ("last report", _LAST))
    return " ".join(picture(words, path, page=STATUS_PAGE) for words, path in shown)


def _headline(standing: Standing) -> str:
    if standing.nothing_until is None:
        return _headline_of(standing.services)
    return (
        f"Nothing is known up to {standing.nothing_until}: the newest report is of"
        f" {standing.beyond}"
    )


def _headline_of(services: Sequence[TargetStatus]) -> str:
    if not services:
        return "No target has been seen yet"
    sick = [s for s in services if s.health != "Healthy"]
    apart = [s for s in services if s.health == "Healthy" and s.sync != "Synced"]
    if not sick and not apart:
        return f"All well: {count(len(services), 'target')}"
    parts = [f"{len(sick)} not healthy"] if sick else []
    parts += [f"{len(apart)} not as Git says"] if apart else []
    return f"{', '.join(parts)}, of {count(len(services), 'target')}"


def _row(status: TargetStatus, standing: Standing, put: Redact) -> tuple[str, ...]:
    ready = _ready(status)
    why = f"{ready.reason}: {ready.message}" if ready is not None else ""
    if status.health == "Healthy" and status.sync == "Synced":
        why = ""
    if _stalled(status):
        why = f"Stalled, a person must look; {why}"
    last = status.last_incident
    report = standing.reports.get(last.run_id[-8:].strip("-")) if last is not None else None
    health = put(status.health)
    return (
        put(status.target),
        health if status.health == "Healthy" else f"**{health}**",
        put(status.sync),
        moment(status.since),
        str(status.attempts.count) if status.attempts is not None else "",
        put(why),
        link(put(last.result), f"{report}.md", page=STATUS_PAGE) if last and report else "",
    )


def _day_table(days: Mapping[date, DayCount], page: str) -> list[str]:
    rows = [
        (
            link(f"{day}", day_page(day), page=page),
            cell(counted_day(counted)),
            seconds(counted.mean_seconds) if counted.mean_seconds is not None else "",
        )
        for day, counted in sorted(days.items(), reverse=True)
    ]
    return table(("Day", "Incidents", "Fault to recovery, on average"), rows, limit=len(rows))


def _ready(status: TargetStatus) -> Condition | None:
    return next((c for c in status.conditions if c.type is ConditionType.READY), None)


def _stalled(status: TargetStatus) -> bool:
    return any(c.type is ConditionType.STALLED and c.status == "True" for c in status.conditions)


def _open(status: TargetStatus) -> bool:
    """Whether what was last worked on is not over yet."""
    last = status.last_incident
    return last is not None and last.result not in _OVER and status.health != "Healthy"


def _rank(status: TargetStatus) -> int:
    if status.health in _SICK_FIRST:
        return _SICK_FIRST.index(status.health)
    return len(_SICK_FIRST) + (0 if status.health != "Healthy" or status.sync != "Synced" else 1)
