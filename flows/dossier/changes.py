"""What changed lately: commits of desired state, and what the engine recorded. Pure.

Author and subject are anybody's words; `flows.dossier.collect` cleans and redacts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


def of_engine(target: str, output: Any) -> list[str]:
    """What `get_events` found, newest first; like events are one with a count."""
    newest: dict[tuple[str, ...], tuple[str, int]] = {}
    for event in _events(output):
        key = _key(event)
        _, count = newest.pop(key, ("", 0))
        newest[key] = (str(event.get("time", "")), count + _times(event))
    told = [
        f"{at[:19].replace('T', ' ')} {target}: engine: {' '.join(filter(None, key))}"
        + (f" ({count} times)" if count > 1 else "")
        for key, (at, count) in newest.items()
    ]
    return told[::-1][:_EVENTS]


def event_words(output: Any) -> Iterator[tuple[str, int]]:
    """What events say, and how often, for error patterns to be found in."""
    for event in _events(output):
        words = " ".join(str(event.get(key) or "") for key in ("action", "message")).strip()
        if words:
            yield words, _times(event)


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
