"""`make bench`: every measure against a bound in the same run; a table and a JSON document.

Aims are printed as met or missed and do not change the exit code: a shared machine is no
judge. 1 means that a measure could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.demo.place import ROOT
from flows.logging_setup import configure_logging
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import UiciError
from tests.bench import (
    command_line,
    dossier,
    git_commit,
    kubernetes,
    noop,
    oci,
    recovery,
    scale,
    scheduled,
)
from tests.bench.ground import Ground, ground
from tests.bench.table import Row, table

DEFAULT_JSON = ROOT / ".scratch" / "bench.json"
# What a part that does not work raises; a mistake of the bench itself is a traceback.
_FAILURES = (UiciError, OSError, RuntimeError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. Rounds are repetitions, of which the median counts."""

    sizes: tuple[int, ...] = (10, 50, 200)
    rounds: int = 15
    scheduled_runs: int = 12
    idle: float = 50
    kills: int = 7
    incidents: int = 20
    simulated: tuple[int, ...] = (10_000, 100_000)
    log_lines: int = 100_000


QUICK = Extent(
    sizes=(10, 50),
    rounds=5,
    scheduled_runs=4,
    idle=15,
    kills=3,
    incidents=5,
    simulated=(1_000, 10_000),
    log_lines=10_000,
)

OnGround = Callable[[Ground, Extent], Iterator[Row]]
Alone = Callable[[Path, Extent], Iterator[Row]]

# The order in which they run: on the shared ground the one that fills it comes last.
ON_GROUND: dict[str, OnGround] = {
    "scheduled": lambda g, e: scheduled.measure(g, services=10, runs=e.scheduled_runs, idle=e.idle),
    "recovery": lambda g, e: recovery.measure(g, rounds=e.kills),
    "noop": lambda g, e: noop.measure(g, sizes=e.sizes, rounds=e.rounds),
}
ALONE: dict[str, Alone] = {
    "commit": lambda s, e: git_commit.measure(s, rounds=e.rounds, incidents=e.incidents),
    "cli": lambda s, e: command_line.measure(s, services=1000, rounds=e.rounds // 3),
    "scale": lambda _, e: scale.measure(e.simulated),
    "kubernetes": lambda _, __: kubernetes.measure(),
    "oci": lambda _, __: oci.measure(),
    "dossier": lambda _, e: dossier.measure(lines=e.log_lines, rounds=5),
}
# The order in which they are shown.
SHOWN = ("noop", "scheduled", "recovery", "commit", "cli", "scale", "kubernetes", "oci", "dossier")


class Bench:
    """Runs measures and keeps what they say."""

    def __init__(self, extent: Extent, console: Console) -> None:
        self._extent = extent
        self._console = console
        self.rows: dict[str, list[Row]] = {}
        self.failures: dict[str, str] = {}

    def run(self, names: Sequence[str], scratch: Path, *, own_engine: bool) -> None:
        """Every one of `names`; one that fails does not keep the others from running."""
        for name in (n for n in ALONE if n in names):
            self._collect(name, ALONE[name](scratch, self._extent))
        wanted = [n for n in ON_GROUND if n in names]
        if not wanted:
            return
        largest = max(self._extent.sizes)
        try:
            with ground(scratch, largest=largest, own_engine=own_engine) as made:
                for name in wanted:
                    self._collect(name, ON_GROUND[name](made, self._extent))
        except _FAILURES as exc:
            self.failures |= {n: str(exc) for n in wanted if n not in self.rows}

    def _collect(self, name: str, rows: Iterator[Row]) -> None:
        self._console.print(f"measuring {name} …", style="dim")
        found = self.rows.setdefault(name, [])
        try:
            found.extend(rows)
        except _FAILURES as exc:
            self.failures[name] = f"{type(exc).__name__}: {exc}"

    @property
    def shown(self) -> list[Row]:
        """All rows in the order in which they are read."""
        return [row for name in SHOWN for row in self.rows.get(name, ())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write. Returns the exit code."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(width=None if sys.stdout.isatty() else 160)
    bench = Bench(QUICK if asked.quick else Extent(), console)
    begin = _moment()
    with tempfile.TemporaryDirectory(prefix="uici-bench-") as folder:
        scratch = Path(folder)
        with _logged(scratch / "runs.log"):
            bench.run(asked.only or SHOWN, scratch, own_engine=asked.own_engine)
        if bench.failures:
            _keep_logs(scratch, asked.json.parent)
    document = {
        "quick": asked.quick,
        "begin": begin,
        "end": _moment(),
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "rows": [row.data() for row in bench.shown],
        "failures": bench.failures,
    }
    _write(asked.json, document)
    console.print(table(bench.shown))
    console.print(
        f"{os.cpu_count()} CPUs, load {begin['load'][0]:.1f} at the beginning and "
        f"{document['end']['load'][0]:.1f} at the end; medians; also in {asked.json}"
    )
    for name, reason in bench.failures.items():
        console.print(f"could not run {name}: {reason}; logs: {asked.json.parent}", style="red")
    return 1 if bench.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, metavar="FILE")
    parser.add_argument("--only", action="append", choices=SHOWN, help="repeatable")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer: to try it out")
    parser.add_argument(
        "--own-engine",
        action="store_true",
        help="start a Docker Engine even where one runs, so that nobody else's containers count",
    )
    return parser


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Runs write their log as they do in production, but into a file."""
    config = UniversalConfigLoader().load()
    with path.open("w") as file, contextlib.redirect_stderr(file):
        configure_logging(config.platform.log, config.redactor())
        yield


def _moment() -> dict[str, Any]:
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "load": os.getloadavg()}


def _keep_logs(scratch: Path, folder: Path) -> None:
    """Whoever looks for the reason of a failure needs what the runs and servers wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in scratch.rglob("*.log"):
        shutil.copy(log, folder / f"bench-{log.name}")


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
