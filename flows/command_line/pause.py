"""`uici pause` and `uici resume`: the kill switch, as a file on the reports branch."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from flows.repository.contract import CommitResult, Durability
from flows.runtime import Runtime
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.pause import PAUSE_PATH, Pause, PauseFile
from infrastructure.quantities import parse_duration
from infrastructure.service import Moment

_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person typed. `until`: a moment with its zone, or how long from now."""

    reason: str
    until: str | None
    environments: Sequence[str]


def pause(asked: Asked, runtime: Runtime) -> str:
    """Pause, beside what is paused already. Returns the line for the person.

    Raises:
        InvalidInputError: no reason, no such environment, or no moment ahead.
        UiciError: it could not be committed: nothing is paused by it.
    """
    now = runtime.clock.now()
    wanted = Pause(
        api_version="uici/v1",
        kind="Pause",
        reason=_reason(asked.reason),
        until=_moment(asked.until, now) if asked.until else None,
        environments=_environments(asked.environments, runtime),
        by=whoami(),
    )
    runtime.git.refresh()
    done = runtime.git.pausing().pause(wanted, now)
    shown = PauseFile(PAUSE_PATH, wanted)
    where = ", ".join(wanted.environments) if wanted.environments else "everywhere"
    return f"{shown} ({where}; observation goes on){_durable(done)}"


def whoami() -> str:
    """Who is at work here, as people know them; in a container the user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"uid {os.getuid()}"


def resume(runtime: Runtime, environments: Sequence[str] = ()) -> str:
    """End what `uici pause` began. Returns the line for the person.

    Args:
        runtime: the process's.
        environments: only there; none: everywhere.

    Raises:
        PermanentError: a commit in desired state pauses still, or nothing was paused.
        UiciError: it could not be committed.
    """
    runtime.git.refresh()
    now = runtime.clock.now()
    if environments:
        return _resume_in(environments, runtime, now)
    seen = runtime.git.reported().pauses
    done = runtime.git.pausing().resume(now, [each.pause for each in seen])
    left = [p for p in runtime.pauses() if not p.over(now)]
    if (new := next((p for p in left if p.file == PAUSE_PATH), None)) is not None:
        raise PermanentError(f"somebody has paused meanwhile, which stands: {new}")
    if left:
        files = ", ".join(p.file for p in left)
        begun = "the pause by command is over; " if done is not None else ""
        raise PermanentError(
            f"{begun}desired state pauses still: {left[0]}: remove {files} by a commit"
        )
    if done is None:
        raise PermanentError("nothing is paused")
    return f"resumed: the next run may act again{_durable(done)}"


def _resume_in(environments: Sequence[str], runtime: Runtime, now: datetime) -> str:
    held = [p for p in runtime.git.reported().pauses if not p.over(now)]
    if any(p.damaged or not p.pause.environments for p in held):
        raise PermanentError(
            "a pause holds everywhere: uici resume ends it; pause the others on their own before"
        )
    left = []
    for each in held:
        places = tuple(e for e in each.pause.environments or () if e not in environments)
        if places:
            left.append(each.pause.model_copy(update={"environments": places}))
    where = ", ".join(environments)
    if left == [each.pause for each in held]:
        raise PermanentError(f"nothing is paused by command in {where}")
    done = runtime.git.pausing().resume(now, [each.pause for each in held], left)
    still = [p for p in runtime.pauses() if any(p.holds(e, now) for e in environments)]
    if still:
        raise PermanentError(f"the pause by command is over; {still[0].file} pauses still")
    return f"resumed in {where}: the next run may act there again{_durable(done)}"


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
    try:
        until = now + _length(text) if re.match(r"^[\d.]+[a-z]", text) else _stamp(text)
        until = _MOMENT.validate_python(until)
    except (OverflowError, ValidationError) as exc:
        raise InvalidInputError([_until_problem(text)]) from exc
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
        return datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidInputError([_until_problem(text)]) from exc


def _until_problem(text: str) -> Problem:
    remedy = "write how long (2h), or a moment with its zone (2026-12-01T06:00:00Z)"
    return Problem("--until", 0, 0, f"{text} can't be read", remedy)
