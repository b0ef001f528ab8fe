"""What changed lately: commits of desired state, and what the engine recorded. Pure.

Author and subject are anybody's words; `flows.dossier.collect` cleans and redacts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from flows.repository.contract import DesiredChange

# Of each kind of event the newest stands for all.
_EVENTS = 12
# What engines write a thousand times and what tells nothing.
_DETAILS = ("exitCode", "signal", "oldName")


def of_desired_state(changes: Iterable[DesiredChange]) -> Iterator[str]:
    """One sentence for each commit, as given: newest first."""
    for change in changes:
        at = change.at.strftime("%Y-%m-%d %H:%M")
        touched = ", ".join(change.targets)
        yield f"{at} {touched}: commit {change.sha[:10]} by {change.author}: {change.subject}"


def of_engine(target: str, output: Any, *, since: datetime | None = None) -> list[str]:
    """What `get_events` found, newest first; like events are one with a count.

    Args:
        target: whose they are.
        output: of `get_events`.
        since: older ones are left out; None: all are told.
    """
    newest: dict[tuple[str, ...], tuple[str, str, int]] = {}
    for event in events_since(output, since):
        key = _key(event)
        at = str(event.get("time", ""))
        first, _, count = newest.pop(key, (at, "", 0))
        newest[key] = (first, at, count + _times(event))
    told = [
        f"{at[:19].replace('T', ' ')} {target}: engine: {' '.join(filter(None, key))}"
        + _often(count, first, at)
        for key, (first, at, count) in newest.items()
    ]
    return told[::-1][:_EVENTS]


def _often(count: int, first: str, newest: str) -> str:
    """How many, and since when: they may be of several incidents."""
    if count == 1:
        return ""
    since = f" since {first[11:19]}" if first[:19] != newest[:19] else ""
    return f" ({count} times{since})"


def event_words(output: Any) -> Iterator[tuple[str, int]]:
    """What events say, and how often, for error patterns to be found in."""
    for event in _events(output):
        words = " ".join(str(event.get(key) or "") for key in ("action", "message")).strip()
        if words:
            yield words, _times(event)


def events_since(output: Any, since: datetime | None) -> list[Mapping[str, Any]]:
    """Events, oldest first as given; one whose time can't be read counts as new."""
    found = _events(output)
    if since is None:
        return found
    return [each for each in found if (at := moment_of(each)) is None or at >= since]


def moment_of(event: Mapping[str, Any]) -> datetime | None:
    """When it was; None: that can't be read."""
    try:
        at = datetime.fromisoformat(str(event.get("time", "")))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _events(output: Any) -> list[Mapping[str, Any]]:
    found = output.get("events") if isinstance(output, Mapping) else None
    listed = found if isinstance(found, list | tuple) else ()
    return [each for each in listed if isinstance(each, Mapping)]


def _key(event: Mapping[str, Any]) -> tuple[str, ...]:
    details = (f"{name}={event[name]}" for name in _DETAILS if event.get(name) is not None)
    kind = str(event.get("type") or "")
    return (
        "" if kind in {"", "Normal"} else kind,
        str(event.get("action") or ""),
        str(event.get("instance") or ""),
        *details,
        str(event.get("message") or ""),
    )


def _times(event: Mapping[str, Any]) -> int:
    count = event.get("count")
    return count if isinstance(count, int) and count > 0 else 1
