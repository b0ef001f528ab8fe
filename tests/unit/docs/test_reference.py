"""The generated pages say what the source says now, and say something of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.json_schemas import json_schema
from infrastructure.knowledge import Knowledge
from infrastructure.pause import Pause
from infrastructure.service import Document, Service
from infrastructure.sources.source import Source
from tests.reference.events import emitted
from tests.reference.pages import CONFIG, FOLDER, pages

PAGES = pages()
MODELS: list[type[Document]] = [*CONFIG.values(), Service, Source, Pause, Knowledge]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_committed_page_is_current(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make docs` and commit the result"


def test_no_page_is_left_over() -> None:
    written = {p for p in FOLDER.rglob("*.md") if p.name != "README.md"}
    assert written == set(PAGES)


def untold(schema: dict[str, Any]) -> Iterator[str]:
    for name, part in {"": schema, **schema.get("$defs", {})}.items():
        for key, value in part.get("properties", {}).items():
            if not value.get("description") and key not in {"apiVersion", "kind"}:
                yield f"{name}.{key}"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_has_a_meaning(model: type[Document]) -> None:
    """In the docstring's section "Attributes"; editors show it, too."""
    assert list(untold(json_schema(model))) == []


def test_every_event_has_its_payload() -> None:
    assert all(emitted().values())
    assert "uici.target.recovered" in emitted()


def test_no_cell_shows_what_python_calls_it() -> None:
    for path, text in PAGES.items():
        assert not re.search(r"<class|object at 0x|\bNone\b|\bTrue\b", text), path.name
