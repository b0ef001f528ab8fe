"""A line for people in which commands are values, and all other words are only words.

What an engine, a commit or a person has written may name a command, too. It is shown as it
was written: only a `Command` gets the options of this call. Neighbours: `hints` (the options),
`flows.command_line.output` (prints sections of these).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flows.command_line.hints import here, in_others_words
from flows.reporting.text import plain


@dataclass(frozen=True, slots=True)
class Command:
    """A command of UICI's as a person types it; `words` follow on `uici`."""

    words: str

    def __str__(self) -> str:
        return f"uici {self.words}"

    @property
    def shown(self) -> str:
        """As a terminal shows it: it asks the installation that was asked."""
        return here(str(self))


Part = str | Command


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and commands, in order."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    @property
    def shown(self) -> str:
        """As a terminal shows it: its commands ask the installation that was asked."""
        return "".join(
            part.shown if isinstance(part, Command) else in_others_words(part)
            for part in self.parts
        )

    def of_words(self, change: Callable[[str], str]) -> Sentence:
        """The same with its words changed; commands stay as they are."""
        return Sentence(
            tuple(part if isinstance(part, Command) else change(part) for part in self.parts)
        )

    def cut(self, limit: int) -> Sentence:
        """On one line and harmless, with at most `limit` characters; a command is never cut."""
        return Sentence(tuple(_fitting(self.parts, limit)))


def sentence(*parts: Part | Sentence) -> Sentence:
    """A sentence of words, commands and other sentences."""
    flat: list[Part] = []
    for part in parts:
        flat += part.parts if isinstance(part, Sentence) else (part,)
    return Sentence(tuple(flat))


def _fitting(parts: tuple[Part, ...], limit: int) -> Iterator[Part]:
    left = limit - sum(len(str(part)) for part in parts if isinstance(part, Command))
    for number, part in enumerate(parts):
        if isinstance(part, Command):
            yield part
        elif left > 0:
            # A part begins and ends within the sentence: what parts it from the next one stays.
            before = " " if number and part[:1].isspace() else ""
            after = " " if number + 1 < len(parts) and part[-1:].isspace() else ""
            room = left - len(before + after)
            line = f"{before}{plain(part, room)}{after}" if room > 0 else ""
            yield line
            left -= max(len(line), 1)
