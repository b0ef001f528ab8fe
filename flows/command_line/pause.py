"""`uici pause` and `uici resume`: the kill switch, as a file on the reports branch."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.repository.contract import CommitResult, Durability
from flows.runtime import Runtime
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.pause import PAUSE_PATH, Pause, PauseFile
from infrastructure.quantities import parse_duration


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person typed. `until`: a moment with its zone, or how long from now."""

    reason: str
    until: str | None
    environments: Sequence[str]


def pause(asked: Asked, runtime: Runtime) -> str:
    """Pause. Returns the line for the person.

    Raises:
        InvalidInputError: no reason, no such environment, or no moment ahead.
        UiciError: it could not be committed: nothing is paused.
    """
    now = runtime.clock.now()
    wanted = Pause(
        api_version="uici/v1",
        kind="Pause",
        reason=_reason(asked.reason),
        until=_moment(asked.until, now) if asked.until else None,
        environments=_environments(asked.environments, runtime),
        by=getpass.getuser(),
    )
    runtime.git.refresh()
    done = runtime.git.pause(wanted, now)
    shown = PauseFile(PAUSE_PATH, wanted)
    where = ", ".join(wanted.environments) if wanted.environments else "everywhere"
    return f"{shown} ({where}; observation goes on){_durable(done)}"


def resume(runtime: Runtime) -> str:
    """End what `uici pause` began. Returns the line for the person.

    Raises:
        PermanentError: a commit in desired state pauses still, or nothing was paused.
        UiciError: it could not be committed.
    """
    runtime.git.refresh()
    done = runtime.git.resume(now := runtime.clock.now())
    left = [p for p in runtime.git.pauses() if p.pause.until is None or now < p.pause.until]
    if left:
        files = ", ".join(p.file for p in left)
        begun = "the pause of uici pause is over; " if done is not None else ""
        raise PermanentError(
            f"{begun}desired state pauses still: {left[0]}: remove {files} by a commit"
        )
    if done is None:
        raise PermanentError("nothing is paused")
    return f"resumed: the next run may act again{_durable(done)}"


def _durable(done: CommitResult | None) -> str:
    if done is None or done.durability is Durability.PUSHED:
        return ""
    return f"; only on this machine so far: {done.error}"


def _reason(text: str) -> str:
    if not text.strip():
        raise InvalidInputError([Problem("--reason", 0, 0, "it is empty", "say why, for others")])
    return text.strip()[:500]


def _environments(names: Sequence[str], runtime: Runtime) -> tuple[str, ...] | None:
    known = runtime.config.environments.environments
    for name in names:
        if name not in known:
            problem = Problem(
                "--environment", 0, 0, f"there is no {name}", f"known: {', '.join(known)}"
            )
            raise InvalidInputError([problem])
    return tuple(dict.fromkeys(names)) or None


def _moment(text: str, now: datetime) -> datetime:
    until = now + _length(text) if re.match(r"^[\d.]+[a-z]", text) else _stamp(text)
    if until <= now:
        raise InvalidInputError([Problem("--until", 0, 0, f"{text} is over", "name a later time")])
    return until.replace(microsecond=0)


def _length(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise InvalidInputError([_until_problem(text)]) from exc


def _stamp(text: str) -> datetime:
    try:
        until = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidInputError([_until_problem(text)]) from exc
    if until.tzinfo is None:
        raise InvalidInputError([_until_problem(text)])
    return until


def _until_problem(text: str) -> Problem:
    remedy = "write how long (2h), or a moment with its zone (2026-12-01T06:00:00Z)"
    return Problem("--until", 0, 0, f"{text} can't be read", remedy)
