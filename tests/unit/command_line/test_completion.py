"""Shells complete commands, options and names of the configuration: as bash asks the script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.loop import loop_world, service_yaml, write_config

SCRIPT = Path(sys.executable).with_name("uici")


def offered(line: str) -> list[str]:
    """Words of a line, the last one unfinished → what bash would offer."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    answer = subprocess.run(
        [SCRIPT],
        env={**os.environ, **asked, "_UICI_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stderr == ""
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("uici re", ["reconcile", "report", "reject", "resume"]),
        ("uici run set_", ["set_image", "set_resources", "set_env"]),
    ],
)
def test_what_is_offered(line: str, expected: list[str]) -> None:
    assert sorted(offered(line)) == sorted(expected)


def test_names_come_from_the_configuration_that_the_line_names(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config", platform={"git": {"remote": str(tmp_path)}})
    assert offered(f"uici plan --config {config} -e l") == ["local-docker"]
    assert offered(f"uici plan --config {tmp_path}/none -e l") == []


def test_targets_are_those_that_a_run_has_told_of(tmp_path: Path) -> None:
    with loop_world(tmp_path) as world:
        world.commit(shop=service_yaml("shop"), till=service_yaml("till"))
        config = tmp_path / "config"
        assert offered(f"uici explain --config {config} sh") == []
        world.run()
        assert offered(f"uici explain --config {config} sh") == ["shop"]
        assert offered(f"uici plan --config {config} -t ") == ["shop", "till"]
        assert offered(f"uici explain --config {config} local") == [
            "local-docker/shop",
            "local-docker/till",
        ]
    assert offered("uici init x --mode p") == ["propose"]
