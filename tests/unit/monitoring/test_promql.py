"""Metric checks as PromQL, and samples as readings."""

from __future__ import annotations

import math
import operator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.observed import MetricReading, Reading
from monitoring.metric_judgement import judge, moment
from monitoring.promql import Expectation, Part, Window, batch, flaw
from tests.fakes.http_server import PART
from tests.unit.monitoring.builders import METRICS, NOW, check

T = NOW.timestamp()


def judged(
    expect: str = "== 1", for_: str = "0s", *, age: float = 1, **parts: float
) -> MetricReading:
    samples = {Part(name): value for name, value in parts.items()} | {Part.TIME: T - age}
    return judge(
        "e/s", check(expect=expect, for_=for_), samples, evaluated_at=NOW, settings=METRICS
    )


@pytest.mark.parametrize(
    ("expect", "low", "high", "reading", "value"),
    [
        ("== 1", 1, 1, Reading.PASSED, 1),
        ("== 1", 0, 1, Reading.FAILED, 0),
        ("== 1", 1, 5, Reading.FAILED, 5),
        ("> 0.5", 0.6, None, Reading.PASSED, 0.6),
        ("> 0.5", 0.5, None, Reading.FAILED, 0.5),
        (">= 0.5", 0.5, None, Reading.PASSED, 0.5),
        ("< 1e-1", None, 0.05, Reading.PASSED, 0.05),
        ("<= -2", None, -2, Reading.PASSED, -2),
        ("<= -2", None, -1, Reading.FAILED, -1),
        ("!= 3", None, 3, Reading.FAILED, 3),
        ("!= 3", None, 7, Reading.PASSED, 7),
        ("< 5", None, math.inf, Reading.FAILED, math.inf),
    ],
)
def test_a_check_holds_if_it_holds_for_every_series(
    expect: str, low: float | None, high: float | None, reading: Reading, value: float
) -> None:
    samples = {Part.LOW: low, Part.HIGH: high, Part.TIME: T - 1}
    present = {part: value for part, value in samples.items() if value is not None}
    seen = judge("e/s", check(expect=expect), present, evaluated_at=NOW, settings=METRICS)
    assert (seen.reading, seen.value) == (reading, value)
    assert seen.sampled_at == NOW - timedelta(seconds=1)


def test_no_sample_and_no_number_are_unknown() -> None:
    nothing = judge("e/s", check(), {}, evaluated_at=NOW, settings=METRICS)
    assert (nothing.reading, nothing.detail) == (Reading.UNKNOWN, "no sample")
    assert judged(low=math.nan, high=math.nan).reading is Reading.UNKNOWN
    assert judged().detail == "its value is not a number"
    assert judged(low=1, high=1, age=math.inf).reading is Reading.UNKNOWN


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_old_sample_is_unknown_whatever_it_says(value: float) -> None:
    assert judged(low=value, high=value, age=60).reading is not Reading.UNKNOWN
    old = judged(low=value, high=value, age=60.1)
    assert old.reading is Reading.UNKNOWN
    assert old.detail == "no fresh sample: the newest is older than 1m"


def test_a_window_fails_only_when_it_is_full_of_broken_steps() -> None:
    assert judged(for_="30s", low=0, high=0, steps=3).reading is Reading.FAILED
    assert judged(for_="30s", low=0, high=0, steps=4).reading is Reading.FAILED
    assert judged(for_="30s", low=0, high=0, steps=2).reading is Reading.UNKNOWN
    assert judged(for_="30s", low=0, high=0).reading is Reading.UNKNOWN
    assert judged(for_="30s", low=0, high=0, steps=3 - 1_000_000_000).reading is Reading.UNKNOWN
    assert judged(for_="30s", low=1, high=1, steps=3).reading is Reading.PASSED  # it recovered
    assert "0, expected == 1 for 30s" in judged(for_="30s", low=0, high=0, steps=3).detail


@pytest.mark.parametrize(
    ("for_", "steps", "step"),
    [("30s", 3, 10), ("25s", 2, 10), ("5s", 1, 5), ("10s", 1, 10), ("1h", 360, 10)],
)
def test_windows_count_whole_steps(for_: str, steps: int, step: int) -> None:
    window = Window.of(check(for_=for_), METRICS)
    assert window is not None
    assert (window.steps, window.step) == (steps, timedelta(seconds=step))


def test_a_window_below_prometheus_resolution_is_the_present() -> None:
    assert Window.of(check(for_="0.2ms"), METRICS) is None


