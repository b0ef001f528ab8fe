"""Windows and freezes: by the clock on the wall, and never wider for a narrower layer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.guarding.windows import Closed, Open, is_open, standing
from flows.policy import effective_policy
from infrastructure.config_models import EnvironmentPolicy, Policy
from infrastructure.service import Day, Freeze, Overrun, Remediation, Window
from tests.unit.guard.policies import PLATFORM

BERLIN = "Europe/Berlin"


def window(start: str, end: str, *days: str, zone: str = BERLIN) -> Window:
    return Window.model_validate(
        {"from": start, "to": end, "timeZone": zone, **({"days": list(days)} if days else {})}
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def policy(*windows: Window, freezes: tuple[Freeze, ...] = ()) -> Policy:
    return PLATFORM.model_copy(update={"window": windows, "freezes": freezes})


@pytest.mark.parametrize(
    ("one", "moment", "expected"),
    [
        (window("09:00", "17:00", "mon"), "2026-11-23T09:00+01:00", True),
        (window("09:00", "17:00", "mon"), "2026-11-23T08:59:59+01:00", False),
        (window("09:00", "17:00", "mon"), "2026-11-23T16:59:59+01:00", True),
        (window("09:00", "17:00", "mon"), "2026-11-23T17:00+01:00", False),
        (window("09:00", "17:00", "mon"), "2026-11-24T12:00+01:00", False),
        # It belongs to the day on which it begins: Friday night is until Saturday morning.
        (window("22:00", "05:00", "fri"), "2026-11-27T23:00+01:00", True),
        (window("22:00", "05:00", "fri"), "2026-11-28T04:59+01:00", True),
        (window("22:00", "05:00", "fri"), "2026-11-27T04:00+01:00", False),
        (window("22:00", "05:00", "fri"), "2026-11-28T22:30+01:00", False),
        (window("22:00", "05:00", "sun"), "2026-11-23T04:00+01:00", True),
        (window("00:00", "24:00", "sun"), "2026-11-22T23:59:59+01:00", True),
        (window("00:00", "24:00", "sun"), "2026-11-23T00:00+01:00", False),
        # The same moment in another zone.
        (window("09:00", "10:00", "mon", zone="Asia/Tokyo"), "2026-11-23T01:30+01:00", True),
        (window("00:00", "01:00", zone="Asia/Kathmandu"), "2026-11-22T18:15+00:00", True),
    ],
)
def test_a_window_is_open_while_the_wall_clock_is_within_it(
    one: Window, moment: str, expected: bool
) -> None:
    assert is_open(one, at(moment)) is expected


# In Berlin, on 29 March 2026 02:00 became 03:00; on 25 October 03:00 became 02:00.
GAP, FOLD = "2026-03-29", "2026-10-25"


@pytest.mark.parametrize(
    ("one", "moment", "closes"),
    [
        # Ends in the hour that is left out: with the change of clocks.
        (window("01:00", "02:30"), f"{GAP}T01:30+01:00", f"{GAP}T01:00+00:00"),
        (window("01:00", "04:00"), f"{GAP}T01:30+01:00", f"{GAP}T02:00+00:00"),
        # Ends in the hour that comes twice: at its first pass.
        (window("01:00", "02:30"), f"{FOLD}T01:30+02:00", f"{FOLD}T00:30+00:00"),
        (window("01:00", "04:00"), f"{FOLD}T01:30+02:00", f"{FOLD}T03:00+00:00"),
    ],
)
def test_a_window_closes_by_the_wall_when_clocks_are_changed(
    one: Window, moment: str, closes: str
) -> None:
    assert standing(policy(one), at(moment)) == Open(at(closes))


@pytest.mark.parametrize(
    ("one", "moment", "opens"),
    [
        # Begins in the hour that is left out: with the change of clocks.
        (window("02:30", "04:00"), f"{GAP}T01:30+01:00", f"{GAP}T01:00+00:00"),
        # Wholly within that hour: there is none that day.
        (window("02:10", "02:50"), f"{GAP}T00:30+01:00", "2026-03-30T00:10+00:00"),
        (window("02:10", "02:50", "sun"), f"{GAP}T00:30+01:00", "2026-04-05T00:10+00:00"),
        # After the first pass of the hour that comes twice, the second.
        (window("02:10", "02:50"), f"{FOLD}T02:55+02:00", f"{FOLD}T01:10+00:00"),
        (window("01:00", "02:30"), f"{FOLD}T02:45+02:00", f"{FOLD}T01:00+00:00"),
    ],
)
def test_a_closed_window_says_when_it_opens(one: Window, moment: str, opens: str) -> None:
    state = standing(policy(one), at(moment))
    assert isinstance(state, Closed)
    assert state.opens == at(opens)
    assert at(opens).isoformat(timespec="minutes").replace("+00:00", "Z") in str(state)


def test_any_window_of_a_layer_and_every_layer() -> None:
    night, noon = window("22:00", "05:00", zone="UTC"), window("12:00", "13:00", zone="UTC")
    late = Remediation(window=(window("23:00", "01:00", zone="UTC"),))
    platform = policy(night, noon)
    both = effective_policy(platform, EnvironmentPolicy(), late)
    assert isinstance(standing(platform, at("2026-11-22T12:30Z")), Open)
    assert isinstance(standing(both, at("2026-11-22T12:30Z")), Closed)
    assert standing(both, at("2026-11-22T23:30Z")) == Open(at("2026-11-23T01:00Z"))
    state = standing(both, at("2026-11-22T12:30Z"))
    assert isinstance(state, Closed)
    assert state.opens == at("2026-11-22T23:00Z")


def test_windows_that_never_meet_open_never() -> None:
    never = effective_policy(
        policy(window("01:00", "02:00", zone="UTC")),
        EnvironmentPolicy(window=(window("03:00", "04:00", zone="UTC"),)),
        Remediation(),
    )
    state = standing(never, at("2026-11-22T01:30Z"))
    assert isinstance(state, Closed)
    assert state.opens is None
    assert "until that is changed" in str(state)


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-05:00", "9001-01-01T00:00:00Z"])
def test_a_freeze_ends_in_a_year_that_every_zone_knows(end: str) -> None:
    with pytest.raises(ValueError, match="write a year from 1970 to 9000"):
        Freeze.model_validate({"start": "2026-12-18T00:00:00Z", "end": end, "reason": "x"})
    with pytest.raises(ValueError, match="write a year from 1970 to 9000"):
        Freeze.model_validate({"start": "0001-01-01T00:00:00+05:00", "reason": "x"})


def freeze(start: str, end: str | None, reason: str = "end of year") -> Freeze:
    return Freeze(start=at(start), end=at(end) if end else None, reason=reason)


def test_a_freeze_holds_whatever_window_is_open() -> None:
    cold = freeze("2026-12-18T00:00Z", "2027-01-04T00:00Z")
    open_daily = window("09:00", "10:00", zone="UTC")
    held = standing(policy(open_daily, freezes=(cold,)), at("2026-12-20T09:30Z"))
    assert isinstance(held, Closed)
    assert held.frozen
    assert held.opens == at("2027-01-04T09:00Z")
    assert "end of year" in str(held)
    # Its first moment is closed, its last one is not part of it.
    assert isinstance(standing(policy(freezes=(cold,)), at("2026-12-18T00:00Z")), Closed)
    assert standing(policy(freezes=(cold,)), at("2027-01-04T00:00Z")) == Open(None)
    # An open window ends where a freeze begins.
    assert standing(policy(freezes=(cold,)), at("2026-12-17T23:00Z")) == Open(
        at("2026-12-18T00:00Z")
    )


def test_freezes_one_after_the_other_and_one_without_an_end() -> None:
    first = freeze("2026-12-01T00:00Z", "2026-12-10T00:00Z")
    second = freeze("2026-12-09T00:00Z", "2026-12-20T00:00Z")
    state = standing(policy(freezes=(first, second)), at("2026-12-02T00:00Z"))
    assert isinstance(state, Closed)
    assert state.opens == at("2026-12-20T00:00Z")
    forever = freeze("2026-12-19T00:00Z", None)
    state = standing(policy(freezes=(first, second, forever)), at("2026-12-02T00:00Z"))
    assert isinstance(state, Closed)
    assert state.opens is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"from": "09:00", "to": "09:00", "timeZone": "UTC"}, "has a length"),
        ({"from": "24:00", "to": "09:00", "timeZone": "UTC"}, "has a length"),
        ({"from": "09:00", "to": "10:00", "timeZone": "Europe/Atlantis"}, "time zone's name"),
        ({"from": "09:00", "to": "10:00", "timeZone": "../../etc/passwd"}, "time zone's name"),
        ({"from": "09:00", "to": "10:00", "timeZone": ""}, "time zone's name"),
        ({"from": "9", "to": "10:00", "timeZone": "UTC"}, "pattern"),
        ({"from": "09:00", "to": "10:00", "timeZone": "UTC", "days": []}, "at least 1"),
    ],
)
def test_what_is_no_window_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Remediation.model_validate({"window": wrong})


def test_one_window_or_several_may_be_written() -> None:
    one = {"from": "22:00", "to": "05:00", "timeZone": "Europe/Berlin"}
    assert len(Remediation.model_validate({"window": one}).window) == 1
    assert len(Remediation.model_validate({"window": [one, one]}).window) == 2


def test_a_freeze_has_zones_and_a_length() -> None:
    with pytest.raises(ValidationError, match="time zone"):
        Freeze.model_validate({"start": "2026-12-18T00:00:00", "reason": "x"})
    with pytest.raises(ValidationError, match="ends after"):
        freeze("2026-12-18T00:00Z", "2026-12-18T00:00Z")


MINUTES = st.integers(0, 24 * 60 - 1)
ZONES = st.sampled_from(
    ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    begins, ends = draw(st.lists(MINUTES, min_size=2, max_size=2, unique=True))
    days = draw(st.lists(st.sampled_from(Day), min_size=1, unique=True))
    clock = [f"{m // 60:02}:{m % 60:02}" for m in (begins, ends)]
    return window(clock[0], clock[1], *days, zone=draw(ZONES))


LAYERS = st.lists(windows(), max_size=2).map(tuple)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(  # noqa: DTZ001 - made aware
    lambda naive: naive.replace(tzinfo=UTC, microsecond=0)
)
FREEZES = st.lists(
    st.builds(
        lambda start, hours: Freeze(start=start, end=start + timedelta(hours=hours), reason="x"),
        MOMENTS,
        st.integers(1, 5000),
    ),
    max_size=2,
).map(tuple)


@given(LAYERS, LAYERS, LAYERS, FREEZES, MOMENTS)
def test_a_narrower_layer_never_opens_what_is_closed(
    platform: tuple[Window, ...],
    environment: tuple[Window, ...],
    service: tuple[Window, ...],
    freezes: tuple[Freeze, ...],
    now: datetime,
) -> None:
    wide = policy(*platform)
    narrow = effective_policy(
        wide,
        EnvironmentPolicy(window=environment),
        Remediation(window=service, freezes=freezes, overrun=Overrun.STOP),
    )
    before, after = standing(wide, now), standing(narrow, now)
    if isinstance(before, Closed):
        assert isinstance(after, Closed)
    elif isinstance(after, Open) and before.until is not None:
        assert after.until is not None
        assert after.until <= before.until


@given(st.lists(windows(), min_size=1, max_size=3).map(tuple), FREEZES, MOMENTS)
def test_what_it_says_about_the_next_turn_is_true(
    layer: tuple[Window, ...], freezes: tuple[Freeze, ...], now: datetime
) -> None:
    subject = policy(*layer, freezes=freezes)
    state = standing(subject, now)
    turn = state.until if isinstance(state, Open) else state.opens
    if turn is None:
        return
    assert turn > now
    second = timedelta(seconds=1)
    assert type(standing(subject, turn)) is not type(state)
    assert type(standing(subject, turn - second)) is type(state)
    halfway = now + (turn - second - now) / 2
    if halfway > now:
        assert type(standing(subject, halfway)) is type(state)
