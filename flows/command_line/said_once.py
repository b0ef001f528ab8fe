"""An error that is known in several places is said once; later lines refer to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from flows.command_line.sentence import Sentence

_LONG = 40  # characters; what is shorter is said again sooner than looked up
_START = 60  # by which a text is known again; elsewhere it may be cut


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and the words that refer to the place where it is said."""

    text: str
    refer: str


def said_once(
    known: Iterable[Said], before: str, sections: Sequence[Sequence[Sentence]]
) -> list[list[Sentence]]:
    """The lines, in the order in which they are read, with each known text only once.

    Args:
        known: what may be repeated; short texts stay as they are.
        before: what was read before the first section.
        sections: their lines.
    """
    lines = [list(section) for section in sections]
    for said in known:
        text = said.text.rstrip(".")
        if len(text) < _LONG:
            continue
        told = text[:_START] in before
        for section in lines:
            for number, line in enumerate(section):
                if not told:
                    told = text[:_START] in str(line)
                else:
                    section[number] = line.of_words(partial(_referred, text=text, refer=said.refer))
    return lines


def _referred(part: str, *, text: str, refer: str) -> str:
    """The part with the text replaced, wherever it stands whole or cut.

    What only begins alike is another error.
    """
    start = part.find(text[:_START])
    if start < 0:
        return part
    rest = part[start:]
    same = next((n for n, (a, b) in enumerate(zip(rest, text, strict=False)) if a != b), None)
    if same is not None and rest[same] != "…":
        told = start + _START
        return part[:told] + _referred(part[told:], text=text, refer=refer)
    end = start + (same if same is not None else min(len(rest), len(text)))
    after = part[end:].removeprefix("…")
    return f"{part[:start]}{refer}{_referred(after, text=text, refer=refer)}"
