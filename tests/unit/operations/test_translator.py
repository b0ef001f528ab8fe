from __future__ import annotations

from typing import Any

import pytest

from executors.contract import Primitive
from executors.translator import CommandTranslator
from flows.platform_operations import PlatformOperations
from infrastructure.config_models import CommandTranslations
from infrastructure.errors import PermanentError, UnsupportedOperationError
from infrastructure.operations import OperationCall
from infrastructure.universal_interface import InstanceGroup, TranslatedCall
from tests.unit.operations import shipped

SHIPPED = CommandTranslator(shipped.translations())
SERVICE = shipped.service(resources={"memory": "256Mi"})


def translator(
    executor: dict[str, Any], platform: dict[str, Any] | None = None
) -> CommandTranslator:
    return CommandTranslator(
        CommandTranslations.model_validate(
            {
                "apiVersion": "uici/v1",
                "kind": "CommandTranslations",
                "translations": {"engine": executor, "platform": platform or {}},
            }
        )
    )


def call(operation: str, **parameters: Any) -> OperationCall:
    return OperationCall(operation, SERVICE.target, parameters)


def test_every_shipped_operation_can_be_done_on_docker() -> None:
    assert SHIPPED.operations("docker") == set(shipped.operations().operations)
    assert SHIPPED.capabilities("docker") == SHIPPED.operations("docker")


def test_an_unknown_executor_has_what_the_platform_does() -> None:
    assert SHIPPED.operations("mainframe") == {
        "check_health",
        "query_metrics",
        "describe_dependencies",
        "escalate_to_human",
    }


def test_arguments_keep_their_type_and_none_is_left_out() -> None:
    translation = SHIPPED.translate(
        "docker",
        call("get_logs", lines=5, since=None, level=None, filter="8080", source="all"),
        SERVICE,
    )
    arguments = {"lines": 5, "filter": "8080", "source": "all"}
    assert translation == (TranslatedCall("logs", arguments, platform=False),)


@pytest.mark.parametrize(("strategy", "grace"), [("graceful", 7), ("force", 0)])
def test_a_condition_chooses_the_step(strategy: str, grace: int) -> None:
    translation = SHIPPED.translate(
        "docker", call("restart", strategy=strategy, grace_seconds=7), SERVICE
    )
    assert translation == (TranslatedCall("restart", {"grace_seconds": grace}, platform=False),)


def test_a_group_is_for_each_instance() -> None:
    translation = SHIPPED.translate(
        "docker", call("restart", strategy="rolling", grace_seconds=7), SERVICE
    )
    assert translation == (
        InstanceGroup(
            (
                TranslatedCall("restart", {"grace_seconds": 7}, platform=False),
                TranslatedCall("wait_healthy", {}, platform=False),
            )
        ),
    )


def test_the_platform_s_calls_are_marked() -> None:
    translation = SHIPPED.translate(
        "docker", call("escalate_to_human", summary="x", severity="info"), SERVICE
    )
    arguments = {"summary": "x", "severity": "info"}
    assert translation == (TranslatedCall("escalate", arguments, platform=True),)


def test_the_executor_s_own_translation_wins_and_an_empty_one_takes_it_away() -> None:
    both = translator(
        {"check_health": [{"call": "ping"}], "escalate_to_human": []},
        {"check_health": [{"call": "http_probe"}], "escalate_to_human": [{"call": "escalate"}]},
    )
    assert both.translate("engine", call("check_health"), SERVICE) == (
        TranslatedCall("ping", {}, platform=False),
    )
    assert both.translate("other", call("check_health"), SERVICE) == (
        TranslatedCall("http_probe", {}, platform=True),
    )
    assert both.operations("engine") == {"check_health"}
    with pytest.raises(UnsupportedOperationError, match=r"escalate_to_human .* engine"):
        both.translate("engine", call("escalate_to_human"), SERVICE)


def test_templates_see_desired_state_and_the_target() -> None:
    translating = translator(
        {
            "fit": [
                {
                    "call": "fit",
                    "with": {
                        "memory": "{{ service.spec.resources.memory }}",
                        "cpu": "{{ service.spec.resources.cpu }}",
                        "of": "{{ target }}",
                        "env": {"NAME": "{{ service.metadata.name }}-{{ parameters.n }}"},
                    },
                }
            ]
        }
    )
    assert translating.translate("engine", call("fit", n=3), SERVICE) == (
        TranslatedCall(
            "fit",
            {"memory": "256Mi", "of": "local/shop", "env": {"NAME": "shop-3"}},
            platform=False,
        ),
    )


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"call": "a", "with": {"x": "{{ parameters.typo }}"}}], "parameters.typo"),
        ([{"call": "a", "when": "{{ 'no' }}"}], "must not give text"),
        ([{"call": "a", "when": False}], "no step of its translation"),
        (
            [{"each": "instance", "do": [{"call": "a", "when": False}]}],
            "no step of its translation",
        ),
        (
            [{"each": "instance", "do": [{"each": "instance", "do": [{"call": "a"}]}]}],
            "within another group",
        ),
    ],
)
def test_a_translation_s_mistake_is_named(steps: list[Any], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        translator({"fit": steps}).translate("engine", call("fit"), SERVICE)


def test_the_platform_has_no_instances_to_repeat_over() -> None:
    steps = [{"each": "instance", "do": [{"call": "a"}]}]
    wrong = translator({}, {"fit": steps})
    with pytest.raises(PermanentError, match="executor's own steps"):
        wrong.translate("engine", call("fit"), SERVICE)
    assert len(wrong.check("platform", {"a": Primitive("a", mutates=False, arguments=())})) == 1


def test_check_names_unknown_primitives_and_arguments() -> None:
    primitives = {"restart": Primitive("restart", mutates=True, arguments=("grace_seconds",))}
    problems = translator(
        {
            "restart": [{"call": "restart", "with": {"grace_seconds": 1}}],
            "wrong": [
                {"call": "reboot"},
                {"call": "restart", "with": {"grace": "{{ x"}},
                {"each": "instance", "do": [{"call": "restart", "when": "{{ }}"}]},
            ],
        }
    ).check("engine", primitives)
    assert [problem.partition(": ")[0] for problem in problems] == ["engine.wrong"] * 4
    for problem, words in zip(
        problems,
        ("no primitive reboot; there are restart", "{{ x", "no argument grace; it takes", "{{ }}"),
        strict=True,
    ):
        assert words in problem


def test_the_shipped_platform_entry_fits_the_platform() -> None:
    assert SHIPPED.check("platform", PlatformOperations.primitives()) == []
