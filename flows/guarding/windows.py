"""Windows and freezes: whether something may be done at a moment, and when next. Pure.

A window is judged by the clock on the wall of its time zone, so that an hour which a
change of clocks skips has no moments, and one that it repeats has them twice. Windows of
several layers (platform, environment, Service) must be open together; of one layer's
windows, any. Neighbours: `flows.policy` unites the layers, `flows.guarding.rules` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from infrastructure.config_models import Policy
from infrastructure.service import Day, Freeze, Window, Windows

_DAYS = tuple(Day)
# A window comes back each week; a day more for those that a change of clocks takes away.
_HORIZON = timedelta(days=8)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Closed:
    """Why nothing may be done now. `opens` None: not in sight."""

    reason: str
    opens: datetime | None
    frozen: bool = False

    def __str__(self) -> str:
        when = f"until {_shown(self.opens)}" if self.opens else "until that is changed"
        return f"{self.reason}: nothing is done {when}"


@dataclass(frozen=True, slots=True)
class Open:
    """Something may be done. `until`: when that ends; None: it does not, in sight."""

    until: datetime | None


def standing(policy: Policy, now: datetime) -> Open | Closed:
    """Whether the windows and freezes of all layers let something be done now.

    Args:
        policy: the effective one of a target.
        now: with time zone.
    """
    layers, freezes = policy.windows, policy.freezes
    if not layers and not freezes:
        return Open(None)
    frozen = next((f for f in freezes if _holds(f, now)), None)
    if frozen is not None:
        return Closed(f"frozen: {frozen.reason}", _next_open(layers, freezes, now), frozen=True)
    if not _all_open(layers, now):
        return Closed("outside of its windows", _next_open(layers, freezes, now))
    return Open(_ends(layers, freezes, now))


def _holds(freeze: Freeze, at: datetime) -> bool:
    return freeze.start <= at and (freeze.end is None or at < freeze.end)


def _all_open(layers: Sequence[Windows], at: datetime) -> bool:
    return all(any(is_open(window, at) for window in layer) for layer in layers)


def is_open(window: Window, at: datetime) -> bool:
    """Whether the clock on the wall of the window's zone is within it."""
    wall = at.astimezone(ZoneInfo(window.time_zone))
    begins, ends = _minutes(window.from_), _minutes(window.to)
    minute = wall.hour * 60 + wall.minute
    today = _DAYS[wall.weekday()] in window.days
    if begins < ends:
        return today and begins <= minute < ends
    yesterday = _DAYS[wall.weekday() - 1] in window.days
    return (today and minute >= begins) or (yesterday and minute < ends)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _next_open(
    layers: Sequence[Windows], freezes: Sequence[Freeze], now: datetime
) -> datetime | None:
    """The first moment after now at which everything is open."""
    start = now
    ends = sorted(f.end for f in freezes if f.end is not None and f.end > now)
    for _ in range(len(ends) + 1):
        for moment in _turns(layers, start, ends):
            if _all_open(layers, moment) and not any(_holds(f, moment) for f in freezes):
                return moment
        later = [end for end in ends if end > start]
        if not later:
            return None
        start = later[0]
    return None


def _ends(layers: Sequence[Windows], freezes: Sequence[Freeze], now: datetime) -> datetime | None:
    """The first moment after now at which something is closed."""
    starts = [f.start for f in freezes if f.start > now]
    for moment in _turns(layers, now, starts):
        if moment > now and (
            not _all_open(layers, moment) or any(_holds(f, moment) for f in freezes)
        ):
            return moment
    return min(starts, default=None)


def _turns(
    layers: Sequence[Windows], start: datetime, others: Iterable[datetime]
) -> list[datetime]:
    """Moments from `start` on at which a window may open or close, in order."""
    end = start + _HORIZON
    found = {at.astimezone(UTC) for at in others}
    for window in {window for layer in layers for window in layer}:
        found.update(_boundaries(window, start))
    return sorted({start.astimezone(UTC)} | {at for at in found if start <= at <= end})


def _boundaries(window: Window, start: datetime) -> Iterator[datetime]:
    zone = ZoneInfo(window.time_zone)
    first = (start.astimezone(zone) - _DAY).date()
    for number in range(_HORIZON.days + 3):
        day = first + number * _DAY
        for minutes in (_minutes(window.from_), _minutes(window.to)):
            wall = _midnight(day) + timedelta(minutes=minutes)
            for fold in (0, 1):
                yield wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        yield from _change_of_clocks(day, zone)


def _change_of_clocks(day: date, zone: ZoneInfo) -> Iterator[datetime]:
    """The moment of a day at which the zone's clocks are put forward or back."""
    low = _midnight(day).replace(tzinfo=zone).astimezone(UTC)
    high = _midnight(day + _DAY).replace(tzinfo=zone).astimezone(UTC)

    def offset(at: datetime) -> timedelta | None:
        return at.astimezone(zone).utcoffset()

    before = offset(low)
    if before == offset(high):
        return
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (middle, high) if offset(middle) == before else (low, middle)
    yield high


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
