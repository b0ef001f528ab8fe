"""deploy/prefect.yaml says the same as what `uici serve` registers."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def deployment() -> dict[str, object]:
    document = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())
    (only,) = document["deployments"]
    return dict(only)


def test_its_entry_point_is_there() -> None:
    path, _, name = str(deployment()["entrypoint"]).partition(":")
    module = ast.parse((ROOT / path).read_text())

    names = {
        target.id
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert name in names


def test_runs_do_not_overlap_and_the_schedule_is_written_down_elsewhere() -> None:
    assert deployment()["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert "schedules" not in deployment()
