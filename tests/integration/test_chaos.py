"""A short run of `make chaos`: three faults and a control, on a real stack.

All kinds, two hundred faults and the soak are `make chaos`; docs/CHAOS.md tells of them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.chaos.agent import agent
from tests.chaos.oracle import Oracle
from tests.chaos.play import CONTROL, Player
from tests.chaos.stage import stage
from tests.chaos.table import aims, complaints, line
from tests.conftest import real_part

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
SEED = 5
SHORT = ("dependency down", CONTROL, "two at once", "disk full")


def test_a_short_run_reaches_every_aim(tmp_path: Path) -> None:
    with contextlib.ExitStack() as running:
        with real_part():
            on = running.enter_context(stage(tmp_path))
        oracle = running.enter_context(contextlib.closing(Oracle(on)))
        player = Player(on, oracle, running.enter_context(agent(on.config)))
        player.converge()
        outcomes = [player.play(index, kind, SEED) for index, kind in enumerate(SHORT)]
    told = [text for o in outcomes for text in (line(o), *complaints(o))]
    assert all(outcome.passed for outcome in outcomes), "\n".join(told)
    assert all(aim.met for aim in aims(outcomes)), "\n".join(told)
