"""Which lines of a log are about an incident: those since all was well, or a last word. Pure.

What was said before all was well is about something that is over, unless the process that said
it has ended since: then it may have been its reason, said at its start and acted upon later.
Neighbours: `flows.dossier.collect` reads and cleans logs, `flows.dossier.entries` tells them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.dossier.log_digest import Digest, Group, digest
from flows.dossier.log_lines import Level
from infrastructure.observed import InstanceState, ObservedInstance

# The last lines of a process that are its last words, however long ago it said them.
_LAST_LINES = 50
_NOTHING = Digest()
_ENDED = frozenset({InstanceState.STOPPED, InstanceState.RESTARTING})
# An engine may stamp a process's first line before it stamps its start.
_STARTING = timedelta(seconds=1)
_DAY = timedelta(days=1)
# An engine's stamp stands before the mark of the instance, a service's own behind it.
_MOMENT = re.compile(
    r"(?:\[(?P<first>[^\]\s]+)\] )?"
    r"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))(?: |$)"
    r"(?:\[(?P<second>[^\]\s]+)\] )?"
)


@dataclass(frozen=True, slots=True)
class TargetLog:
    """What is left of one target's log.

    Attributes:
        target: whose it is.
        digest: what was said since all was well; all of it where that is not known.
        well: when all was well.
        earlier: last words from before that; only where nothing since tells anything.
        confessed: those of them that are of what ended by a fault of its own. The words of what
            was ended from outside are told, and are no sign of a cause.
    """

    target: str
    digest: Digest
    well: datetime | None = None
    earlier: Digest = _NOTHING
    confessed: Digest = _NOTHING

    def matchable(self, limit: int) -> tuple[Group, ...]:
        """Lines that error patterns are looked for in, the most telling first."""
        return (*self.confessed.telling(limit), *self.digest.telling(limit))[:limit]

    def telling(self, limit: int) -> tuple[tuple[int, Group], ...]:
        """What is told, the most telling first, each with its place in time."""
        earlier = [(g.index - self.earlier.lines, g) for g in self.earlier.telling(limit)]
        return (*earlier, *((g.index, g) for g in self.digest.telling(limit)))[:limit]

    @property
    def kinds(self) -> int:
        """Groups of like lines."""
        return len(self.earlier.groups) + len(self.digest.groups)

    def gap(self, now: datetime) -> str:
        """That nothing was said, and since when; empty: something was."""
        if self.digest.groups and not self.earlier.groups:
            return ""
        if self.well is None:
            return "empty"
        what = "nothing telling" if self.digest.groups else "nothing"
        form = "%H:%M:%S" if now - self.well < _DAY else "%Y-%m-%d %H:%M:%S"
        return f"{what} since {self.well.astimezone(UTC).strftime(form)}"


class LogWindow:
    """What of one target's log counts."""

    def __init__(
        self, well: datetime | None, instances: Sequence[ObservedInstance], now: datetime
    ) -> None:
        """Ask nothing.

        Args:
            well: when all was well with the target; None: not known.
            instances: the target's, as observed.
            now: when they were.
        """
        self._well = well
        self._now = now
        self._alone = len(instances) == 1
        self._ended = {
            instance.native.name: instance
            for instance in instances
            if well is not None and _ended_after(instance, well)
        }

    def parameters(self, lines: int) -> dict[str, Any]:
        """Of `get_logs`. Where last words may count, it is asked without an age."""
        if self._well is None or self._ended:
            return {"lines": lines}
        age = math.ceil((self._now - self._well).total_seconds())
        return {"lines": lines, "since": f"{max(1, age)}s"}

    def of(self, target: str, text: str) -> TargetLog:
        """What counts of a clean log that was read with these parameters."""
        if self._well is None or not self._ended:
            return TargetLog(target, digest(text), self._well)
        since: list[str] = []
        before: list[tuple[str, ObservedInstance]] = []
        for line, instance, at in self._said(text.split("\n")):
            if at is None or at >= self._well:
                since.append(line)
            elif instance is not None and _is_of(instance, at):
                before.append((line, instance))
        window = digest("\n".join(since))
        if any(group.level >= Level.WARNING for group in window.groups):
            return TargetLog(target, window, self._well)
        last = before[-_LAST_LINES:]
        own = [line for line, one in last if one.failed_by_itself and not one.oom_killed]
        earlier = digest("\n".join(line for line, _ in last))
        return TargetLog(target, window, self._well, earlier, digest("\n".join(own)))

    def _said(
        self, lines: Sequence[str]
    ) -> Iterator[tuple[str, ObservedInstance | None, datetime | None]]:
        """Lines, who of those that ended said each, and when; without a time: as the one before."""
        at, instance = None, None
        for line in lines:
            found = _MOMENT.match(line)
            stamped = _moment(found["at"]) if found is not None else None
            if found is not None and stamped is not None:
                at, instance = stamped, self._speaker(found["first"] or found["second"])
            yield line, instance, at

    def _speaker(self, name: str | None) -> ObservedInstance | None:
        """Executors mark lines with their instance where there are several."""
        if self._alone:
            return next(iter(self._ended.values()))
        return self._ended.get(name) if name is not None else None


def _moment(text: str) -> datetime | None:
    """None: there is no such moment. Not every store stamps lines: a service may have said it."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _ended_after(instance: ObservedInstance, well: datetime) -> bool:
    """Whether it has ended, and was the same process when all was well."""
    started = instance.started_at
    return instance.state in _ENDED and (started is None or started <= well)


def _is_of(instance: ObservedInstance, at: datetime) -> bool:
    """Whether its last process may have said it; one before has ended for another reason."""
    return instance.started_at is None or at >= instance.started_at - _STARTING
