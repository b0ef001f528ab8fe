"""Tables, links and pictures of the pages. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from urllib.parse import quote


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, limit: int) -> list[str]:
    """At most `limit` rows, and how many more there are. Cells are Markdown already."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows[:limit]]
    if len(rows) > limit:
        rest = [f"and {len(rows) - limit} more", *[""] * (len(head) - 1)]
        lines.append("| " + " | ".join(rest) + " |")
    return lines


def link(words: str, path: str, *, page: str) -> str:
    """A link to a file of the branch, relative to the page: it holds wherever the repo lies.

    Args:
        words: Markdown.
        path: from the top of the branch.
        page: path of the page that it stands on.
    """
    relative = posixpath.relpath(path, posixpath.dirname(page) or ".")
    return f"[{words}]({quote(relative)})"


def picture(words: str, path: str, *, page: str) -> str:
    """A picture that lies on the branch."""
    return "!" + link(words, path, page=page)
