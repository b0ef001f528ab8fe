"""deploy/prefect.yaml says the same as what `uici serve` registers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def deployments() -> list[dict[str, object]]:
    document = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())
    return [dict(each) for each in document["deployments"]]


def test_every_flow_is_there() -> None:
    assert [each["name"] for each in deployments()] == ["reconcile", "propose", "approve"]


@pytest.mark.parametrize("deployment", deployments(), ids=lambda each: str(each["name"]))
def test_its_entry_point_is_there(deployment: dict[str, object]) -> None:
    path, _, name = str(deployment["entrypoint"]).partition(":")
    module = ast.parse((ROOT / path).read_text())

    names = {
        target.id
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert name in names


@pytest.mark.parametrize("deployment", deployments(), ids=lambda each: str(each["name"]))
def test_runs_do_not_overlap_and_the_schedule_is_written_down_elsewhere(
    deployment: dict[str, object],
) -> None:
    # Forms wait for people side by side.
    one_at_a_time = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    expected = None if deployment["name"] == "approve" else one_at_a_time
    assert deployment.get("concurrency_limit") == expected
    assert "schedules" not in deployment
