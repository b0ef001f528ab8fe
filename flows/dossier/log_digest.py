"""Many lines of a log → few groups of like lines, each with a count.

A hundred thousand lines take well under a second: a first look splits the translated text
into words, each of which is looked at once; only one line of each kind that is left then is
looked at by regular expressions. Deterministic and pure. Neighbours:
`flows.dossier.log_lines` knows what a line is; `flows.dossier.text` has cleaned it before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from flows.dossier.log_lines import Level, level_of, parsed, said, template, unstamped

# A log of more characters than that counts from its end.
LONGEST_LOG = 32 * 1024 * 1024
# Kinds of lines that are looked at closely: those with an alarming word, then the newest.
# What a log has more of, as one of which no line is like another, is only counted.
_KINDS = 1500
# The last groups of a log are what was said right before its end.
_LAST_WORDS = 3
_CONTEXT_LINES, _CONTEXT_CHARS = 2, 1000

# Words of our own among those of a log: the end of a line, and what marks an alarming word.
_END, _ALARM = b"\x02", b"\x01"
_BETWEEN = b"=/:,;\"'()[]{}<>|@&?!.-_\t" + _END + _ALARM
# For a first look digits are one digit, and everything between words is a blank.
_PLAIN = bytes.maketrans(b"123456789" + _BETWEEN, b"000000000" + b" " * len(_BETWEEN))
# Lines whose words are looked at in one go: without a step of Python's for each, and bounded.
_AT_ONCE = 4096
_HEX = b"0123456789abcdefABCDEF"
_ID = 16  # a word with digits of this length on is an id
_ALARMING = re.compile(
    rb"(?i)err|exception|traceback|fatal|panic|fail|refused|denied|killed|abort|cannot|unable"
    rb"|warn|crit|severe|segfault|oom|timeout|unhandled|invalid|missing"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Like lines. `line` is the newest, `index` its place in the log, `before` what precedes it."""

    line: str = field(repr=False)
    before: str = field(repr=False)
    index: int
    count: int
    level: Level

    @property
    def weight(self) -> tuple[int, int]:
        """Sorts the most telling first: the worst level, then the newest."""
        return -self.level, -self.index


@dataclass(frozen=True, slots=True)
class Digest:
    """A log's groups in the order of their newest lines.

    `lines` are all that there were; `unread` of them are of kinds that were only counted.
    """

    groups: tuple[Group, ...] = ()
    lines: int = 0
    unread: int = 0

    def telling(self, limit: int) -> tuple[Group, ...]:
        """At most `limit` groups, the most telling first; the last words are as good as errors."""
        last = {group.index for group in self.groups[-_LAST_WORDS:]}

        def weight(group: Group) -> tuple[int, int]:
            level = Level.ERROR if group.index in last else group.level
            return -level, -group.index

        return tuple(sorted(self.groups, key=weight)[:limit])


class _Words(dict[bytes, bytes]):
    """Words without what varies in them, each looked at once; alarming ones are marked."""

    def __missing__(self, word: bytes) -> bytes:
        if b"0" in word and (len(word) >= _ID or not word.strip(_HEX)):
            if len(word) < _ID:  # a long id hardly comes twice
                self[word] = b"0"
            return b"0"
        shape = _ALARM + word if _ALARMING.search(word[:100]) else word
        self[word] = shape
        return shape


def digest(text: str) -> Digest:
    """The groups of a clean text."""
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        return Digest()
    plain = "\n".join(lines).encode("utf-8", "replace").translate(_PLAIN)
    numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
    alike = [numbers[shape] for shape in _shapes(plain.split(b"\n"))]
    newest = list(dict(zip(alike, range(len(lines)), strict=True)).values())
    groups: dict[str, int] = {}
    place = [-1] * len(newest)
    for number in islice(_telling([_ALARM in shape for shape in numbers], newest), _KINDS):
        place[number] = groups.setdefault(_named(lines[newest[number]]), len(groups))
    return _counted(lines, [place[number] for number in alike], len(groups))


def _shapes(keys: Sequence[bytes]) -> Iterator[bytes]:
    """For each line its words without what varies in them: the same for lines of one kind."""
    look = _Words().__getitem__
    for start in range(0, len(keys), _AT_ONCE):
        words = (b" %b " % _END).join([b"", *keys[start : start + _AT_ONCE], b""]).split()
        yield from b" ".join(map(look, words)).split(_END)[1:-1]


def _telling(alarming: Sequence[bool], newest: Sequence[int]) -> Iterator[int]:
    """Kinds by number: those with an alarming word first, and then the newest."""
    order = sorted(range(len(newest)), key=newest.__getitem__, reverse=True)
    yield from (number for number in order if alarming[number])
    yield from (number for number in order if not alarming[number])


def _named(line: str) -> str:
    """The same for lines that say the same of something else."""
    fields = parsed(line)
    if fields is None:
        return template(unstamped(line))
    return f"{level_of('', fields)} {template(said(fields))}"


def _counted(lines: Sequence[str], where: Sequence[int], number: int) -> Digest:
    counts, last = [0] * number, [0] * number
    unread = 0
    for index, group in enumerate(where):
        if group < 0:
            unread += 1
            continue
        counts[group] += 1
        last[group] = index
    own = [level_of(text, parsed(text)) for text in (unstamped(lines[i]) for i in last)]
    levels = _with_carried(where, own)
    made = [
        Group(lines[index], _before(lines, index), index, counts[group], levels[group])
        for group, index in enumerate(last)
    ]
    made.sort(key=lambda group: group.index)
    return Digest(tuple(made), len(lines), unread)


def _with_carried(where: Iterable[int], own: Sequence[Level | None]) -> list[Level]:
    """Levels; a line that says none has that of the line before it: a traceback's have."""
    levels = [Level.DEBUG if level is None else level for level in own]
    current = Level.INFO
    for group in where:
        if group < 0:
            continue
        level = own[group]
        if level is not None:
            current = level
        elif levels[group] < current:
            levels[group] = current
    return levels


def _before(lines: Sequence[str], index: int) -> str:
    found = ""
    for text in reversed(lines[max(0, index - _CONTEXT_LINES) : index]):
        if len(text) > _CONTEXT_CHARS:
            break
        found = f"{text}\n{found}"
    return found


def newest_lines(text: str, limit: int) -> tuple[str, bool]:
    """The last `limit` lines, and whether there are more; half a first line goes."""
    torn = len(text) > LONGEST_LOG
    if torn:
        text = text[-LONGEST_LOG:].partition("\n")[2]
    text = text.rstrip("\n")
    position = len(text)
    for _ in range(limit):
        position = text.rfind("\n", 0, position)
        if position < 0:
            return text, torn
    return text[position + 1 :], True
