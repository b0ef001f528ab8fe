from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infrastructure.config_models import Environment
from infrastructure.detection import Detection, detect

URL = "http://169.254.169.254/opc/v2/"


def environment(*rules: dict[str, str]) -> Environment:
    data: dict[str, Any] = {
        "executor": "docker",
        "connection": {},
        "detect": list(rules),
        "deadline": "5s",
        "concurrency": 1,
        "prometheus": [],
        "alertmanager": [],
        "policy": {},
    }
    return Environment.model_validate(data)


def never(url: str) -> bool:
    pytest.fail(f"{url} must not be asked")


def test_a_file_that_exists_is_a_sign(tmp_path: Path) -> None:
    here, away = tmp_path / "socket", tmp_path / "other"
    here.touch()
    found = detect(
        {"a": environment({"file": str(here)}), "b": environment({"file": str(away)})},
        answers=never,
        environ={},
    )
    assert found == [
        Detection("a", found=True, why=f"{here} exists"),
        Detection("b", found=False, why=f"{away} does not exist"),
    ]


def test_a_variable_that_is_set_is_a_sign_and_its_value_is_not_shown() -> None:
    environments = {"a": environment({"env": "KUBECONFIG"})}
    (found,) = detect(environments, answers=never, environ={"KUBECONFIG": "/secret/place"})
    assert found == ("a", True, "KUBECONFIG is set")
    (missing,) = detect(environments, answers=never, environ={"KUBECONFIG": ""})
    assert missing == ("a", False, "KUBECONFIG is not set")


@pytest.mark.parametrize(("answer", "why"), [(True, "answers"), (False, "does not answer")])
def test_an_address_that_answers_is_a_sign(answer: bool, why: str) -> None:
    (found,) = detect({"a": environment({"url": URL})}, answers=lambda _: answer, environ={})
    assert found == ("a", answer, f"{URL} {why}")


def test_the_first_sign_ends_the_search() -> None:
    environments = {"a": environment({"env": "A"}, {"url": URL})}
    (found,) = detect(environments, answers=never, environ={"A": "1"})
    assert found.found


def test_every_missing_sign_is_told() -> None:
    environments = {"a": environment({"env": "A"}, {"url": URL})}
    (found,) = detect(environments, answers=lambda _: False, environ={})
    assert found.why == f"A is not set; {URL} does not answer"


def test_an_environment_without_rules_is_taken_to_be_here() -> None:
    (found,) = detect({"a": environment()}, answers=never, environ={})
    assert found.found


def test_a_folder_that_can_not_be_entered_is_no_sign() -> None:
    (found,) = detect({"a": environment({"file": "/" + "x" * 5000})}, answers=never, environ={})
    assert not found.found
