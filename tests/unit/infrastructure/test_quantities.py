from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.quantities import (
    format_cpu,
    format_duration,
    format_memory,
    parse_cpu,
    parse_duration,
    parse_memory,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1h30m", 5400), ("1d", 86400), ("0s", 0), ("0.1s", 0.1)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("256Mi", 256 * 2**20), ("1Gi", 2**30), ("500M", 500 * 10**6), ("1.5Ki", 1536), (7, 7)],
)
def test_memory_is_read(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "cores"), [("0.5", "0.5"), ("500m", "0.5"), (2, "2"), (0.25, "0.25"), ("100", "100")]
)
def test_cpu_is_read(text: str | float, cores: str) -> None:
    assert parse_cpu(text) == Decimal(cores)


@pytest.mark.parametrize(
    "value", ["", "5", "s", "-1s", "1 s", "5y", 5, None, True, "9" * 400 + "d", "999999999d"]
)
def test_a_wrong_duration_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["", "12Q", "-1", -1, True, None, "9" * 30, 2**63, "1e3"])
def test_wrong_memory_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="write memory"):
        parse_memory(value)


@pytest.mark.parametrize("value", ["", "nan", "inf", "-1", -0.5, True, None, "1e9999", "1_0"])
def test_wrong_cpu_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="write CPU"):
        parse_cpu(value)


@given(st.timedeltas(timedelta(0), timedelta(days=36_500)))
def test_a_duration_survives_being_written(value: timedelta) -> None:
    whole = timedelta(milliseconds=round(value.total_seconds() * 1000))
    assert parse_duration(format_duration(whole)) == whole


@given(st.integers(0, 2**63 - 1))
def test_memory_survives_being_written(value: int) -> None:
    assert parse_memory(format_memory(value)) == value


@given(st.decimals(0, 10_000, places=3))
def test_cpu_survives_being_written(value: Decimal) -> None:
    assert parse_cpu(format_cpu(value)) == value


@given(st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.none(), st.binary()))
def test_no_value_breaks_a_parser(value: Any) -> None:
    for parse in (parse_duration, parse_memory, parse_cpu):
        try:
            parse(value)
        except ValueError:
            continue
