"""Runs beside this one: another agent's, still at work, and those that died on the way.

Intents in Git are what agents know of each other. One that is younger than its run's
deadline holds every other run off its targets. Of two that come at the same time the first
on the remote's branch goes on, and the other says that it was second: it has planned on what
is no longer so. An intent of this installation can be no live one, because its runs
exclude each other by a lock. Neighbours: `flows.reconcile` and `flows.cases` (call it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from flows.act import held_report
from flows.cases import Case
from flows.comparison.drift import HealthStatus, TargetState
from flows.report import IncidentReport
from flows.reporting.status import OpenIntent, Reported
from flows.reporting.values import InterruptedRun
from flows.repository.contract import CommitResult, Durability
from flows.world import World
from infrastructure.errors import UiciError

_log = structlog.get_logger("uici")


class Branch(Protocol):
    """What is asked of `flows.git_state`."""

    def stood_before(self, commit: CommitResult) -> Reported:
        """What others had told by the time that this commit of ours came on top of it."""
        ...


def at_work(
    intents: Iterable[OpenIntent], *, installation: str, now: datetime, deadline: timedelta
) -> tuple[OpenIntent, ...]:
    """Intents of others whose runs may still be at work.

    Args:
        intents: without an outcome.
        installation: this one; its own runs take turns.
        now: with time zone.
        deadline: of a run of which its intent does not tell it.
    """
    return tuple(
        intent
        for intent in intents
        if intent.at is not None
        and intent.by != installation
        and now < (intent.until or intent.at + deadline)
    )


def held_off(busy: Iterable[OpenIntent]) -> dict[str, str]:
    """Targets that others are working on, and who does."""
    return {target: _whose(intent) for intent in busy for target in intent.targets}


def _whose(intent: OpenIntent) -> str:
    until = f", until {intent.until.isoformat(timespec='seconds')}" if intent.until else ""
    return f"run {intent.run_id} of another agent is working on it{until}"


@dataclass(frozen=True, slots=True)
class Begun:
    """Which cases may begin.

    `second` tells of those that somebody else was faster with; `theirs` are their roots
    whose status the other run has written meanwhile: it stands as they wrote it.
    """

    cases: tuple[Case, ...]
    second: tuple[IncidentReport, ...] = ()
    theirs: frozenset[str] = frozenset()


def first_to_begin(git: Branch, commit: CommitResult, cases: Sequence[Case], world: World) -> Begun:
    """Of cases whose intent was just committed, those that nobody else has begun.

    Where the intent has not reached the remote nobody can tell: `flows.act` holds what is
    too risky for that.
    """
    if commit.durability is not Durability.PUSHED or commit.onto == world.reported.tip:
        return Begun(tuple(cases))
    try:
        before = git.stood_before(commit)
    except UiciError as exc:
        _log.warning("other_runs_unknown", reason=str(exc))
        why = f"whether another run works on it can't be read: {exc}"
        reasons = {t: why for case in cases for t in case.incident.targets}
        return _split(cases, reasons, frozenset())
    busy = held_off(
        at_work(
            (i for i in before.intents if i.run_id != world.request.run_id),
            installation=world.installation,
            now=world.clock.now(),
            deadline=world.config.platform.reconcile.deadline,
        )
    )
    theirs = frozenset(
        case.incident.root
        for case in cases
        if before.statuses.get(case.incident.root) != world.statuses.get(case.incident.root)
    )
    news = "another agent's run has told of it meanwhile: the next run looks at it anew"
    return _split(cases, {**dict.fromkeys(theirs, news), **busy}, theirs)


def _split(cases: Sequence[Case], reasons: Mapping[str, str], theirs: frozenset[str]) -> Begun:
    mine: list[Case] = []
    second: list[IncidentReport] = []
    for case in cases:
        named = (case.incident.root, *case.incident.targets)
        why = next((reasons[t] for t in named if t in reasons), None) if case.changes else None
        if why is None:
            mine.append(case)
        else:
            _log.info("held_off", target=case.incident.root, reason=why)
            second.append(held_report(case, why))
    lost = frozenset(report.incident.root for report in second)
    return Begun(tuple(mine), tuple(second), theirs & lost)


def interrupted(
    intents: Iterable[OpenIntent], world: World, states: Mapping[str, TargetState]
) -> dict[str, InterruptedRun]:
    """By the path of their intents: runs that died on the way, and how their targets stand.

    One whose targets this run has not seen stays open for a run that does.
    """
    intents = [intent for intent in intents if intent.run_id != world.request.run_id]
    alive = at_work(
        intents,
        installation=world.installation,
        now=world.clock.now(),
        deadline=world.config.platform.reconcile.deadline,
    )
    return {
        intent.path: InterruptedRun(
            intent.run_id,
            intent.at,
            intent.desired_revision,
            intent.planned,
            tuple(_found(target, states) for target in intent.targets),
        )
        for intent in intents
        if intent not in alive and all(_seen(target, world, states) for target in intent.targets)
    }


def _seen(target: str, world: World, states: Mapping[str, TargetState]) -> bool:
    state = states.get(target)
    if state is None:
        return target not in world.services
    return state.health is not HealthStatus.UNKNOWN


def _found(target: str, states: Mapping[str, TargetState]) -> str:
    state = states.get(target)
    if state is None:
        return f"{target}: no longer in desired state"
    return f"{target}: {state.sync.value}, {state.health.value}: {state.message}"
