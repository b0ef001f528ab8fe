"""Who ended the root of an incident, as far as its engine has recorded that. Pure.

Docker Engine records each call that ends a container, whoever makes it. A process that ends by
itself, or that the host kills, leaves no such record, and nothing is said of it. Neighbours:
`executors.docker.evidence` gives the events; `flows.planners.runbook` and reports tell the deed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flows.dossier.changes import events_since, moment_of
from flows.dossier.entries import Scope
from flows.dossier.reads import EVENTS, Answer
from flows.plan import EngineDeed
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import PastIncident, TargetStatus
from infrastructure.drift_kinds import DriftKind

# Signals that end a process unless it minds them; of another the exit code has to tell.
_ENDING = frozenset({"2", "3", "6", "9", "15"})
_BY_SIGNAL = 128
_AT_ONCE = timedelta(seconds=5)  # within which an engine removes what was started with --rm

_KILL, _STOP, _DIE, _DESTROY = "kill", "stop", "die", "destroy"  # of Docker Engine's API
_START = "start"


def ended_by(
    scope: Scope, statuses: Mapping[str, TargetStatus], answers: Sequence[Answer]
) -> EngineDeed | None:
    """What somebody had the engine do, since all was well; None: nothing tells.

    Args:
        scope: the incident's.
        statuses: of all targets: what was done to the root may stand in another's.
        answers: of the engine.
    """
    root = scope.incident.root
    kinds = {drift.kind for drift in scope.incident.drifts if drift.target == root}
    if kinds.isdisjoint({DriftKind.MISSING, DriftKind.STOPPED}):
        return None
    output = next(
        (a.output for a in answers if (a.target, a.operation) == (root, EVENTS) and not a.error),
        None,
    )
    found = events_since(output, scope.last_well.get(root))
    event = _deed(found, gone=DriftKind.STOPPED not in kinds)
    if event is None or (at := moment_of(event)) is None:
        return None
    if not _ours_are_over(statuses, root, at):
        return None  # it may have been one of the loop's own tries
    return EngineDeed(scope.line(_words(event, found)), at, not_ours=root in statuses)


def _deed(events: Sequence[Mapping[str, Any]], *, gone: bool) -> Mapping[str, Any] | None:
    """The newest event by which somebody ended it; None: it ended otherwise, or runs again."""
    for place in range(len(events) - 1, -1, -1):
        action = events[place].get("action")
        if gone and action == _DESTROY:
            return None if _removed_itself(events[:place], events[place]) else events[place]
        if not gone and action == _START:
            return None
        if not gone and action == _DIE:
            return _killed(events[:place], events[place])
    return None


def _killed(
    before: Sequence[Mapping[str, Any]], died: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The signal that it died of, sent through the engine since it was started."""
    own = [event for event in before if event.get("instance") == died.get("instance")]
    ends = [event for event in own if event.get("action") in (_KILL, _START)][-1:]
    return next((e for e in ends if e.get("action") == _KILL and _ends(e, died)), None)


def _ends(kill: Mapping[str, Any], died: Mapping[str, Any]) -> bool:
    signal = str(kill.get("signal") or "")
    if not signal or signal in _ENDING:
        return True
    return signal.isdigit() and str(died.get("exitCode")) == str(_BY_SIGNAL + int(signal))


def _removed_itself(before: Sequence[Mapping[str, Any]], gone: Mapping[str, Any]) -> bool:
    """Whether it ended by itself just before: it may have been started with --rm."""
    own = [event for event in before if event.get("instance") == gone.get("instance")]
    place = next((n for n in reversed(range(len(own))) if own[n].get("action") == _DIE), None)
    if place is None or _killed(own[:place], own[place]) is not None:
        return False
    died, removed = moment_of(own[place]), moment_of(gone)
    return died is None or removed is None or removed - died < _AT_ONCE


def _words(event: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    if event.get("action") == _DESTROY:
        return "removed through the Docker API"
    later = (e for e in events[events.index(event) :] if e.get("instance") == event.get("instance"))
    verb = "stopped" if any(e.get("action") == _STOP for e in later) else "killed"
    signal = event.get("signal")
    return f"{verb} through the Docker API" + (f" (signal {signal})" if signal else "")


def _ours_are_over(statuses: Mapping[str, TargetStatus], root: str, at: datetime) -> bool:
    """Whether every try of this installation's had ended, and all was well after it, before."""
    own = statuses.get(root)
    well = own.last_well if own is not None else None
    if own is not None and own.attempts is not None:
        return False
    return all(
        past.at <= at
        and (past.result == IncidentResult.RECOVERED or (well is not None and past.at <= well))
        for past in _tries(statuses, root)
    )


def _tries(statuses: Mapping[str, TargetStatus], root: str) -> Iterator[PastIncident]:
    """Past incidents in which something was, or may have been, done to the root."""
    for target, status in statuses.items():
        for past in status.history:
            if target == root or any(step.target == root for step in past.steps):
                yield past
