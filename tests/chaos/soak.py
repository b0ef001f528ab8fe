"""The long run: thousands of runs in one process, and whether anything grows with them.

The stack is the one of the faults. First come runs that find nothing, then repairs of a killed
container, a run each. Memory, file descriptors and threads are this process' own; the
repositories are the bare remote and the agent's clone.

Flat means, over the second half of the samples (the first half fills caches): descriptors and
threads at the end are no more than a few above the middle; memory grows by less than 2 % or
2 MB; and runs without news add nothing at all to either repository. Repairs are commits and must
add to the remote: what each adds may not become more, from the second quarter of the samples
(by then the remembered history of a target is full) to the second half.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.report import RunResult
from tests.chaos.agent import Agent, agent
from tests.chaos.oracle import Oracle
from tests.chaos.play import Player
from tests.chaos.stage import Stage, stage

NO_OPS, REPAIRS = 5_000, 200
_SAMPLES = 25
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMORY_SHARE, _MEMORY_BYTES = 0.02, 2 * 1024**2
_SLACK = 3  # descriptors or threads that may be in use at a sample
_STEEPER = 1.1  # how much more a late repair may add to the remote than an earlier one
_TARGET = "market-predictor"


@dataclass(frozen=True, slots=True)
class Sample:
    """What this process and its repositories hold. Bytes, but for the counts."""

    runs: int
    memory: int
    descriptors: int
    threads: int
    remote: int
    remote_objects: int
    clone: int
    clone_objects: int
    data: int  # all of the agent's own disk


COLUMNS: dict[str, Callable[[Sample], float]] = {
    "memory, MB": lambda s: s.memory / 1024**2,
    "file descriptors": lambda s: s.descriptors,
    "threads": lambda s: s.threads,
    "remote, kB": lambda s: s.remote / 1024,
    "objects in the remote": lambda s: s.remote_objects,
    "clone, kB": lambda s: s.clone / 1024,
    "objects in the clone": lambda s: s.clone_objects,
    "agent's disk, kB": lambda s: s.data / 1024,
}


def taken(runs: int, on: Stage) -> Sample:
    """A sample now."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    clone = next(iter(sorted(on.data.glob("**/objects"))), on.data / "none").parent
    remote, clone_size = _objects(on.remote), _objects(clone)
    return Sample(
        runs,
        resident,
        sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threading.active_count(),
        *remote,
        *clone_size,
        sum(p.stat().st_size for p in on.data.rglob("*") if p.is_file()),
    )


def _objects(repository: Path) -> tuple[int, int]:
    """Bytes and number of the files in which a repository keeps its objects, packs included."""
    files = [p for p in (repository / "objects").rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files), len(files)


def no_ops(on: Stage, uici: Agent, count: int) -> Iterator[Sample]:
    """Runs that find nothing.

    Raises:
        RuntimeError: one found something.
    """
    yield taken(0, on)
    every = max(1, count // _SAMPLES)
    for number in range(1, count + 1):
        report = uici.run()
        if report.incidents:
            raise RuntimeError(f"run {number} found something: {uici.said()}")
        if number % every == 0:
            yield taken(number, on)


def repairs(on: Stage, oracle: Oracle, uici: Agent, count: int) -> Iterator[Sample]:
    """A killed container each, until it is well by the oracle's word.

    Raises:
        RuntimeError: one was not repaired.
    """
    yield taken(0, on)
    every = max(1, count // _SAMPLES)
    for number in range(1, count + 1):
        on.engine.post(_TARGET, "kill")
        on.engine.events()
        deadline = time.monotonic() + 60
        while True:
            report = uici.run()
            if report.result is RunResult.CONVERGED and not oracle.complaints(_TARGET):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"repair {number} did not come: {uici.said()}")
            time.sleep(0.1)
        if number % every == 0:
            yield taken(number, on)


def curve(samples: Sequence[Sample]) -> list[str]:
    """A line a column: first, middle, last, and the slope of the second half per 1,000 runs."""
    half = samples[len(samples) // 2 :]
    lines = []
    for title, value in COLUMNS.items():
        first, middle, last = (value(s) for s in (samples[0], half[0], samples[-1]))
        lines.append(
            f"{title:24} first {first:10.1f}  middle {middle:10.1f}  last {last:10.1f}"
            f"  slope {slope(half, value) * 1000:+10.2f} per 1,000 runs"
        )
    return lines


def slope(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Least squares, per run; 0 of fewer than two samples."""
    if len({s.runs for s in samples}) < 2:
        return 0.0
    found = statistics.linear_regression([s.runs for s in samples], [value(s) for s in samples])
    return found.slope


def not_flat(samples: Sequence[Sample], *, repairing: bool) -> list[str]:
    """What grows; empty: flat, by the rule of this module."""
    half = samples[len(samples) // 2 :]
    first, last = half[0], samples[-1]
    may_grow = {
        "memory": max(_MEMORY_BYTES, int(first.memory * _MEMORY_SHARE)),
        "descriptors": _SLACK,
        "threads": _SLACK,
    }
    if not repairing:
        may_grow |= {"remote": 0, "clone": 0, "data": 0}
    grown = [
        f"{what}: {getattr(first, what)} → {getattr(last, what)}"
        for what, most in may_grow.items()
        if getattr(last, what) - getattr(first, what) > most
    ]
    if repairing:
        quarter = samples[len(samples) // 4 : len(samples) // 2 + 1]
        early, late = (slope(part, COLUMNS["remote, kB"]) for part in (quarter, half))
        if late > early * _STEEPER:
            grown.append(f"each repair adds {late:.1f} kB to the remote, it was {early:.1f}")
    return grown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, print the curves. 0: flat."""
    asked = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="uici-soak-") as folder:
        grown = _soak(asked, Path(folder))
    for text in grown:
        _say(f"NOT FLAT: {text}")
    return int(bool(grown))


def _soak(asked: argparse.Namespace, folder: Path) -> list[str]:
    from tests.chaos.__main__ import log_to  # noqa: PLC0415 - each needs the other

    grown: list[str] = []
    with contextlib.ExitStack() as running:
        running.enter_context(log_to(Path(os.devnull)))
        on = running.enter_context(stage(folder))
        oracle = running.enter_context(contextlib.closing(Oracle(on)))
        uici = running.enter_context(agent(on.config))
        Player(on, oracle, uici).converge()
        parts = (
            ("no-op runs", no_ops(on, uici, asked.no_ops), False),
            ("repairs", repairs(on, oracle, uici, asked.repairs), True),
        )
        for title, played, repairing in parts:
            began, samples = time.monotonic(), list[Sample]()
            for sample in played:
                samples.append(sample)
                _say(f"{title} {sample}")
            _say(f"\n{title}: {samples[-1].runs} in {time.monotonic() - began:.0f} s")
            for text in curve(samples):
                _say(text)
            grown += [f"{title}: {text}" for text in not_flat(samples, repairing=repairing)]
    return grown


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos --soak", description=__doc__)
    parser.add_argument("--no-ops", type=int, default=NO_OPS)
    parser.add_argument("--repairs", type=int, default=REPAIRS)
    return parser
