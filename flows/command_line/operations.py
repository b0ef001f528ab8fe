"""`uici operations`: what can be asked for, how risky it is, how each place does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from executors.translator import CommandTranslator
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
        data["modelSchema"] = registry.schema_for_model(shown)
    return Listing(tuple(sorted(can)), data)


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


def show(listed: Listing) -> None:
    """Print the catalogue as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("operation", "risk", "parameters", *listed.environments):
        table.add_column(heading, overflow="fold")
    for entry in listed.data["operations"]:
        places = [
            ", ".join(dict.fromkeys(c.partition(" if ")[0] for c in entry["environments"][place]))
            if place in entry["environments"]
            else "–"
            for place in listed.environments
        ]
        cells = (entry["name"], entry["risk"], _parameters(entry["parameters"]), *places)
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def _parameters(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    return ", ".join(
        name if name in required else f"[{name}]" for name in schema.get("properties", {})
    )
