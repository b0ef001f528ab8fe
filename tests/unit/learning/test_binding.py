"""What is learned on one service has to fit another, or is not learned."""

from __future__ import annotations

from typing import Any

import pytest

from flows.learning.binding import UnboundError, bound, mistakes, rendered
from flows.plan import PlanStep
from infrastructure.errors import UiciError
from infrastructure.knowledge import LearnedResolution, LearnedStep
from tests.unit.learning.made import OTHER, REGISTRY, SHOP


def learned(operation: str, target: str = SHOP.target, **parameters: Any) -> dict[str, Any]:
    (step,) = bound([PlanStep(operation, target, parameters, "why")], SHOP, REGISTRY)
    assert step.operation == operation
    return step.parameters


@pytest.mark.parametrize(
    ("operation", "parameters", "kept"),
    [
        ("scale", {"replicas": 2}, {"replicas": "{{ service.spec.replicas }}"}),
        (
            "set_resources",
            {"memory": 256 * 2**20, "cpu": 0.5},
            {
                "memory": "{{ service.spec.resources.memory }}",
                "cpu": "{{ service.spec.resources.cpu }}",
            },
        ),
        ("set_image", {"image": SHOP.spec.image}, {"image": "{{ service.spec.image }}"}),
        (
            "set_env",
            {"env": {"LOG_LEVEL": "info"}},
            {"env": "{{ service.spec.env }}"},
        ),
        # A word of the schema stays, a default needs no saying.
        ("restart", {"strategy": "force"}, {"strategy": "force"}),
        ("restart", {"strategy": "graceful", "grace_seconds": 10}, {"strategy": "graceful"}),
        ("restart", {}, {"strategy": "graceful"}),
        ("start", {}, {}),
    ],
)
def test_parameters_are_bound_to_desired_state(
    operation: str, parameters: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert learned(operation, **parameters) == kept


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("scale", {"replicas": 3}),
        ("set_image", {"image": "evil:1"}),
        ("set_env", {"env": {"LOG_LEVEL": "debug"}}),
        ("set_env", {"env": {"__class__": "info"}}),
        ("restart", {"grace_seconds": 60}),
        ("execute_command", {"argv": ["rm", "-rf", "/"]}),
        ("rollback_service", {}),
        ("escalate_to_human", {"summary": "look"}),
        ("get_status", {}),
        ("no_such_operation", {}),
        ("scale", {"replicas": "two"}),
    ],
)
def test_what_is_known_of_one_target_only_is_not_learned(
    operation: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(UnboundError):
        learned(operation, **parameters)


def test_steps_on_another_target_are_not_learned() -> None:
    with pytest.raises(UnboundError, match="another target"):
        learned("start", target=OTHER.target)


def test_a_number_that_only_looks_alike_is_not_bound_to_it() -> None:
    with pytest.raises(UnboundError):
        learned("restart", grace_seconds=2)  # replicas are 2, too


def resolution(**parameters: Any) -> LearnedResolution:
    step = LearnedStep(operation=parameters.pop("operation", "scale"), parameters=parameters)
    return LearnedResolution(steps=(step,), planner="llm")


def test_it_is_rendered_for_another_service_with_that_one_s_values() -> None:
    steps = bound([PlanStep("scale", SHOP.target, {"replicas": 2}, "why")], SHOP, REGISTRY)
    (step,) = rendered(LearnedResolution(steps=steps, planner="llm"), OTHER, REGISTRY)
    assert (step.target, dict(step.parameters), step.why) == (OTHER.target, {"replicas": 5}, "why")


@pytest.mark.parametrize(
    "wrong",
    [
        resolution(replicas="{{ service.spec.typo }}"),
        resolution(replicas="{{ service.__class__ }}"),
        resolution(replicas="{{ ''.join(['a']) }}"),
        resolution(replicas="many"),
        resolution(operation="no_such_operation"),
        resolution(replicas=2, force=True),
    ],
)
def test_what_does_not_fit_is_an_error_and_never_a_step(wrong: LearnedResolution) -> None:
    with pytest.raises(UiciError):
        rendered(wrong, OTHER, REGISTRY)


def test_mistakes_are_seen_without_a_target() -> None:
    assert list(mistakes(resolution(replicas="{{ service.spec.replicas }}"), REGISTRY)) == []
    assert "no operation is named" in next(mistakes(resolution(operation="no_such"), REGISTRY))
    assert "takes no force" in next(mistakes(resolution(force=True), REGISTRY))
    assert "template" in next(mistakes(resolution(replicas="{% raw %}"), REGISTRY))
