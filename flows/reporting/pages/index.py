"""What the published pages rest on, kept beside them: counts of each day, and when.

So that a publication reads the reports that came since, not all of them again. Anyone may
have edited the file: what can't be read is counted anew. Pure. Neighbour:
`flows.repository.page_store`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from flows.reporting.incident_result import IncidentResult
from flows.reporting.pages.stored import StoredRun
from flows.reporting.status import REPORT_FOLDER
from infrastructure.observed import empty

PAGES_FOLDER = "pages"
_RECOVERED = IncidentResult.RECOVERED.value
_MOST = 10**9  # far above what a day holds


@dataclass(frozen=True, slots=True)
class DayCount:
    """One day: its reports up to `last` (time and run as in a report's name), what they tell.

    `seconds` is the sum over the `timed` recoveries whose fault's beginning was known.
    """

    reports: int = 0
    last: str = ""
    results: Mapping[str, int] = field(default_factory=empty)
    seconds: float = 0.0
    timed: int = 0

    @property
    def recovered(self) -> int:
        """Incidents that ended well."""
        return self.results.get(_RECOVERED, 0)

    @property
    def others(self) -> int:
        """Incidents that ended otherwise."""
        return sum(self.results.values()) - self.recovered

    @property
    def mean_seconds(self) -> float | None:
        """From a fault to its verified recovery; None: of none is it known."""
        return self.seconds / self.timed if self.timed else None

    def with_runs(self, runs: Iterable[StoredRun]) -> DayCount:
        """With more reports of the same day."""
        found = list(runs)
        told = [incident for run in found for incident in run.incidents]
        took = [i.seconds for i in told if i.seconds is not None]
        results = Counter(self.results) + Counter(incident.result for incident in told)
        return replace(
            self,
            reports=self.reports + len(found),
            last=max([self.last, *(run.name for run in found)]),
            results=dict(sorted(results.items())),
            seconds=round(self.seconds + sum(took), 3),
            timed=self.timed + len(took),
        )


@dataclass(frozen=True, slots=True)
class PageIndex:
    """All days that are listed, by date; `at` is the publication's time.

    `told` is the commit of which the pages tell, `behind` how many reports of these days are
    not counted yet.
    """

    at: datetime | None = None
    days: Mapping[date, DayCount] = field(default_factory=empty)
    told: str = ""
    behind: int = 0

    def to_bytes(self) -> bytes:
        """As a file: a line for each day, so that a day more is a line more."""
        days = {
            f"{day}": {
                "reports": count.reports,
                "last": count.last,
                "results": dict(count.results),
                "seconds": count.seconds,
                "timed": count.timed,
            }
            for day, count in sorted(self.days.items())
        }
        at = self.at.astimezone(UTC).isoformat(timespec="seconds") if self.at else None
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in days.items())
        head: dict[str, str | int | None] = {
            "apiVersion": "uici/v1",
            "kind": "PageIndex",
            "publishedAt": at,
            "told": self.told,
        }
        head |= {"behind": self.behind} if self.behind else {}
        return f'{json.dumps(head)[:-1]}, "days": {{\n{lines}\n}}}}\n'.encode()


def read_index(content: bytes | None) -> PageIndex:
    """A file as it was written; what is not so counts as absent."""
    try:
        data = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return PageIndex()
    if not isinstance(data, dict):
        return PageIndex()
    days = data.get("days")
    found: dict[date, DayCount] = {}
    for name, value in days.items() if isinstance(days, dict) else ():
        try:
            found[date.fromisoformat(name)] = _count(value)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue
    told, behind = data.get("told"), data.get("behind")
    return PageIndex(
        _moment(data.get("publishedAt")),
        found,
        told if isinstance(told, str) else "",
        behind if isinstance(behind, int) and 0 < behind < _MOST else 0,
    )


def _count(value: Any) -> DayCount:
    results = {str(name): _number(n) for name, n in value["results"].items()}
    seconds = value["seconds"]  # compared as it is: no float holds every number of JSON
    if not isinstance(seconds, int | float) or not 0 <= seconds < _MOST:
        raise ValueError("seconds out of bounds")
    last = value["last"]
    if not isinstance(last, str):
        raise TypeError("no name")
    return DayCount(
        _number(value["reports"]), last, results, float(seconds), _number(value["timed"])
    )


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < _MOST:
        raise ValueError("no count")
    return value


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return at if at.tzinfo is not None else None


DAY_DEPTH = 3  # levels that a day's folder lies below that of all reports


def day_folder(day: date) -> str:
    """Where the reports of a day lie, and its page."""
    return f"{REPORT_FOLDER}/{day:%Y/%m/%d}"


def day_page(day: date) -> str:
    """Path of a day's page."""
    return f"{day_folder(day)}/README.md"


def day_of(path: str) -> date | None:
    """The day of a folder or of a file below it; None: it is of none."""
    parts = path.split("/")
    try:
        return date(*(int(part) for part in parts[1:4])) if parts[0] == REPORT_FOLDER else None
    except (ValueError, TypeError):
        return None
