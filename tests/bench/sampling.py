"""Taking times fairly on a machine that others use: interleaved rounds, and their median."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Cost:
    """What something took, in seconds; CPU includes children that have ended."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def cost() -> Iterator[Cost]:
    """Fills in what the body took in this process, its threads and its children."""
    taken = Cost()
    cpu, wall = _cpu(), time.perf_counter()
    try:
        yield taken
    finally:
        taken.wall = time.perf_counter() - wall
        taken.cpu = _cpu() - cpu


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def interleaved(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, Cost]:
    """The median cost of each work.

    All works take turns, so that what else goes on at the machine falls on all alike.
    `prepare` is called before each of them and does not count.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for number in range(warm_up + rounds):
        for name, work in works.items():
            prepare()
            with cost() as taken:
                work()
            if number >= warm_up:
                costs[name].append(taken)
    return {name: middle(taken) for name, taken in costs.items()}


def middle(costs: Sequence[Cost]) -> Cost:
    """Medians of wall and CPU, each by itself."""
    return Cost(median(c.wall for c in costs), median(c.cpu for c in costs))


def slope(points: Mapping[int, float]) -> float:
    """Least-squares slope of y over x."""
    mean_x = sum(points) / len(points)
    mean_y = sum(points.values()) / len(points)
    above = sum((x - mean_x) * (y - mean_y) for x, y in points.items())
    return above / sum((x - mean_x) ** 2 for x in points)


@dataclass(frozen=True, slots=True)
class Process:
    """Another process, as /proc tells it (see proc(5))."""

    pid: int

    @property
    def cpu(self) -> float:
        """CPU seconds so far, with those of its children that it has waited for."""
        # The command's name is in brackets and may hold spaces.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS

    @property
    def peak_memory(self) -> int:
        """The largest resident set so far, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    @property
    def children(self) -> tuple[Process, ...]:
        """Those that it started and that still run."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        found = (pid for task in tasks for pid in (task / "children").read_text().split())
        return tuple(Process(int(pid)) for pid in found)