@settings(deadline=None)
@given(
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(),
)
def test_expectations_compare_as_prometheus_does(symbol: str, bound: float, value: float) -> None:
    compare = {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }[symbol]
    assert Expectation.parse(f"{symbol} {bound!r}").holds(value) is compare(value, bound)


def test_an_unreadable_expectation_says_how_to_write_one() -> None:
    with pytest.raises(ValueError, match="== 1"):
        Expectation.parse("about 1")


@pytest.mark.parametrize(
    "query",
    [
        "up",
        'up{job="a)b", path=~"\\"(.*"}',
        "sum by (job) (rate(x_total[5m])) / on(job) y",
        "up # a comment with ( and ' in it",
        "up{a='}'} or up{b=`\\`}",
        "# only a comment )",
        "",
    ],
)
def test_whole_queries_have_no_flaw(query: str) -> None:
    assert flaw(query) is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("a) or max(b", ") closes nothing"),
        ("max(up", ") is missing"),
        ("up{a=1", "} is missing"),
        ("rate(x[5m)", ") closes nothing"),
        ('up{a="b', "a quote is never closed"),
        ("up{a='b\n'}", "a quote is never closed"),
        ("up `", "a quote is never closed"),
        ('"\\', "a quote is never closed"),
    ],
)
def test_open_queries_are_flawed(query: str, message: str) -> None:
    assert flaw(query) == message


@settings(deadline=None)
@given(st.text(alphabet="()[]{}\"'`#\n\\a ", max_size=20))
def test_two_whole_queries_one_after_the_other_are_whole(query: str) -> None:
    if flaw(query) is None:
        assert flaw(f"({query}\n)") is None
        assert flaw(f"({query}\n) or ({query}\n)") is None


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 33, 500])
def test_a_batch_holds_every_part_once_and_stays_shallow(count: int) -> None:
    made = batch({n: check(f"m{n}", for_="30s") for n in range(count)}, METRICS)
    depth = deepest = 0
    for character in made.expression:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    assert depth == 0
    assert deepest < 30
    assert sorted(PART.findall(made.expression)) == sorted(
        (str(index), part.value) for index in range(count) for part in Part
    )
    assert made.owners == {(str(n), ""): n for n in range(count)}


@pytest.mark.parametrize(
    ("expect", "asked"),
    [
        ("> 1", ["time", "low"]),
        (">= 1", ["time", "low"]),
        ("< 1", ["time", "high"]),
        ("<= 1", ["time", "high"]),
        ("== 1", ["time", "low", "high"]),
        ("!= 1", ["time", "high"]),
    ],
)
def test_a_check_asks_for_what_its_expectation_needs(expect: str, asked: list[str]) -> None:
    made = batch({0: check(expect=expect)}, METRICS)
    assert [part for _, part in PART.findall(made.expression)] == asked


def test_selectors_that_differ_in_one_label_share_their_expressions() -> None:
    checks = {n: check(f'up{{job="s.{n}"}}') for n in range(450)}
    made = batch(checks, METRICS)
    assert len(PART.findall(made.expression)) == 3 * 3  # 450 values in three groups
    assert r'up{job=~"s\\.0|s\\.1|' in made.expression
    assert sorted(made.owners.values()) == list(range(450))
    assert made.owners["0", "s.7"] == 7


@pytest.mark.parametrize(
    "query",
    [
        'up{job="a|b"}',
        'up{job="a", x="b"}',
        'up{job!="a"}',
        'up{job=~"a"}',
        'up{job="a"}[5m]',
        'up{__name__="a"}',
        'up{job=""}',
        'up{job="ä"}',
        "up",
    ],
)
def test_other_queries_stay_as_they_are(query: str) -> None:
    made = batch({4: check(query)}, METRICS)
    assert f"min({query}\n)" in made.expression
    assert made.owners == {("0", ""): 4}


def test_different_expectations_and_spellings_are_not_mixed() -> None:
    checks = {
        0: check('up{job="a"}'),
        1: check('up{job="b"}', expect="== 0"),
        2: check('up{job="c"}', for_="10s"),
        3: check('up{ job = "a" }'),
    }
    made = batch(checks, METRICS)
    assert sorted(made.owners.values()) == [0, 1, 2, 3]
    assert len({number for number, _ in made.owners}) == 4


@settings(deadline=None)
@given(st.floats())
def test_any_number_is_a_moment_or_none(seconds: float) -> None:
    at = moment(seconds)
    assert at is None or at.tzinfo is not None
