"""How old what Git tells is, and what is known to be newer. Pure.

A run that finds nothing new commits nothing, and what is within its grace is in no commit at
all: the agent's own notes of it (`flows.first_seen`) are read where they are on this machine.
Neighbours: `status_table` and `report_view`, which say it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from flows.command_line.grace import Grace
from flows.command_line.moments import at_a_glance, in_full
from flows.command_line.sentence import Command, Sentence, sentence
from flows.comparison.drift import HealthStatus, Sync
from flows.reporting.status import OpenIntent, Reported, TargetStatus, status_path
from infrastructure.service import Moment

_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
_SHOWN = 5
_WRITTEN = timedelta(milliseconds=1)
_TOLD = frozenset({HealthStatus.MISSING.value, HealthStatus.DEGRADED.value})


@dataclass(frozen=True, slots=True)
class Known:
    """What Git and this agent know now."""

    statuses: Mapping[str, TargetStatus]
    intents: tuple[OpenIntent, ...]
    grace: Grace


def last_word(statuses: Iterable[TargetStatus]) -> datetime | None:
    """The newest moment that statuses tell of; None: no run has told."""
    return max((at for status in statuses for at in _moments(status)), default=None)


def _moments(status: TargetStatus) -> Iterator[datetime]:
    yield from (condition.last_transition_time for condition in status.conditions)
    yield from (past.at for past in status.history)
    if status.last_incident is not None:
        yield status.last_incident.at
    if status.attempts is not None:
        yield status.attempts.last_at


def untold(statuses: Mapping[str, TargetStatus], grace: Grace) -> dict[str, str]:
    """What runs have seen and written no word about, by target."""
    found: dict[str, list[str]] = {}
    for noted in grace.noted():
        status = statuses.get(noted.target)
        told_at = last_word([status]) if status is not None else None
        if status is not None and status.health in _TOLD:
            continue
        if told_at is None or told_at < noted.since:
            found.setdefault(noted.target, []).append(grace.noted_words(noted))
    return {target: "; ".join(dict.fromkeys(words)) for target, words in found.items()}


def unread(targets: Iterable[str], reported: Reported) -> dict[str, str]:
    """Statuses that are there and can't be read, and why, by target."""
    found = {place: why for place, _, why in (told.partition(": ") for told in reported.damaged)}
    paths = {target: status_path(target) for target in targets}
    return {t: f"{p} can't be read: {found[p]}" for t, p in paths.items() if p in found}


def newer_than(report: str, known: Known) -> Iterator[Sentence]:
    """How old the newest report is, and what it can't tell of yet.

    Args:
        report: its JSON; nothing is said of one that can't be read.
        known: now.
    """
    ended, run_id = _end_of(report)
    if ended is None:
        return
    now = known.grace.now
    found = [*_news(ended, run_id, known)]
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield sentence(f"newer: {len(found) - _SHOWN} more: ", Command("status"))
    yield sentence(
        f"this report is of {in_full(ended, now)}; what is so now: ",
        Command("plan"),
    )


def _news(ended: datetime, run_id: str, known: Known) -> Iterator[Sentence]:
    now, grace = known.grace.now, known.grace
    for target, words in untold(known.statuses, grace).items():
        yield sentence(f"newer: {target}: {words}: ", Command(f"explain {target}"))
    for target, status in sorted(known.statuses.items()):
        last = status.last_incident
        told_here = last is not None and last.run_id == run_id
        if status.since is None or status.since <= ended or told_here or _is_well(status):
            continue
        stands = ", ".join(dict.fromkeys((status.health, status.sync)))
        since = f"since {at_a_glance(status.since, now)}"
        yield sentence(f"newer: {target} is {stands} {since}: ", Command(f"explain {target}"))
    for intent in known.intents:
        if intent.at is not None and intent.at > ended:
            doing = ", ".join(intent.planned) or "it says not what"
            began = at_a_glance(intent.at, now)
            yield sentence(f"newer: a run of {began} is at work, or broke off: {doing}")


def _is_well(status: TargetStatus) -> bool:
    return status.health == HealthStatus.HEALTHY.value and status.sync == Sync.SYNCED.value


def _end_of(report: str) -> tuple[datetime | None, str]:
    """When its run had ended, and its id. It comes from a branch: it may hold anything."""
    try:
        data = json.loads(report)
        ended = _MOMENT.validate_python(data["finishedAt"])
        run_id = str(data["runId"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, ""
    # It is written to the millisecond, what statuses tell more exactly.
    return ended + _WRITTEN, run_id
