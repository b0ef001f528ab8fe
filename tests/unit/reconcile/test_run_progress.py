"""What a person at a terminal is told while a run goes on."""

from __future__ import annotations

import re

from flows.command_line.run_progress import RunProgress
from tests.fakes.loop import LoopWorld


def told(world: LoopWorld) -> list[str]:
    said: list[str] = []
    world.run(listener=RunProgress(said.append))
    return said


def test_each_stage_of_a_repair_is_told_when_it_begins(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    said = told(world)
    target = "local-docker/market-predictor"
    assert said[:3] == [
        "1 difference, planning",
        f"{target}: planned by runbook, asking the guard",
        f"{target}: allowed",
    ]
    assert re.fullmatch(r"intent committed: [0-9a-f]{7}", said[3])
    assert said[4:] == [
        f"{target}: start",
        f"{target}: start succeeded, verifying",
        f"{target}: recovered",
    ]


def test_a_quiet_run_has_little_to_say(world: LoopWorld) -> None:
    assert told(world) == ["writing the report"]
