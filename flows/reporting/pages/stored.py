"""A report as it stands in Git, as far as indexes tell of it.

It was cleaned and redacted when it was written, but whoever can push may have changed it:
what is not as a report should be counts as not told. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flows.reporting.incident_result import IncidentResult
from flows.reporting.text import plain, unmarked

_RESULTS = frozenset(result.value for result in IncidentResult)
_NAME = 200
_TITLE = 500


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """One incident of a stored report. `seconds` from fault to recovery, where it is known."""

    root: str
    result: str
    planner: str = ""
    seconds: float | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One stored report. `path` is without its ending; `title` is plain text of one line."""

    path: str
    title: str
    incidents: tuple[StoredIncident, ...] = ()

    @property
    def name(self) -> str:
        """`HHMMSS-<end of run id>`: sorts by time within a day."""
        return self.path.rpartition("/")[2]


def unread_run(path: str, size: int, limit: int) -> StoredRun:
    """A report that is not read, because a file of it is too large; in bytes."""
    return StoredRun(path, f"not read: {size} bytes, more than git.maxFileBytes ({limit})")


def stored_run(path: str, json_text: bytes, markdown: bytes = b"") -> StoredRun:
    """A report's two files as a value.

    Args:
        path: of the report, without its ending.
        json_text: its JSON.
        markdown: its Markdown, whose first line is the title; empty: without a title.
    """
    first = markdown.partition(b"\n")[0].decode(errors="replace").removeprefix("# ")
    try:
        data = json.loads(json_text)
    except (ValueError, RecursionError):
        data = None
    incidents = data.get("incidents") if isinstance(data, dict) else None
    found = incidents if isinstance(incidents, list) else []
    told = tuple(_incident(one) for one in found if isinstance(one, dict))
    return StoredRun(path, unmarked(first, _TITLE), told)


def _incident(data: dict[str, Any]) -> StoredIncident:
    plan = data.get("plan")
    plan = plan if isinstance(plan, dict) else {}
    result = data.get("result")
    return StoredIncident(
        root=_text(data.get("root")),
        result=result if isinstance(result, str) and result in _RESULTS else "unknown",
        planner=_text(plan.get("runbook")) or _text(plan.get("planner")),
        seconds=_seconds(data.get("faultToRecoverySeconds")),
        tokens=_tokens(plan),
    )


def _tokens(plan: dict[str, Any]) -> int:
    declined = plan.get("declined")
    asked = [plan, *(declined if isinstance(declined, list) else ())]
    usages = [one.get("usage") for one in asked if isinstance(one, dict)]
    counts = [
        usage.get(kind)
        for usage in usages
        if isinstance(usage, dict)
        for kind in ("promptTokens", "outputTokens")
    ]
    return sum(c for c in counts if isinstance(c, int) and 0 <= c < 10**9)


def _text(value: Any) -> str:
    return plain(value, _NAME) if isinstance(value, str) else ""


def _seconds(value: Any) -> float | None:
    fit = isinstance(value, int | float) and 0 <= value < 10**9  # so no NaN and no infinity
    return float(value) if fit else None
