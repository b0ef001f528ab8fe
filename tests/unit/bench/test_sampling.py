"""How the bench takes its times."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.bench.sampling import Cost, Process, cost, interleaved, middle, slope

_BURN = "import time\nwhile time.process_time() < 0.2: pass"


def test_cost_counts_children_and_waiting_is_no_cpu() -> None:
    with cost() as asleep:
        time.sleep(0.05)
    with cost() as burning:
        subprocess.run([sys.executable, "-c", _BURN], check=True)
    assert asleep.wall >= 0.05
    assert asleep.cpu < 0.05
    assert burning.cpu >= 0.2


def test_works_take_turns_and_the_warm_up_does_not_count() -> None:
    turns: list[str] = []

    def work(name: str) -> Callable[[], None]:
        def once() -> None:
            first = name not in turns
            turns.append(name)
            time.sleep(0.2 if first else 0)

        return once

    costs = interleaved({"a": work("a"), "b": work("b")}, rounds=3, warm_up=1)
    assert turns == ["a", "b"] * 4
    assert costs["a"].wall < 0.2


def test_the_middle_is_taken_of_each_by_itself() -> None:
    assert middle([Cost(3, 1), Cost(1, 2), Cost(2, 9)]) == Cost(2, 2)


def test_slope_of_a_line_is_what_each_one_more_costs() -> None:
    assert slope({10: 0.03, 50: 0.07, 200: 0.22}) == pytest.approx(0.001)


def test_another_process_is_read_from_proc() -> None:
    me = Process(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert Process(child.pid) in me.children
        assert Process(child.pid).cpu >= 0
        child.communicate(b"\n")
    assert Process(child.pid) not in me.children
    assert me.cpu == pytest.approx(sum(os.times()[:4]), abs=0.5)
    assert me.peak_memory > 5_000_000
