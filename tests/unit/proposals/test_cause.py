"""What counts as a cause, and what never does."""

from __future__ import annotations

from typing import Any

import pytest

from flows.proposals.cause import IMAGE, MEMORY, REPLICAS, find_causes
from infrastructure.cause_kinds import CauseKind
from tests.unit.proposals.made import NOW, incident, memory, service, settings, thrice

LOAD: dict[str, Any] = {"kinds": ("MetricBreach",), "fields": ("latency",), "patterns": ()}
BUSY = {"metrics": [{"name": "latency", "query": "latency", "expect": "< 0.5"}]}
NEVER_UP: dict[str, Any] = {"patterns": (), "result": "failed", "seconds": None}


def test_memory_that_runs_out_three_times_is_a_cause_with_its_incidents() -> None:
    declared = service()
    history = thrice(declared)
    (found,) = find_causes(memory(declared, *history), settings(), NOW)
    assert (found.kind, found.pointer) == (CauseKind.OUT_OF_MEMORY, MEMORY)
    assert found.incidents == history
    assert found.slug == "local-docker-shop-memory"


def test_an_image_that_never_came_up_is_a_cause() -> None:
    declared = service()
    (found,) = find_causes(memory(declared, *thrice(declared, **NEVER_UP)), settings(), NOW)
    assert (found.kind, found.pointer) == (CauseKind.IMAGE_UNAVAILABLE, IMAGE)


def test_an_image_that_came_up_once_is_none() -> None:
    declared = service()
    history = (
        incident(declared.spec_digest, hours_ago=7, patterns=()),
        *thrice(declared, **NEVER_UP),
    )
    assert find_causes(memory(declared, *history), settings(), NOW) == ()


def test_an_image_that_could_not_take_the_running_ones_place_is_a_cause() -> None:
    declared = service()
    history = thrice(declared, **{**NEVER_UP, "kinds": ("ConfigDrift",), "fields": ("/image",)})
    (found,) = find_causes(memory(declared, *history), settings(), NOW)
    assert found.pointer == IMAGE


def test_a_lasting_breach_of_an_upper_bound_is_a_cause() -> None:
    declared = service(health=BUSY)
    (found,) = find_causes(memory(declared, *thrice(declared, **LOAD)), settings(), NOW)
    assert (found.kind, found.pointer) == (CauseKind.OVERLOADED, REPLICAS)


@pytest.mark.parametrize(
    "changes",
    [
        {"kinds": ("MetricBreach", "Stopped")},
        {"patterns": ("connection-refused",)},
        {"fields": ("another",)},
    ],
)
def test_a_breach_with_another_explanation_is_none(changes: dict[str, Any]) -> None:
    declared = service(health=BUSY)
    history = thrice(declared, **{**LOAD, **changes})
    assert find_causes(memory(declared, *history), settings(), NOW) == ()


def test_being_there_at_all_is_not_load() -> None:
    there = {"metrics": [{"name": "latency", "query": "up", "expect": "== 1"}]}
    declared = service(health=there)
    assert find_causes(memory(declared, *thrice(declared, **LOAD)), settings(), NOW) == ()


def test_too_few_or_too_old_or_of_another_declaration_are_none() -> None:
    declared = service()
    digest = declared.spec_digest
    two = (incident(digest, hours_ago=2), incident(digest, hours_ago=1))
    old = incident(digest, hours_ago=25)
    other = incident("another", hours_ago=3)
    assert find_causes(memory(declared, *two), settings(), NOW) == ()
    assert find_causes(memory(declared, old, *two), settings(), NOW) == ()
    assert find_causes(memory(declared, other, *two), settings(), NOW) == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": {"reason": "a person works on it"}},
        {"suspend": {"reason": "until later", "until": "2026-11-22T13:00:00Z"}},
        {"remediation": {"mode": "observe"}},
        {"ignoreDifferences": ["/resources/memory"]},
        {"ignoreDifferences": ["/resources"]},
    ],
)
def test_what_a_person_or_another_tool_holds_is_left_alone(spec: dict[str, Any]) -> None:
    declared = service(**spec)
    assert find_causes(memory(declared, *thrice(declared)), settings(), NOW) == ()


def test_a_suspension_that_is_over_holds_nothing() -> None:
    declared = service(suspend={"reason": "was", "until": "2026-11-22T11:00:00Z"})
    assert len(find_causes(memory(declared, *thrice(declared)), settings(), NOW)) == 1


def test_the_agents_own_and_observed_targets_are_never_proposed_for() -> None:
    own = service("uici-agent")
    assert find_causes(memory(own, *thrice(own)), settings(), NOW) == ()
    declared = service()
    seen = memory(declared, *thrice(declared), observed_only=frozenset({declared.target}))
    assert find_causes(seen, settings(), NOW) == ()


def test_a_target_that_left_desired_state_has_no_cause() -> None:
    declared = service()
    gone = memory(declared, *thrice(declared), services={})
    assert find_causes(gone, settings(), NOW) == ()
