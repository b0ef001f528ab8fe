"""The table of `uici status`: what needs a look first, and its JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from flows.command_line.desired_view import desired_data, print_desired
from flows.command_line.freshness import last_word
from flows.command_line.hints import here, in_others_words
from flows.command_line.moments import at_a_glance, in_full
from flows.command_line.output import escape, new_console, new_table
from flows.comparison.drift import HealthStatus
from flows.reporting.status import ConditionType, LastIncident, TargetStatus
from flows.reporting.values import IncidentResult
from flows.repository.contract import DesiredState

_RESULT = 100  # characters by which what came of a try is known again
_QUIET = "one that finds nothing new tells nothing"
_NOTHING: Mapping[str, str] = {}


def print_status(
    desired: DesiredState,
    statuses: Mapping[str, TargetStatus],
    targets: Collection[str],
    *,
    now: datetime,
    noted: Mapping[str, str] = _NOTHING,
    unread: Mapping[str, str] = _NOTHING,
    redact: Callable[[str], str] = str,
) -> None:
    """`uici status`: what needs a look first.

    Args:
        desired: desired state.
        statuses: what is known.
        targets: what is shown; one without a status has not been seen yet.
        now: decides which moments are of today.
        noted: what runs have seen and not told of yet, by target.
        unread: why a status that is there can't be read, by target.
        redact: cuts secrets out of a commit's words.
    """
    console = new_console()
    print_desired(console, desired, redact)
    told_at = last_word(statuses.values())
    if told_at is not None:
        console.print(f"as of    {in_full(told_at, now)}: the newest that a run has told; {_QUIET}")
    table = new_table("target", "sync", "health", "since", "attempts", "reason")
    table.columns[3].no_wrap = True
    for target in sorted(targets, key=lambda t: (_rank(statuses.get(t)), t)):
        status = statuses.get(target)
        if status is None:
            why = noted.get(target, "no run has told of it")
            word = "unreadable" if target in unread else "not seen yet"
            told = escape(unread.get(target, why))
            table.add_row(escape(target), "", f"[yellow]{word}[/]", "", "", told)
            continue
        ready = next(c for c in status.conditions if c.type is ConditionType.READY)
        colour = _COLOURS.get(status.health, "yellow") if target not in noted else "yellow"
        news = f"{noted[target]}; before: " if target in noted else ""
        table.add_row(
            escape(target),
            escape(status.sync),
            f"[{colour}]{escape(status.health)}[/]",
            at_a_glance(status.since or ready.last_transition_time, now),
            str(status.attempts.count) if status.attempts else "",
            escape(
                f"{news}{_standing(status, now)}{ready.reason}: {in_others_words(ready.message)}"
                f"{_cause(status)}"
            ),
        )
    console.print(table)


def _standing(status: TargetStatus, now: datetime) -> str:
    """Where UICI's own tries stand, if there were any that did not help."""
    if any(c.type is ConditionType.STALLED for c in status.conditions):
        return f"Stalled, a person must look ({here('uici report')}); "
    last = status.last_incident
    if last is not None and last.result == IncidentResult.NOTHING_TO_DO:
        return "left alone, the model sees nothing to do; "
    if status.attempts is not None and now < status.attempts.not_before:
        return f"looked at again after {at_a_glance(status.attempts.not_before, now)}; "
    return ""


def _cause(status: TargetStatus) -> str:
    """What was held to be wrong when it was last worked on, while it is still sick."""
    last = status.last_incident
    if last is None or not last.diagnosis or last.result == IncidentResult.RECOVERED.value:
        return ""
    if status.health == HealthStatus.UNKNOWN:  # it may be over, or another one
        return ""
    if _is_a_result(last, status):
        return f"; the last try: {last.diagnosis}"
    tried = last.summary if status.attempts is not None and last.summary != last.diagnosis else ""
    return f"; diagnosis: {last.diagnosis}" + (f"; the last try: {tried}" if tried else "")


def _is_a_result(last: LastIncident, status: TargetStatus) -> bool:
    """Whether the diagnosis only repeats what came of a try: then nobody knows the cause."""
    tried = status.attempts.tried if status.attempts is not None else ()
    results = (last.summary, *(past.result for past in tried))
    return any(result and last.diagnosis.startswith(result[:_RESULT]) for result in results)


_COLOURS = {"Healthy": "green", "Missing": "red", "Degraded": "red"}
_SICK_FIRST = ("Missing", "Degraded", "Unknown", "Progressing", "Suspended")


def _rank(status: TargetStatus | None) -> int:
    if status is None:
        return len(_SICK_FIRST)
    if status.health in _SICK_FIRST:
        return _SICK_FIRST.index(status.health)
    return len(_SICK_FIRST) + (1 if status.sync == "Synced" else 0)


def status_data(desired: DesiredState, statuses: Mapping[str, TargetStatus]) -> dict[str, Any]:
    """`uici status --json`; `asOf`: the newest moment that they tell of."""
    told_at = last_word(statuses.values())
    return {
        "apiVersion": "uici/v1",
        "kind": "StatusList",
        "desired": desired_data(desired),
        "asOf": told_at.isoformat() if told_at is not None else None,
        "items": [s.model_dump(mode="json", by_alias=True) for s in statuses.values()],
    }
