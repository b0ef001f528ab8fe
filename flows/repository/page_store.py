"""Publishes the pages for people on the reports branch, when something is new.

Pages are derived: they cost a commit of their own, now and then, and nothing for each
incident. Only the days that are listed are looked at, and of them only the reports that
came since the last publication are read: at most so many at once, and the next publication
goes on from there. Made and called by `flows.git_state`; what stands on the pages is
`flows.reporting.pages`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Protocol

import structlog

from flows.reporting.pages.chart import recoveries_chart
from flows.reporting.pages.day_page import render_day
from flows.reporting.pages.index import (
    DAY_DEPTH,
    DayCount,
    PageIndex,
    day_folder,
    day_of,
    day_page,
    read_index,
)
from flows.reporting.pages.status_page import (
    CHART,
    STATUS_PAGE,
    STATUS_PAGE_BESIDE,
    Standing,
    badges,
    is_ours,
    render_status,
)
from flows.reporting.pages.stored import StoredRun
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

_log = structlog.get_logger("uici")

_IN_MEMORY = 500  # reports that are in memory at the same time


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


@dataclass(frozen=True, slots=True)
class _Listed:
    """The days that are shown, the oldest first. `beyond`: the newest, if all are in the future."""

    files: Listing
    days: tuple[_Day, ...] = ()
    beyond: date | None = None


class PageStore:
    """See the module. One object lives as long as its process.

    `max_bytes`: a larger report is named and not read.
    """

    def __init__(
        self,
        repository: Repository,
        redactor: _Redactor,
        commit: CommitFiles,
        *,
        max_bytes: int,
    ) -> None:
        self._repository = repository
        self._redact: Redact = redactor.text
        self._commit = commit
        self._max_bytes = max_bytes
        self._published = ""  # the tip of which the pages tell, as far as this process knows

    def publish_due(
        self, tip: Commit | None, reported: Reported, pages: PageSettings, now: datetime
    ) -> CommitResult | None:
        """Publish if the last time is `every` ago. None: not due, or nothing is new.

        Counts at most `reportsAtOnce`; what is left is not waited for, but counted the next time.
        """
        if tip is None or tip.sha == self._published:
            return None
        index = read_index(reported.pages)
        if not index.behind:
            if index.at is not None and abs(now - index.at) < pages.every:
                return None
            if index.told and self._repository.history(tip.sha, 2)[1:] == (index.told,):
                self._published = tip.sha  # the newest commit is the publication itself
                return None
        return self.publish(tip, reported, pages, now, at_once=pages.reports_at_once)

    def publish(
        self,
        tip: Commit | None,
        reported: Reported,
        pages: PageSettings,
        now: datetime,
        *,
        at_once: int | None = None,
    ) -> CommitResult | None:
        """Bring the pages up to date. None: they are.

        Args:
            tip: of the reports branch.
            reported: what it tells.
            pages: settings.
            now: with time zone.
            at_once: reports that are counted; None: all.

        Raises:
            CloneDamagedError: the clone can't be read.
            TemporaryError: it can't be read now, or the local commit could not be written.
        """
        if tip is None:
            return None
        listed = self._listed(tip.sha, pages.days, now)
        before = read_index(reported.pages)
        counted, behind = self._counted(listed, before, at_once)
        index = PageIndex(now, counted, told=tip.sha, behind=behind)
        page, also = self._status_pages(tip.sha)
        files = self._day_pages(listed, index, before, pages, status_page=page or STATUS_PAGE)
        text, others = _status_files(reported, listed, index, pages, self._redact, now=now)
        files |= dict.fromkeys(also, text) | others
        stands = self._repository.tree(tip.sha, sorted(files)).files
        news = {p: c for p, c in files.items() if p not in stands or stands[p].sha != blob_id(c)}
        if not news and (index.days, index.behind) == (before.days, before.behind):
            self._published = tip.sha
            return None
        message = _message(news, beside=page == STATUS_PAGE_BESIDE and page not in stands)
        done = self._commit({**news, PAGES_PATH: index.to_bytes()}, message, now)
        # Where it was replayed, what others have written meanwhile is not told of yet.
        told_all = done is not None and done.onto == tip.sha and not behind
        self._published = done.sha if done is not None and told_all else ""
        return done

    def _listed(self, tip: str, count: int, now: datetime) -> _Listed:
        """The days that are shown.

        A run whose clock was ahead must not hide all others: tomorrow is the last one.
        """
        folders = self._repository.directories(tip, REPORT_FOLDER, depth=DAY_DEPTH)
        last = now.date().toordinal() + 1  # a number: no date is out of its range
        days = [day for folder in folders if (day := day_of(folder)) is not None]
        found = {day for day in days if day.toordinal() <= last}
        newest = max(found, default=date.min).toordinal()
        shown = sorted(day for day in found if day.toordinal() > newest - count)
        if not shown:
            return _Listed(Listing({}), beyond=max(days, default=None))
        listing = self._repository.tree(tip, [day_folder(day) for day in shown])
        stems: dict[date, list[str]] = {day: [] for day in shown}
        for stem in report_stems(listing):
            day = day_of(stem)
            if day in stems:
                stems[day].append(stem)
        listed = tuple(
            _Day(day, tuple(sorted(of_day, key=_name)), listing.files.get(day_page(day)))
            for day, of_day in stems.items()
            if of_day
        )
        return _Listed(listing, listed)

    def _counted(
        self, listed: _Listed, before: PageIndex, at_once: int | None
    ) -> tuple[dict[date, DayCount], int]:
        """What is counted of each day, the newest days first, and how many reports are not yet."""
        found: dict[date, DayCount] = {}
        left = sum(len(each.stems) for each in listed.days) if at_once is None else at_once
        behind = 0
        for each in reversed(listed.days):
            told = before.days.get(each.day, DayCount())
            known, new = _since(each, told)
            now, later = new[:left], new[left:]
            if later and not now:
                known = told  # until there is time for it
            left -= len(now)
            behind += len(later)
            for start in range(0, len(now), _IN_MEMORY):
                stems = now[start : start + _IN_MEMORY]
                known = known.with_runs(self._runs(stems, listed.files, (".json",)))
            if known.reports:
                found[each.day] = known
        return dict(sorted(found.items())), behind

    def _runs(
        self, stems: Sequence[str], listing: Listing, ends: Sequence[str] = (".json", ".md")
    ) -> list[StoredRun]:
        return read_runs(stems, listing, self._repository, ends, max_bytes=self._max_bytes)

    def _day_pages(
        self,
        listed: _Listed,
        index: PageIndex,
        before: PageIndex,
        pages: PageSettings,
        *,
        status_page: str,
    ) -> dict[str, bytes]:
        """Pages of the days of which there is news."""
        files: dict[str, bytes] = {}
        told = [each for each in listed.days if each.day in index.days]
        for earlier, each in pairwise([None, *told]):
            assert each is not None  # noqa: S101  # only the first of all is
            counted = index.days[each.day]
            if each.page is not None and counted == before.days.get(each.day):
                continue
            newest = each.stems[: -pages.rows - 1 : -1]
            text = render_day(
                each.day,
                counted,
                self._runs(newest, listed.files),
                reports=len(each.stems),
                before=earlier.day if earlier is not None else None,
                status_page=status_page,
                redact=self._redact,
            )
            files[day_page(each.day)] = text.encode(errors="replace")
        return files

    def _status_pages(self, tip: str) -> tuple[str, tuple[str, ...]]:
        """Where the status page is to be found (empty: nowhere), and all where it is written.

        What people have written under its name stays: then it stands beside. Once it does, it
        is kept up to date there, because older pages lead to it.
        """
        names = (STATUS_PAGE, STATUS_PAGE_BESIDE)
        stands = self._repository.tree(tip, names).files
        small = {p: blob.sha for p, blob in stands.items() if blob.size <= self._max_bytes}
        contents = self._repository.read(small.values())
        ours = {path for path, sha in small.items() if is_ours(contents[sha])}
        if STATUS_PAGE not in stands or STATUS_PAGE in ours:
            return STATUS_PAGE, tuple(sorted({STATUS_PAGE, *ours}))
        if STATUS_PAGE_BESIDE in stands and STATUS_PAGE_BESIDE not in ours:
            _log.warning("status_page_not_written", reason=f"{' and '.join(names)} are not ours")
            return "", ()
        return STATUS_PAGE_BESIDE, (STATUS_PAGE_BESIDE,)


def _since(day: _Day, known: DayCount) -> tuple[DayCount, list[str]]:
    """What was counted, and what came since; anew where something else has changed."""
    new = [stem for stem in day.stems if _name(stem) > known.last]
    if len(day.stems) - len(new) != known.reports:
        return DayCount(), list(day.stems)
    return known, new


def _message(news: Mapping[str, bytes], *, beside: bool) -> str:
    told = ", ".join(sorted(f"{day}" for day in map(day_of, news) if day)) or "status"
    where = f" ({STATUS_PAGE_BESIDE}: {STATUS_PAGE} is not ours)" if beside else ""
    return f"pages: {told}{where}\n"


def _status_files(
    reported: Reported,
    listed: _Listed,
    index: PageIndex,
    pages: PageSettings,
    redact: Redact,
    *,
    now: datetime,
) -> tuple[bytes, dict[str, bytes]]:
    """The status page's text, and what goes with it by path."""
    stems = [stem for each in listed.days for stem in each.stems]
    last = stems[-1] if stems else ""
    standing = Standing(
        reported.statuses,
        index.days,
        last_report=last,
        last_at=_time(last),
        refused_revision=reported.refused_revision,
        reports={_name(stem).partition("-")[2]: stem for stem in stems},
        behind=index.behind,
        nothing_until=now.date() if listed.beyond is not None else None,
        beyond=listed.beyond,
    )
    text = render_status(standing, rows=pages.rows, redact=redact)
    return text.encode(errors="replace"), {
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
