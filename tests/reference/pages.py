"""Which pages there are, and where."""

from __future__ import annotations

from pathlib import Path

from flows.demo.place import ROOT
from infrastructure.config_models import (
    Agents,
    CommandTranslations,
    Environments,
    Operations,
    Platform,
    Runbooks,
)
from infrastructure.knowledge import Knowledge
from infrastructure.pause import Pause
from infrastructure.service import Document, Service
from infrastructure.sources.source import Source
from tests.reference import commands, events, operations
from tests.reference.models import model_page

FOLDER = ROOT / "docs/reference"
MADE = "<!-- Made by `make docs` from the source; do not edit by hand. -->\n\n"

CONFIG: dict[str, type[Document]] = {
    "platform": Platform,
    "agents": Agents,
    "environments": Environments,
    "operations": Operations,
    "command_translations": CommandTranslations,
    "runbooks": Runbooks,
}
_STATE: dict[str, tuple[type[Document], str]] = {
    "service": (Service, "A file of the state repository: [an example](../../README.md)."),
    "source": (Source, "How it is used: [sources](../how-to/sources.md)."),
    "pause": (
        Pause,
        "While the file `git.pauseFile` is there, nothing is changed ([how](../how-to/guard.md)).",
    ),
    "knowledge": (
        Knowledge,
        "A file of `knowledge/` on the reports branch ([how](../how-to/knowledge.md)).",
    ),
}


def pages() -> dict[Path, str]:
    """Path → text of every page. The same source always gives the same text."""
    made = {
        f"config/{name}.md": model_page(
            f"{name}.yml", model, example=ROOT / f"infrastructure/config/{name}.yml", intro=_INTRO
        )
        for name, model in CONFIG.items()
    }
    made |= {
        f"{name}.md": model_page(f"kind {model.__name__}", model, example=None, intro=intro)
        for name, (model, intro) in _STATE.items()
    }
    made |= {
        "operations.md": operations.page(),
        "commands.md": commands.page(),
        "events.md": events.page(),
    }
    return {FOLDER / name: MADE + text for name, text in made.items()}


_INTRO = (
    "An *optional* key may be left out; every other has to be there. What is shipped and too long"
    " for this page is to be read in the file itself. `${env:NAME}`, `${env:NAME:-default}` and"
    " `${file:/path}` may stand wherever a single value stands."
)
