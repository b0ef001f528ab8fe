"""Every link of a page leads somewhere, to files of the repository and to headings too."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.demo.place import ROOT
from tests.unit.docs.pages import PAGES, anchors, links

FOUND = [
    pytest.param(page, target, id=f"{page.relative_to(ROOT)}:{line} {target}")
    for page in PAGES
    for line, target in links(page)
    if not target.startswith(("http://", "https://", "mailto:"))
]
SITE = [p for p in PAGES if p.parent == ROOT or p.is_relative_to(ROOT / "docs")]


def test_the_pages_have_links() -> None:
    assert len(FOUND) > 50


@pytest.mark.parametrize(("page", "target"), FOUND)
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.exists(), f"there is no {there.relative_to(ROOT)}"
    assert there.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(there), f"it has {sorted(anchors(there))}"


def test_every_page_is_reached_from_the_contents() -> None:
    contents = ROOT / "docs/README.md"
    reached: set[Path] = set()
    waiting = [contents, ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        if page.name != "README.md":
            continue  # contents only: a mention in a text is no way to a page
        targets = (t.partition("#")[0] for _, t in links(page) if "://" not in t)
        waiting += [there for t in targets if (there := (page.parent / t).resolve()) in SITE]
    assert sorted(p.name for p in set(SITE) - reached) == []


def test_no_page_names_a_server_that_readers_would_ask() -> None:
    """An image from elsewhere would tell somebody who reads what."""
    remote = [
        (str(page), target)
        for page in PAGES
        for line, target in links(page)
        if "://" in target and target.rsplit(".", 1)[-1] in {"png", "svg", "gif", "jpg"}
    ]
    assert remote == []
