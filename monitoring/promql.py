"""Metric checks → one PromQL expression, and its samples → readings. Pure.

Every check becomes two to four small expressions that yield at most one sample each,
marked by a label and joined by `or`, so that any number of checks is one request:

* `low`, `high`: the query's least and greatest value now, as far as `expect` needs them to
  tell whether it holds for every series;
* `time`: when that was measured. PromQL knows this of a plain selector only; for any
  other expression it is the time of the evaluation, and the age of what went into it is
  bounded by Prometheus' own look-back and staleness markers;
* `steps`, with a `for` window: for how many steps the expectation was broken.

NaN is no value. A series that is NaN does not count; if all are, the reading is unknown.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from infrastructure.config_models import MetricSettings
from infrastructure.observed import MetricReading, Reading
from infrastructure.quantities import format_duration
from infrastructure.service import MetricCheck

# The label that tells the samples of one big answer apart: "<index of the check>/<part>".
PART_LABEL = "uici_part"
_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_EXPECTATION = re.compile(r"(==|!=|<=|>=|<|>)\s*(\S+)")
# Sub-expressions in a group; measured as the best of 16, 32, 64 and 128.
_GROUP = 32
# A step that holds takes away more than all steps of a window can add. Exact in a double.
_HOLDS = 1_000_000_000
_MILLISECOND = timedelta(milliseconds=1)


class Part(StrEnum):
    """What a sample of the answer tells about its check."""

    LOW = "low"
    HIGH = "high"
    TIME = "time"
    STEPS = "steps"


@dataclass(frozen=True, slots=True)
class Expectation:
    """`expect` of a metric check."""

    operator: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Expectation:
        """`"== 1"` → Expectation. The text has passed MetricCheck's own pattern."""
        match = _EXPECTATION.fullmatch(text)
        if match is None:
            raise ValueError('write an expectation such as "== 1" or "< 0.05"')
        return cls(match[1], float(match[2]))

    def holds(self, value: float) -> bool:
        """Whether a value is as expected."""
        return bool(_OPERATORS[self.operator](value, self.value))


