"""What a regular expression can cost on a hostile line, from its text alone.

Python's `re` backtracks and can't be interrupted: a pattern such as `(a+)+b` takes for ever
on a line of forty letters. This reads a pattern as `re` does, roughly, and refuses what
repeats a repetition, or has so many wide repetitions in a row that a line of `LONGEST_LINE`
characters would take long. It refuses some harmless ones; they can be written otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache

# Characters of a line that patterns are matched on.
LONGEST_LINE = 400
# Steps, at most: tens of nanoseconds each.
_STEPS = 20_000_000
# A repetition of fewer is no wide one.
_NARROW = 10
_TIMES = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_OPENING = re.compile(r"\((?:\?(?:P<\w+>|P=\w+|[aiLmsux-]*:|<?[=!]|>|#[^)]*|[aiLmsux]+))?")


@dataclass
class _Part:
    """A pattern or a group of it: the widths of its repetitions, of the costliest alternative."""

    widths: list[int] = field(default_factory=list)
    costliest: list[int] = field(default_factory=list)
    alternatives: bool = False

    def alternative(self) -> None:
        """What follows is another one."""
        self.alternatives = True
        self.costliest = max(self.costliest, self.widths, key=_steps)
        self.widths = []

    def close(self) -> list[int]:
        """The widths of the costliest."""
        return max(self.costliest, self.widths, key=_steps)


def _steps(widths: list[int]) -> float:
    """From every place of the line, every way to share it out, and every small choice."""
    wide = [width for width in widths if width >= _NARROW]
    shares = math.prod(map(float, wide)) / math.factorial(min(len(wide), 100) + 1)
    choices = math.prod(float(width) for width in widths if width < _NARROW)
    return LONGEST_LINE * shares * choices


@lru_cache(maxsize=1024)
def danger(pattern: str) -> str:
    """Why a pattern may take too long, in one line; empty: it does not.

    Args:
        pattern: one that compiles.
    """
    parts = [_Part()]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        inner: list[int] = []
        alternatives = False
        if char == "(":
            parts.append(_Part())
            opening = _OPENING.match(pattern, position)
            position = opening.end() if opening else position + 1
            if opening is not None and _complete(opening[0]):
                parts.pop()
                position += pattern[position : position + 1] == ")"
            continue
        if char == "|":
            parts[-1].alternative()
            position += 1
            continue
        if char == ")":
            closed = parts.pop()
            inner, alternatives = closed.close(), closed.alternatives
        position = _atom_end(pattern, position)
        least, most, position = _quantifier(pattern, position)
        if most >= _NARROW and (inner or alternatives):
            return "it repeats a group that repeats something itself, or has alternatives"
        parts[-1].widths += [*inner, *([2] if alternatives and most > 1 else [])] * most
        if most > least:
            parts[-1].widths.append(min(most - least + 1, LONGEST_LINE))
    if _steps(parts[0].close()) > _STEPS:
        return "it has too many wide repetitions in a row: bound them, as in [^ ]{1,60}"
    return ""


def _complete(opening: str) -> bool:
    """Whether it is no group: a flag, a comment, a reference back."""
    return bool(re.fullmatch(r"\(\?(?:[aiLmsux]+|#[^)]*|P=\w+)", opening))


def _atom_end(pattern: str, position: int) -> int:
    if pattern[position] == "\\":
        return position + 2
    if pattern[position] != "[":
        return position + 1
    end = position + 1
    end += pattern[end : end + 1] == "^"
    end += 1  # a bracket that comes first is one of the class
    while end < len(pattern) and pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1


def _quantifier(pattern: str, position: int) -> tuple[int, int, int]:
    """How often at least and at most the atom before is met, and where what follows begins."""
    times = _TIMES.match(pattern, position)
    if pattern[position : position + 1] in {"*", "+"}:
        least, most, end = 0, LONGEST_LINE, position + 1
    elif pattern[position : position + 1] == "?":
        least, most, end = 0, 1, position + 1
    elif times is not None and (times[1] or times[3]):
        top = times[3] if times[2] else times[1]
        least, most, end = int(times[1] or 0), int(top or LONGEST_LINE), times.end()
    else:
        return 1, 1, position
    return least, most, end + (pattern[end : end + 1] in {"?", "+"})
