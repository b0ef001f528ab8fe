"""Until when a difference is given grace: nothing is done about it yet, and it is no less true.

The rule is `flows.comparison.target_judgement`'s; here it is said in words. What the engine or
an alert dates counts from then, the rest from when a run of this agent first saw it
(`flows.first_seen`). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.command_line.moments import age, at_a_glance
from flows.comparison.drift import Drift, TargetState
from flows.comparison.target_judgement import UNDATED
from infrastructure.config_models import GraceSettings
from infrastructure.drift_kinds import DriftKind

WAITS = "WaitsForDependency"  # the reason of a state, as `flows.comparison` gives it


@dataclass(frozen=True, slots=True)
class Noted:
    """A difference that a run has noted, and about which it has not written a word yet."""

    target: str
    kind: DriftKind
    since: datetime


@dataclass(frozen=True, slots=True)
class Grace:
    """The grace periods, and since when what is seen has been seen; `now` is this look's."""

    settings: GraceSettings
    first_seen: Mapping[str, datetime]  # by `Drift.key`
    now: datetime

    def until(self, drift: Drift) -> datetime | None:
        """When the grace of a difference ends; None: that hangs on something else.

        Such as a start of the service, or what it needs; or no run has seen it yet.
        """
        since = drift.since
        if since is None and drift.kind in UNDATED:
            since = self.first_seen.get(drift.key)
        ends = since + self._length(drift.kind) if since is not None else None
        return ends if ends is not None and ends > self.now else None

    def words(self, drift: Drift, state: TargetState | None = None) -> str:
        """As a part of a sentence about a difference that is given grace; `state`: its target's."""
        if state is not None and state.reason == WAITS:
            return state.message
        ends = self.until(drift)
        if ends is not None:
            return self._until(drift.kind, ends)
        length = self._length(drift.kind)
        if drift.since is None and drift.key not in self.first_seen and length:
            return f"within its grace: {age(length)} from the first run that sees it"
        return "within its grace"

    def noted(self) -> tuple[Noted, ...]:
        """What runs of this agent have seen, and nobody else dates; in the order of keys."""
        found = []
        for key, since in sorted(self.first_seen.items()):
            target, _, rest = key.partition(" ")
            kind = rest.partition(" ")[0]
            if kind in set(DriftKind):
                found.append(Noted(target, DriftKind(kind), since))
        return tuple(found)

    def noted_words(self, noted: Noted) -> str:
        """`Missing since 12:00:05Z, within its grace until 12:01:05Z (48 s left)`."""
        ends = noted.since + self._length(noted.kind)
        lasts = "seen by a run, and not told of yet"
        if ends > self.now:
            lasts = self._until(noted.kind, ends)
        return f"{noted.kind.value} since {at_a_glance(noted.since, self.now)}, {lasts}"

    def _until(self, kind: DriftKind, ends: datetime) -> str:
        # A start gives signals a grace of its own, which may end later.
        least = "" if kind in (DriftKind.MISSING, DriftKind.STOPPED) else " at the earliest"
        left = age(ends - self.now)
        return f"within its grace until {at_a_glance(ends, self.now)}{least} ({left} left)"

    def _length(self, kind: DriftKind) -> timedelta:
        grace = self.settings
        match kind:
            case DriftKind.STOPPED:
                return grace.stopped
            case DriftKind.MISSING:
                return grace.missing
            case DriftKind.UNHEALTHY | DriftKind.METRIC_BREACH | DriftKind.ALERT_FIRING:
                return grace.unhealthy
            case _:
                return timedelta(0)
