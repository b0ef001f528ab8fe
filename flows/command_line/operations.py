"""`uici operations`: what can be asked for, how risky it is, how each place does it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from executors.translator import CommandTranslator
from flows.command_line.output import escape
from flows.llm.menu import menu_of, offered
from infrastructure.config_loader import UniversalConfig
from infrastructure.config_models import TranslationStep
from infrastructure.operation_registry import OperationRegistry


@dataclass(frozen=True, slots=True)
class Listing:
    """The catalogue; `data` is the JSON document."""

    environments: tuple[str, ...]
    data: dict[str, Any]


def listing(config: UniversalConfig, environment: str | None) -> Listing:
    """The operations of one environment, or of all.

    Raises:
        PermanentError: there is no such environment.
    """
    registry = OperationRegistry(config.operations)
    translator = CommandTranslator(config.translations)
    places = (
        {environment: config.get_environment(environment)}
        if environment
        else dict(config.environments.environments)
    )
    can = {name: translator.operations(place.executor) for name, place in places.items()}
    shown = [n for n in registry.names() if not environment or n in can[environment]]
    operations = [
        {
            "name": name,
            **registry.describe(name),
            "environments": {
                place: _translation(config, places[place].executor, name)
                for place in sorted(can)
                if name in can[place]
            },
        }
        for name in shown
    ]
    data: dict[str, Any] = {"operations": operations}
    if environment:
        data |= _offered(config, registry, can[environment])
    return Listing(tuple(sorted(can)), data)


def _offered(
    config: UniversalConfig, registry: OperationRegistry, has: frozenset[str]
) -> dict[str, Any]:
    """What a model is offered, but for names of targets, which are desired state's."""
    menu = menu_of(registry, has, looks=config.platform.llm.isolation.rounds > 0)
    whole, _ = offered(registry, menu, tools=False)
    answer, functions = offered(registry, menu, tools=True)
    return {
        "modelSchema": whole,
        "modelTools": {"answerSchema": answer, "functions": list(functions)},
    }


def _translation(config: UniversalConfig, executor: str, name: str) -> list[str]:
    translations = config.translations.translations
    own = translations.get(executor, {}).get(name)
    steps = own if own is not None else translations.get("platform", {}).get(name, ())
    return list(_calls(steps))


def _calls(steps: Iterable[TranslationStep]) -> Iterable[str]:
    for step in steps:
        when = f" if {step.when}" if step.when is not None else ""
        if step.call is None:
            yield "for each instance: " + ", ".join(_calls(step.do)) + when
        else:
            yield step.call + when


def show(listed: Listing, console: Console | None = None) -> None:
    """Print the catalogue: as a table where it is wide enough, else in paragraphs.

    No word of it is ever cut in two.
    """
    width = None if sys.stdout.isatty() else _UNWATCHED
    console = console or Console(highlight=False, width=width)
    rows = [_row(entry, listed.environments) for entry in listed.data["operations"]]
    if not rows:
        console.print("no operation: none of operations.yml has a translation for it")
        return
    head = ("operation", "risk", "parameters", *listed.environments)
    widths = [
        max(len(line) for cell in column for line in cell) for column in zip(*rows, strict=True)
    ]
    widths = [max(width, len(name)) for width, name in zip(widths, head, strict=True)]
    if sum(widths) + 2 * len(head) > console.width:
        _paragraphs(console, rows, listed.environments)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in head:
        table.add_column(escape(heading), no_wrap=True)
    for row in rows:
        table.add_row(*("\n".join(map(escape, cell)) for cell in row))
    console.print(table)


_UNWATCHED = 200  # columns where nobody watches, so that lines are whole for grep
_Row = tuple[tuple[str, ...], ...]  # cells, each of lines


def _row(entry: Mapping[str, Any], environments: Iterable[str]) -> _Row:
    places = (entry["environments"].get(place) for place in environments)
    calls = (tuple(map(_briefly, found)) if found is not None else ("–",) for found in places)
    return (entry["name"],), (entry["risk"],), (_parameters(entry["parameters"]),), *calls


def _paragraphs(console: Console, rows: Iterable[_Row], environments: Sequence[str]) -> None:
    for (name,), (risk,), (parameters,), *places in rows:
        told = f" {parameters}" if parameters else ""
        console.print(f"[bold]{escape(name)}[/] ({escape(risk)}){escape(told)}")
        for place, calls in zip(environments, places, strict=True):
            console.print(f"  {escape(place)}: {escape('; '.join(calls))}")


_WHEN = re.compile(r"\{\{\s*(.*?)\s*\}\}")


def _briefly(call: str) -> str:
    """A call with its condition as a person reads it: `restart if strategy == 'force'`."""
    return _WHEN.sub(r"\1", call).replace("parameters.", "")


def _parameters(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    return ", ".join(
        name if name in required else f"[{name}]" for name in schema.get("properties", {})
    )
