"""Publishes the pages for people on the reports branch, when something is new.

Pages are derived: they cost a commit of their own, now and then, and nothing for each
incident. Only the days that are listed are looked at, and of them only the reports that
came since the last publication are read. Made and called by `flows.git_state`; what stands
on the pages is `flows.reporting.pages`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Protocol

from flows.reporting.pages.chart import recoveries_chart
from flows.reporting.pages.day_page import render_day
from flows.reporting.pages.index import (
    STATUS_PAGE,
    DayCount,
    PageIndex,
    day_folder,
    day_of,
    day_page,
    read_index,
)
from flows.reporting.pages.status_page import CHART, Standing, badges, render_status
from flows.reporting.status import PAGES_PATH, REPORT_FOLDER, Reported
from flows.reporting.text import Redact
from flows.repository.contract import (
    Blob,
    Commit,
    CommitFiles,
    CommitResult,
    Listing,
    Repository,
)
from flows.repository.memory import read_runs, report_stems
from flows.repository.plumbing import blob_id
from infrastructure.config_models import PageSettings

_AT_ONCE = 500  # reports that are in memory at the same time


class _Redactor(Protocol):
    def text(self, text: str, /) -> str:
        """A text without secrets."""
        ...


@dataclass(frozen=True, slots=True)
class _Day:
    """A day's reports on the branch, by name, and its page's file if it has one."""

    day: date
    stems: tuple[str, ...]
    page: Blob | None


class PageStore:
    """See the module. One object lives as long as its process."""

    def __init__(self, repository: Repository, redactor: _Redactor, commit: CommitFiles) -> None:
        self._repository = repository
        self._redact: Redact = redactor.text
        self._commit = commit
        self._published = ""  # the tip of which the pages tell, as far as this process knows

    def publish_due(
        self, tip: Commit | None, reported: Reported, pages: PageSettings, now: datetime
    ) -> CommitResult | None:
        """Publish if the last time is `every` ago. None: not due, or nothing is new."""
        if tip is None or tip.sha == self._published:
            return None
        at = read_index(reported.pages).at
        if at is not None and abs(now - at) < pages.every:
            return None
        return self.publish(tip, reported, pages, now)

    def publish(
        self, tip: Commit | None, reported: Reported, pages: PageSettings, now: datetime
    ) -> CommitResult | None:
        """Bring the pages up to date. None: they are.

        Raises:
            CloneDamagedError: the clone can't be read.
            TemporaryError: it can't be read now, or the local commit could not be written.
        """
        if tip is None:
            return None
        listing, days = self._listed(tip.sha, pages.days, now)
        before = read_index(reported.pages)
        index = PageIndex(now, {each.day: self._counted(each, before, listing) for each in days})
        files = self._day_pages(days, index, before, listing, pages)
        files |= _status_files(reported, days, index, pages, self._redact)
        stands = self._repository.tree(tip.sha, sorted(files)).files
        news = {p: c for p, c in files.items() if p not in stands or stands[p].sha != blob_id(c)}
        if not news:
            self._published = tip.sha
            return None
        told = ", ".join(sorted(f"{day}" for day in map(day_of, news) if day)) or "status"
        done = self._commit({**news, PAGES_PATH: index.to_bytes()}, f"pages: {told}\n", now)
        self._published = done.sha if done is not None else tip.sha
        return done

    def _listed(self, tip: str, count: int, now: datetime) -> tuple[Listing, list[_Day]]:
        """The days that are shown, the oldest first.

        A run whose clock was ahead must not hide all others: tomorrow is the last one.
        """
        folders = self._repository.directories(tip, REPORT_FOLDER)
        last = now.date().toordinal() + 1  # a number: no date is out of its range
        days = [day for folder in folders if (day := day_of(folder)) is not None]
        found = {day for day in days if day.toordinal() <= last}
        newest = max(found, default=date.min).toordinal()
        shown = sorted(day for day in found if day.toordinal() > newest - count)
        if not shown:
            return Listing({}), []
        listing = self._repository.tree(tip, [day_folder(day) for day in shown])
        stems: dict[date, list[str]] = {day: [] for day in shown}
        for stem in report_stems(listing):
            day = day_of(stem)
            if day in stems:
                stems[day].append(stem)
        return listing, [
            _Day(day, tuple(sorted(of_day, key=_name)), listing.files.get(day_page(day)))
            for day, of_day in stems.items()
            if of_day
        ]

    def _counted(self, day: _Day, before: PageIndex, listing: Listing) -> DayCount:
        """What was counted, and what came since; anew where something else has changed."""
        known = before.days.get(day.day, DayCount())
        new = [stem for stem in day.stems if _name(stem) > known.last]
        if len(day.stems) - len(new) != known.reports:
            known, new = DayCount(), list(day.stems)
        for start in range(0, len(new), _AT_ONCE):
            stems = new[start : start + _AT_ONCE]
            runs = read_runs(stems, listing, self._repository, (".json",))
            known = known.with_runs(runs)
        return known

    def _day_pages(
        self,
        days: Sequence[_Day],
        index: PageIndex,
        before: PageIndex,
        listing: Listing,
        pages: PageSettings,
    ) -> dict[str, bytes]:
        """Pages of the days of which there is news."""
        files: dict[str, bytes] = {}
        for earlier, each in pairwise([None, *days]):
            assert each is not None  # noqa: S101  # only the first of all is
            counted = index.days[each.day]
            if each.page is not None and counted == before.days.get(each.day):
                continue
            newest = each.stems[: -pages.rows - 1 : -1]
            text = render_day(
                each.day,
                counted,
                read_runs(newest, listing, self._repository),
                before=earlier.day if earlier is not None else None,
                redact=self._redact,
            )
            files[day_page(each.day)] = text.encode(errors="replace")
        return files


def _status_files(
    reported: Reported,
    days: Sequence[_Day],
    index: PageIndex,
    pages: PageSettings,
    redact: Redact,
) -> dict[str, bytes]:
    stems = [stem for each in days for stem in each.stems]
    last = stems[-1] if stems else ""
    standing = Standing(
        reported.statuses,
        index.days,
        last_report=last,
        last_at=_time(last),
        refused_revision=reported.refused_revision,
        reports={_name(stem).partition("-")[2]: stem for stem in stems},
    )
    text = render_status(standing, rows=pages.rows, redact=redact)
    return {
        STATUS_PAGE: text.encode(errors="replace"),
        CHART: recoveries_chart(index.days, count=pages.days),
        **badges(standing),
    }


def _name(stem: str) -> str:
    """`HHMMSS-<end of run id>`: sorts by time within a day."""
    return stem.rpartition("/")[2]


def _time(stem: str) -> datetime | None:
    """When a report was written, as its path says."""
    day = day_of(stem)
    try:
        clock = datetime.strptime(_name(stem)[:6], "%H%M%S").time()  # noqa: DTZ007  # UTC below
    except ValueError:
        return None
    return datetime.combine(day, clock, UTC) if day is not None else None