@dataclass(frozen=True, slots=True)
class Window:
    """A `for` window as Prometheus sees it: `steps` evaluations, `step` apart."""

    length: timedelta
    step: timedelta
    steps: int

    @classmethod
    def of(cls, check: MetricCheck, settings: MetricSettings) -> Window | None:
        """None where the check looks at the present only."""
        if check.for_ < _MILLISECOND:
            return None
        step = max(_MILLISECOND, min(settings.step, check.for_))
        return cls(check.for_, step, check.for_ // step)


@dataclass(frozen=True, slots=True)
class Samples:
    """One Prometheus answer: when it was evaluated, and the value of each marked part."""

    evaluated_at: datetime
    values: Mapping[str, float]


def marked(index: int, part: Part) -> str:
    """The label value of one part of the check at `index`."""
    return f"{index}/{part}"


def batch(checks: Iterable[tuple[int, MetricCheck]], settings: MetricSettings) -> str:
    """One expression for many checks.

    Joined as a balanced tree: a chain of `or` copies what it has so far at each link.
    Large trees are cut into groups that are evaluated as subqueries of one moment:
    Prometheus before 3 spends on every node a time that grows with the nodes evaluated
    before it, and a subquery counts anew. A thousand checks take 0.1 s then instead of 7 s.
    """
    level = [part for index, check in checks for part in _parts(index, check, settings)]
    while len(level) > _GROUP:
        groups = [level[start : start + _GROUP] for start in range(0, len(level), _GROUP)]
        level = [f"last_over_time(({_union(group)})[1ms:1ms])" for group in groups]
    return _union(level)


def _union(level: list[str]) -> str:
    while len(level) > 1:
        pairs = [
            f"({left} or {right})" for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def _parts(index: int, check: MetricCheck, settings: MetricSettings) -> Sequence[str]:
    expect = Expectation.parse(check.expect)
    bound = repr(expect.value)
    query = f"{check.query}\n"  # the line break ends a comment of the query's
    parts = {Part.TIME: f"min(timestamp({query}))"}
    match expect.operator:
        case ">" | ">=":
            parts[Part.LOW] = f"min({query})"
        case "<" | "<=":
            parts[Part.HIGH] = f"max({query})"
        case "==":
            parts |= {Part.LOW: f"min({query})", Part.HIGH: f"max({query})"}
        case _:
            parts[Part.HIGH] = f"(max(({query})=={bound}) or max({query}))"
    window = Window.of(check, settings)
    if window is not None:
        # 1 for each step that breaks the expectation; one that holds outweighs them all.
        # The inner comparison drops NaN.
        span = f"{format_duration(window.length)}:{format_duration(window.step)}"
        broken = f"1-{_HOLDS}*min((({query})>=-Inf){expect.operator}bool {bound})"
        parts[Part.STEPS] = f"sum_over_time(({broken})[{span}])"
    return [
        f'label_replace({text},"{PART_LABEL}","{marked(index, part)}","","")'
        for part, text in parts.items()
    ]


def judge(
    target: str,
    check: MetricCheck,
    samples: Mapping[Part, float],
    *,
    evaluated_at: datetime,
    settings: MetricSettings,
) -> MetricReading:
    """One check's reading.

    FAILED only if it is broken now and was in every step of a full window. Broken for a
    shorter time is UNKNOWN: no breach yet, but nobody may call it recovered either.

    Args:
        target: inventory id.
        check: the check.
        samples: its parts, as far as Prometheus had them.
        evaluated_at: what their age is counted from.
        settings: staleness and step.
    """
    time, value = samples.get(Part.TIME), _furthest(check, samples)
    sampled_at = moment(time) if time is not None else None
    if sampled_at is None:
        return MetricReading(target, check.name, Reading.UNKNOWN, detail="no sample")
    if value is None or math.isnan(value):
        kind, detail, value = Reading.UNKNOWN, "its value is not a number", None
    elif evaluated_at - sampled_at > settings.staleness:
        limit = format_duration(settings.staleness)
        kind, detail = Reading.UNKNOWN, f"no fresh sample: the newest is older than {limit}"
    elif Expectation.parse(check.expect).holds(value):
        kind, detail = Reading.PASSED, f"{value:g}, as expected"
    else:
        kind, detail = _broken(check, value, samples.get(Part.STEPS, 0), settings)
    return MetricReading(target, check.name, kind, value, sampled_at, detail)


def _furthest(check: MetricCheck, samples: Mapping[Part, float]) -> float | None:
    """The value that decides: one that breaks the expectation, if any series does."""
    values = [samples[part] for part in (Part.LOW, Part.HIGH) if part in samples]
    holds = Expectation.parse(check.expect).holds
    return next((value for value in values if not holds(value)), values[-1] if values else None)


def _broken(
    check: MetricCheck, value: float, broken_steps: float, settings: MetricSettings
) -> tuple[Reading, str]:
    """The reading of a check whose newest sample breaks the expectation."""
    window = Window.of(check, settings)
    detail = f"{value:g}, expected {check.expect}"
    if window is None:
        return Reading.FAILED, detail
    detail += f" for {format_duration(check.for_)}"
    if broken_steps >= window.steps:
        return Reading.FAILED, detail
    return Reading.UNKNOWN, f"{detail}, but not that long yet"


def moment(seconds: float) -> datetime | None:
    """Seconds since the epoch → time; None for what is none."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def flaw(query: str) -> str | None:
    """Why a query can't be put into a larger expression, or None.

    A query has to stand for itself: one with an open bracket or quote would take in what
    follows, and so change the meaning of other people's checks. Everything else that is
    wrong with a query Prometheus says better.
    """
    open_brackets: list[str] = []
    position = 0
    while position < len(query):
        token = _TOKEN.match(query, position)
        if token is None:
            return "a quote is never closed"
        text = token[0]
        position = token.end()
        if text in _CLOSING:
            open_brackets.append(_CLOSING[text])
        elif text in _CLOSING.values() and (not open_brackets or open_brackets.pop() != text):
            return f"{text} closes nothing"
    return f"{open_brackets[-1]} is missing" if open_brackets else None


_CLOSING = {"(": ")", "[": "]", "{": "}"}
# A comment, a whole string, or one character that is not a quote.
_TOKEN = re.compile(
    r"""\#[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `[^`]*` | [^"'`#]""", re.VERBOSE
)
