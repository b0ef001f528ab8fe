"""The rule's values, and the bounds that nobody leaves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.proposals.cause import IMAGE, MEMORY, REPLICAS
from flows.proposals.value import Seen, Value, rule_value, within_bounds
from infrastructure.quantities import parse_memory
from tests.unit.proposals.made import cause_of, service, settings
from tests.unit.proposals.test_cause import BUSY, LOAD, NEVER_UP

GI = 1024**3


@pytest.mark.parametrize(
    ("limit", "new"),
    [
        ("256Mi", "320Mi"),
        ("64Mi", "80Mi"),
        ("100M", "128Mi"),
        ("1Gi", "1280Mi"),
        ("3Gi", "3840Mi"),
        ("3900Mi", "4Gi"),  # no further than the limit
    ],
)
def test_memory_goes_up_by_the_headroom_to_a_round_figure(limit: str, new: str) -> None:
    declared = service(resources={"memory": limit})
    value = rule_value(cause_of(declared), declared, settings(), Seen())
    assert isinstance(value, Value)
    assert value.new == new


@given(st.integers(min_value=1, max_value=4 * GI - 1))
def test_memory_always_grows_and_never_beyond_the_limit(limit: int) -> None:
    declared = service(resources={"memory": limit})
    value = rule_value(cause_of(declared), declared, settings(), Seen())
    assert isinstance(value, Value)
    assert limit < parse_memory(value.new) <= 4 * GI
    assert within_bounds(MEMORY, value.new, declared, settings(), Seen()) == value.new


@pytest.mark.parametrize(
    ("resources", "why"), [({}, "no memory limit"), ({"memory": "4Gi"}, "limits.memory")]
)
def test_memory_that_can_not_go_up_says_why(resources: dict[str, str], why: str) -> None:
    declared = service(resources=resources)
    value = rule_value(cause_of(declared), declared, settings(), Seen())
    assert isinstance(value, str)
    assert why in value


@pytest.mark.parametrize(("now", "new"), [(1, "2"), (9, "10"), (10, None), (0, None)])
def test_one_replica_more_within_the_limit_and_never_from_zero(now: int, new: str | None) -> None:
    declared = service(health=BUSY, replicas=now)
    value = rule_value(cause_of(declared, **LOAD), declared, settings(), Seen())
    assert (value.new if isinstance(value, Value) else None) == new


def test_the_image_is_the_one_that_ran_or_none() -> None:
    declared = service()
    cause = cause_of(declared, **NEVER_UP)
    value = rule_value(cause, declared, settings(), Seen(earlier_image="shop:1.9"))
    assert isinstance(value, Value)
    assert (value.old, value.new) == ("shop:2.0", "shop:1.9")
    assert isinstance(rule_value(cause, declared, settings(), Seen()), str)


@pytest.mark.parametrize(
    ("pointer", "text", "written"),
    [
        (MEMORY, "512Mi", "512Mi"),
        (MEMORY, "1073741824", "1Gi"),
        (MEMORY, "256Mi", None),
        (MEMORY, "8Gi", None),
        (MEMORY, "512Mi\nreplicas: 0", None),
        (REPLICAS, "4", "4"),
        (REPLICAS, "0", None),
        (REPLICAS, "1", None),
        (REPLICAS, "11", None),
        (REPLICAS, "-1", None),
        (IMAGE, "shop:1.9", "shop:1.9"),
        (IMAGE, "evil:1", None),
        ("/health", "{}", None),
    ],
)
def test_a_suggestion_is_taken_within_bounds_only(
    pointer: str, text: str, written: str | None
) -> None:
    seen: Any = Seen(earlier_image="shop:1.9")
    found = within_bounds(pointer, text, service(), settings(), seen)
    assert found == written
