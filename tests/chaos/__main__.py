"""`python -m tests.chaos`: a seeded sequence of faults, a line each, and the table.

Exit code 1: an aim was missed. What failed is told with the command that plays it again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from infrastructure.errors import PermanentError, UiciError
from tests.chaos import records, soak
from tests.chaos.agent import agent
from tests.chaos.oracle import Oracle
from tests.chaos.page import save
from tests.chaos.play import CONTROL, KINDS, Outcome, Player, sequence
from tests.chaos.stage import stage
from tests.chaos.table import COLUMNS, aims, complaints, line, rows

_FAULTS = 200
_ENDS = (signal.SIGINT, signal.SIGTERM)
_ENDED = 130  # exit code of what was ended early


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, judge. 0: every aim was met."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    kept = {number: signal.signal(number, _interrupt) for number in _ENDS}
    try:
        if "--soak" in words:
            return soak.main([word for word in words if word != "--soak"])
        return _main(_parser().parse_args(words), console)
    except UiciError as exc:
        console.print(f"it could not be played: {exc}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("ended early; all that was started has been ended")
        return _ENDED
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _main(asked: argparse.Namespace, console: Console) -> int:
    if asked.list:
        print("\n".join(KINDS))  # noqa: T201 - the answer
        return 0
    if asked.table:
        read = [outcome for path in asked.table for outcome in records.read(path)]
        return _summary(asked, read, console)
    chosen = _chosen(asked)
    outcomes: list[Outcome] = []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="uici-chaos-") as folder,
            contextlib.closing(_played(asked, chosen, Path(folder), console)) as played,
        ):
            for outcome in played:
                outcomes.append(outcome)
                if asked.record:
                    records.append(asked.record, outcome)
    except KeyboardInterrupt:
        console.print(f"ended early, after {len(outcomes)}; all that was started has been ended")
        _summary(asked, outcomes, console)
        return _ENDED
    return _summary(asked, outcomes, console)


def _played(
    asked: argparse.Namespace, chosen: Iterable[tuple[int, str]], folder: Path, console: Console
) -> Generator[Outcome, None, None]:
    began = time.monotonic()
    with contextlib.ExitStack() as running:
        running.enter_context(log_to(folder / "agent.log"))
        on = running.enter_context(stage(folder, model=asked.model))
        oracle = running.enter_context(contextlib.closing(Oracle(on)))
        player = Player(on, oracle, running.enter_context(agent(on.config)))
        player.converge()
        console.print(f"seed {asked.seed}; the stack is up after {time.monotonic() - began:.0f} s")
        for index, kind in chosen:
            outcome = player.play(index, kind, asked.seed)
            console.print(line(outcome), markup=False, soft_wrap=True)
            for text in complaints(outcome) if not outcome.passed else ():
                console.print(f"     {text}", markup=False, soft_wrap=True)
            if not outcome.passed:
                again = f"--seed {asked.seed} --at {index}"
                console.print(f'     again: make chaos CHAOS="{again}"', markup=False)
            yield outcome
            if not outcome.settled and not _rescued(player, console):
                break
        console.print(f"played for {time.monotonic() - began:.0f} s")


def _rescued(player: Player, console: Console) -> bool:
    try:
        player.rescue()
    except RuntimeError as exc:
        console.print(f"     given up: {exc}", markup=False, soft_wrap=True)
        return False
    return True


def _chosen(asked: argparse.Namespace) -> list[tuple[int, str]]:
    """Places and kinds that are to be played."""
    everything = sequence(asked.seed, list(KINDS))
    if asked.at is not None:
        return [next(pair for pair in everything if pair[0] == asked.at)]
    kinds = asked.kinds.split(",") if asked.kinds else list(KINDS)
    if strange := sorted(set(kinds) - set(KINDS)):
        raise PermanentError(f"no such kind: {', '.join(strange)}; --list tells them")
    wanted = set(kinds) if asked.kinds else set(KINDS)
    fit = (pair for pair in everything if pair[1] in wanted)
    if wanted == {CONTROL}:
        return list(itertools.islice(fit, asked.faults))
    chosen: list[tuple[int, str]] = []
    faults = 0
    while faults < asked.faults:
        chosen.append(next(fit))
        faults += chosen[-1][1] != CONTROL
    return chosen


def _summary(asked: argparse.Namespace, outcomes: Sequence[Outcome], console: Console) -> int:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column)
    for row in rows(outcomes):
        table.add_row(*row)
    console.print(table)
    reached = aims(outcomes)
    for aim in reached:
        console.print(str(aim), markup=False)
    if asked.save:
        console.print(f"kept in {save(outcomes)}")
    return int(not all(aim.met for aim in reached))


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """The agent's own log goes to a file: what is judged here is the world."""
    with path.open("w") as file:
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(file))
        try:
            yield
        finally:
            structlog.reset_defaults()


def _interrupt(*_: object) -> None:
    """The first one ends what is played; what is then cleared away is not to be broken off."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=_FAULTS, metavar="N", help="without controls")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--kinds", metavar="A,B", help="only these, without controls")
    parser.add_argument("--at", type=int, metavar="INDEX", help="only this one of the sequence")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add each outcome to a file")
    parser.add_argument(
        "--table", type=Path, nargs="+", metavar="FILE", help="play nothing; sum up such files"
    )
    parser.add_argument("--list", action="store_true", help="tell the kinds")
    parser.add_argument("--model", action="store_true", help="the LLM of platform.yml plans")
    parser.add_argument("--soak", action="store_true", help="the long run; see soak.py")
    parser.add_argument("--save", action="store_true", help="keep docs/CHAOS.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
