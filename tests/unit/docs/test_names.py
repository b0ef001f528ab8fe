"""Files, targets of make and modules that the pages name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.demo.place import ROOT
from tests.unit.docs.pages import PAGES, fences, tokens

_PATH = re.compile(
    r"(?<![\w/.~-])(?:\./)?((?:deploy|docs|executors|flows|infrastructure|monitoring|tests|desired-state)"
    r"/[A-Za-z0-9_./-]*[A-Za-z0-9_/])"
)
_MAKE = re.compile(r"(?:^|\$ |`|sudo )make ([a-z]+)\b", re.MULTILINE)
# What deploy/configure.sh writes, and what readers put where they like.
_MADE = (
    "deploy/compose/uici",
    "deploy/compose/secrets",
    "deploy/.env",
    "deploy/kubernetes/base/config",
)
_EXAMPLES = ("executors/folder.py", "flows/x")


def code(page: Path) -> str:
    spans = [c.content for t in tokens(page) for c in t.children or () if c.type == "code_inline"]
    return "\n".join([*spans, *(fence.text for fence in fences(page))])


def named(page: Path) -> set[str]:
    found = {match.group(1) for match in _PATH.finditer(code(page))}
    return {name for name in found if not name.startswith((*_MADE, *_EXAMPLES))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    missing = {n for n in named(page) if not (ROOT / n).exists() and not (page.parent / n).exists()}
    assert missing == set()


def test_the_pages_name_files() -> None:
    assert sum(len(named(page)) for page in PAGES) > 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_target_of_make_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(_MAKE.findall(code(page))) <= targets
