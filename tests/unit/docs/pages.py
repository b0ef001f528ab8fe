"""The pages of the documentation, as Markdown parsers see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

from flows.demo.place import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "monitoring/**/*.md")
    for path in ROOT.glob(pattern)
)


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code: the page's path, its first line there, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    parser = MarkdownIt("commonmark").enable("table").use(anchors_plugin, max_level=6)
    return tuple(parser.parse(page.read_text(encoding="utf-8")))


def anchors(page: Path) -> frozenset[str]:
    """What a link may name after #: the headings, as forges call them."""
    found = [t.attrGet("id") for t in tokens(page) if t.type == "heading_open"]
    return frozenset(str(name) for name in found if name)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link and image."""
    for block in tokens(page):
        line = block.map[0] + 1 if block.map else 0
        for child in block.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield line, unquote(str(target))


def fences(page: Path) -> Iterator[Fence]:
    """Every block of code."""
    for block in tokens(page):
        if block.type == "fence" and block.map:
            name = str(page.relative_to(ROOT))
            yield Fence(name, block.map[0] + 1, block.info.strip(), block.content)
