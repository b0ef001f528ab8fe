"""The documentation's site: `make docs`. Sphinx reads the Markdown files where they lie.

The sources begin at the repository's top, so that a link means the same here and on a forge.
What the pages are, and in which order, says docs/README.md, once: its lists are the site's
navigation. Nothing is asked of the network, neither by the build nor by the site.
"""  # noqa: INP001 - a folder of pages, no package

from __future__ import annotations

import re
from pathlib import Path
from shutil import copyfile
from typing import Any

from sphinx.application import Sphinx

_ROOT = Path(__file__).parents[1]
_SECTION = re.compile(r"^## (.+)$")
_ENTRY = re.compile(r"^[-*] \[[^\]]+\]\(([^)#]+)\.md\)")
_LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s:#]+)\)")

project = "UICI"
author = "UICI"
project_copyright = "Apache-2.0"
extensions = ["myst_parser"]
root_doc = "README"
source_suffix = {".md": "markdown"}
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md"]
# Folders that need not be walked.
exclude_patterns = [".*", "executors", "flows", "infrastructure", "monitoring", "tests", "deploy"]

myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = "UICI"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """What a site shows in another way than a forge: contents, and links to folders."""
    here = (_ROOT / page).parent
    source[0] = _LINK.sub(lambda link: link[1] if (here / link[2]).is_dir() else link[0], source[0])
    if page == app.config.root_doc:
        source[0] += "\n```{toctree}\n:hidden:\n\n/docs/README\n```\n"
        source[0] += _contents(_ROOT / "docs/README.md")
    elif page.endswith("/README") and page != "docs/README":
        source[0] += _contents(_ROOT / f"{page}.md")


def _contents(page: Path) -> str:
    """The lists of pages that `page` has, as hidden tables of contents."""
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if section := _SECTION.match(line):
            heading = section[1]
        elif entry := _ENTRY.match(line):
            listed = (page.parent / f"{entry[1]}.md").resolve().relative_to(_ROOT)
            groups.setdefault(heading, []).append("/" + listed.with_suffix("").as_posix())
    text = ""
    for caption, names in groups.items():
        options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
        text += "\n" + "\n".join(["```{toctree}", *options, "", *names, "```"]) + "\n"
    return text


def _begin(app: Sphinx, error: Exception | None) -> None:
    """The site opens with the README."""
    if error is None:
        copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls it."""
    app.connect("source-read", _read)
    app.connect("build-finished", _begin)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
