"""A badge: a label and a few words in a colour, as a small SVG. Pure."""

from __future__ import annotations

import html
from enum import StrEnum

from flows.reporting.text import plain

_CHAR = 6.6  # pixels of one character at 11 px, about
_PAD = 12
_LIMIT = 60


class Colour(StrEnum):
    """What a badge says before it is read."""

    GOOD = "#2da44e"
    WARNING = "#bf8700"
    BAD = "#cf222e"
    PLAIN = "#57606a"


def badge(label: str, words: str, colour: Colour) -> bytes:
    """`label | words`, the words on the colour."""
    label, words = plain(label, _LIMIT), plain(words, _LIMIT)
    left, right = (round(len(text) * _CHAR) + _PAD for text in (label, words))
    width = left + right
    said, name = html.escape(words), html.escape(label)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img"'
        f' aria-label="{name}: {said}"><rect width="{width}" height="20" rx="3" fill="#444c56"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
        f' text-anchor="middle"><text x="{left / 2:g}" y="14">{name}</text>'
        f'<text x="{left + right / 2:g}" y="14">{said}</text></g></svg>\n'
    ).encode(errors="replace")
