"""`uici knowledge`: what was learned, where it stands, how it has fared."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.command_line.output import escape, new_console, new_table
from flows.learning.binding import mistakes
from flows.learning.learn import Standing, standing
from flows.learning.shelf import Shelf, knowledge_path
from flows.reporting.text import plain
from infrastructure.errors import NotFoundError
from infrastructure.knowledge import Knowledge, LearnedResolution
from infrastructure.operation_registry import OperationRegistry

_EMPTY = (
    "Nothing was learned yet. A class of incidents appears here once a plan was carried out\n"
    "and the service verified, or not, to have recovered. {trust} recoveries in a row make a\n"
    "class trusted: it is planned without a model from then on (learning.trustAfter)."
)
_COLOURS = {Standing.TRUSTED: "green", Standing.ON_TRIAL: "yellow", Standing.DISABLED: "dim"}


def _shown(text: object) -> str:
    """Anything of a file, on one line: people edit these files, and so does who can push."""
    line = str(text)
    return escape(plain(line, len(line) or 1))


def knowledge_data(
    shelf: Shelf, wanted: str, trust_after: int, registry: OperationRegistry
) -> dict[str, Any]:
    """The JSON document: every class, or the one that is wanted.

    Of a resolution that no target could be mended by, `neverUsed` says why.

    Raises:
        NotFoundError: there is no such class; names the closest.
    """
    known = shelf.all()
    if wanted and wanted not in shelf.files:
        close = difflib.get_close_matches(wanted, shelf.files, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "uici knowledge lists all"
        raise NotFoundError(f"nothing was learned about a class named {wanted}: {hint}")
    shown = {name: k for name, k in known.items() if not wanted or name == wanted}
    return {
        "apiVersion": "uici/v1",
        "kind": "KnowledgeList",
        "trustAfter": trust_after,
        "classes": [_class_data(each, trust_after, registry) for each in shown.values()],
        "problems": [str(p) for p in shelf.problems() if not wanted or wanted in p.file],
    }


def _class_data(known: Knowledge, trust_after: int, registry: OperationRegistry) -> dict[str, Any]:
    data = known.model_dump(mode="json", by_alias=True, exclude={"resolutions"})
    resolutions = [
        {
            "state": standing(known, resolution, trust_after).value,
            **_never_used(resolution, registry),
            **resolution.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        for resolution in known.resolutions
    ]
    return {**data, "path": knowledge_path(known.class_), "resolutions": resolutions}


def _never_used(resolution: LearnedResolution, registry: OperationRegistry) -> dict[str, str]:
    wrong = next(mistakes(resolution, registry), None)
    return {} if wrong is None else {"neverUsed": wrong}


def show(data: Mapping[str, Any], *, one: bool) -> None:
    """For people: a table, or everything about one class."""
    console = new_console()
    for problem in data["problems"]:
        console.print(f"[yellow]ignored[/]  {_shown(problem)}", soft_wrap=True)
    classes = data["classes"]
    if not classes and not data["problems"]:
        console.print(_EMPTY.format(trust=data["trustAfter"]))
    elif one:
        for each in classes:
            _show_class(console, each)
    elif classes:
        console.print(_table(classes))


def _table(classes: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("class", "state", "worked", "in a row", "median", "last used", "steps")
    for each in classes:
        for number, resolution in enumerate(each["resolutions"] or [{}]):
            name = _shown(each["class"]) if number == 0 else ""
            table.add_row(name, *(_cells(resolution) if resolution else ["", "no resolution"]))
    return table


def _cells(resolution: Mapping[str, Any]) -> list[str]:
    state = Standing(resolution["state"])
    tries = resolution["successes"] + resolution["failures"]
    wrong = resolution.get("neverUsed")
    return [
        f"[{_COLOURS[state]}]{state.value}[/]" if wrong is None else f"never used: {_shown(wrong)}",
        f"{resolution['successes']} of {tries}",
        str(resolution["inARow"]),
        _seconds(resolution),
        _shown(str(resolution.get("lastUsed", ""))[:16].replace("T", " ")),
        _shown(", ".join(_step(step) for step in resolution["steps"])),
    ]


def _show_class(console: Console, each: Mapping[str, Any]) -> None:
    console.print(f"[bold]{_shown(each['class'])}[/]  {_shown(each['path'])}", soft_wrap=True)
    for key, value in each["when"].items():
        if value:
            told = ", ".join(value) if isinstance(value, list) else str(value)
            console.print(f"  {key}: {_shown(told)}", soft_wrap=True)
    if each["disabled"]:
        console.print(f"  [dim]disabled[/]: {_shown(each['reason'])}", soft_wrap=True)
    for resolution in each["resolutions"]:
        state, worked, row, median, last, steps = _cells(resolution)
        console.print(f"  {steps}", soft_wrap=True)
        fared = f"worked {worked}, {row} in a row, median {median or 'unknown'}, last {last}"
        console.print(f"    {state}; {fared}; by {_shown(resolution['planner'])}", soft_wrap=True)
        if resolution["reason"]:
            console.print(f"    reason: {_shown(resolution['reason'])}", soft_wrap=True)
        for trial in resolution["evidence"]:
            word = "helped" if trial["helped"] else "did not help"
            line = f"{trial['at'][:16]} {trial['target']} {word} (run {trial['run']})"
            console.print(f"    {_shown(line)}", soft_wrap=True)


def _step(step: Mapping[str, Any]) -> str:
    parameters = " ".join(f"{key}={value}" for key, value in step["parameters"].items())
    return f"{step['operation']} {parameters}".strip()


def _seconds(resolution: Mapping[str, Any]) -> str:
    median = resolution.get("medianSeconds")
    return "" if median is None else f"{median:.1f} s"
