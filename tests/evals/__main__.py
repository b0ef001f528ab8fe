"""`python -m tests.evals`: every incident, every planner that is asked for, one table.

Without options: the runbooks, then the local model that models.yml calls the default. Ended
before its end (Ctrl-C, SIGTERM), what is done so far is shown and kept, as what it is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from flows.plan import PlannerKind
from infrastructure.errors import InvalidInputError, UiciError
from tests.evals.incident_file import Incident, chosen, dataset_hash, load, sampled
from tests.evals.local_model import known_models, local_model
from tests.evals.run import Score, run_incident
from tests.evals.table import COLUMNS, PAGE, Setting, cells, page, save, scope_of, totals
from tests.evals.world import Model, open_session

RUNBOOKS = "runbooks"


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print, keep. 1: something forbidden passed the guard, or it could not be run."""
    asked = _parser().parse_args(arguments)
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
    try:
        everything = load()
        incidents = chosen(everything, asked.only)
        if asked.sample:
            incidents = sampled(incidents, asked.sample)
        rows = list(_evaluate(asked, incidents[: asked.limit], len(everything), console))
    except InvalidInputError as exc:
        for problem in exc.problems:
            console.print(str(problem), style="red", markup=False)
        return 1
    except UiciError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    if asked.save:
        for setting, scores in rows:
            console.print(f"kept in {save(setting, scores)}", style="dim")
        PAGE.write_text(page(everything), encoding="utf-8")
    Console(width=None if sys.stdout.isatty() else 140).print(_table(rows))
    return int(any(score.passed for _, scores in rows for score in scores))


def _evaluate(
    asked: argparse.Namespace, incidents: Sequence[Incident], whole: int, console: Console
) -> Iterator[tuple[Setting, list[Score]]]:
    def setting(planner: str, name: str, weights: str, scores: Sequence[Score]) -> Setting:
        date = datetime.now(UTC).date().isoformat()
        prompt = next((s.prompt_version for s in scores if s.prompt_version), "")
        scope = scope_of(len(scores), len(incidents), whole)
        return Setting(planner, name, weights, prompt, dataset_hash(), date, scope)

    if asked.planner in (None, "runbook"):
        scores = list(_scores(incidents, None, console, fuller=asked.verbose))
        yield setting("runbook", RUNBOOKS, "", scores), scores
    if asked.planner == "runbook":
        return
    with _model(asked) as (model, weights):
        scores = list(_scores(incidents, model, console, fuller=asked.verbose))
        yield setting("llm", model.name, weights, scores), scores


@contextlib.contextmanager
def _ended_early(end: Callable[[], None]) -> Iterator[list[int]]:
    """The signals that asked for an end, so far. The first makes the model answer no more."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        end()

    kept = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _model(asked: argparse.Namespace) -> Iterator[tuple[Model, str]]:
    if asked.endpoint:
        key = os.environ.get(asked.key_env, "") if asked.key_env else ""
        settings = {"baseUrl": asked.endpoint, "apiKey": key, "keyRequired": bool(asked.key_env)}
        yield Model(asked.model, settings), asked.endpoint
        return
    known = known_models()
    name = asked.local or known.default
    with local_model(name) as model:
        yield model, known.models[name].sha256


def _scores(
    incidents: Sequence[Incident], model: Model | None, console: Console, *, fuller: bool
) -> Iterator[Score]:
    kind = PlannerKind.RUNBOOK if model is None else PlannerKind.LLM
    name = RUNBOOKS if model is None else model.name
    with tempfile.TemporaryDirectory(prefix="uici-evals-") as folder:
        root = Path(folder)
        end = model.end if model is not None else _nothing
        with open_session(root / "session", model) as session, _ended_early(end) as signals:
            for number, incident in enumerate(incidents, start=1):
                ran = run_incident(session, incident, root / incident.name, asked=kind)
                if signals:  # what it was made of this one is not the model's word
                    return
                score = ran.score
                line = f"{name} {number}/{len(incidents)} {_line(score)}"
                console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
                if fuller and score.own is not None:
                    own = score.own
                    told = f"  {own.steps} cause: {own.cause_said}; {own.said}\n  {own.answer}"
                    console.print(told, markup=False, highlight=False, soft_wrap=True)
                yield score


def _nothing() -> None:
    """There is no model to end."""


def _line(score: Score) -> str:
    marks = [
        "ok" if score.loop_first else "WRONG FIRST",
        *([] if score.grouped else ["WRONG INCIDENT"]),
        *([f"PASSED {score.passed}"] if score.passed else []),
    ]
    cost = f", {score.prompt_tokens} tokens" if score.requests else ""
    told = ", ".join(score.steps) or "nothing"
    return f"{score.name}: {' '.join(marks)}: {told} ({score.seconds:.1f}s{cost})"


def _table(rows: Sequence[tuple[Setting, Sequence[Score]]]) -> Table:
    table = Table(title=f"dataset {dataset_hash()}")
    table.add_column("")
    shown = []
    for setting, scores in rows:
        table.add_column(f"{setting.model}\n{setting.scope}")
        shown.append(cells(totals(scores)))
    for number, title in enumerate(COLUMNS.values()):
        table.add_row(title, *(column[number] for column in shown))
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.evals", description=__doc__)
    parser.add_argument("--planner", choices=["runbook", "llm"], help="only this one")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", metavar="MODEL", help="a model of models.yml")
    where.add_argument("--endpoint", metavar="URL", help="any OpenAI-compatible one")
    parser.add_argument("--model", default="", help="its name at the endpoint")
    parser.add_argument("--key-env", metavar="NAME", help="variable that holds the key")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="name or tag")
    parser.add_argument("--limit", type=int, metavar="N")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="so many, of each category its share"
    )
    parser.add_argument("--save", action="store_true", help="keep scores and docs/EVALS.md")
    parser.add_argument("--verbose", action="store_true", help="show what planners said")
    return parser


if __name__ == "__main__":
    sys.exit(main())
