"""The samples of a metric check → its reading. Pure. `monitoring.promql` asks for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from infrastructure.config_models import MetricSettings
from infrastructure.observed import MetricReading, Reading
from infrastructure.quantities import format_duration
from infrastructure.service import MetricCheck
from monitoring.promql import Expectation, Part, Window


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
    time = samples.get(Part.TIME)
    sampled_at = moment(time) if time is not None else None
    if sampled_at is None:
        return MetricReading(target, check.name, Reading.UNKNOWN, detail="no sample")
    expected = Expectation.parse(check.expect)
    value = _furthest(expected, samples)
    if value is None or math.isnan(value):
        kind, detail, value = Reading.UNKNOWN, "its value is not a number", None
    elif evaluated_at - sampled_at > settings.staleness:
        limit = format_duration(settings.staleness)
        kind, detail = Reading.UNKNOWN, f"no fresh sample: the newest is older than {limit}"
    elif expected.holds(value):
        kind, detail = Reading.PASSED, f"{value:g}, as expected"
    else:
        kind, detail = _broken(check, value, samples.get(Part.STEPS, 0), settings)
    return MetricReading(target, check.name, kind, value, sampled_at, detail)


def _furthest(expected: Expectation, samples: Mapping[Part, float]) -> float | None:
    """The value that decides: one that breaks the expectation, if any series does."""
    low, high = samples.get(Part.LOW), samples.get(Part.HIGH)
    if low is not None and (high is None or not expected.holds(low)):
        return low
    return high


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
