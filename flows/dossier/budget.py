"""Makes a dossier fit: the most telling first, within a number of tokens; says what was cut.

Pure. `dossier_text` is the form whose tokens are counted; a prompt may frame it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from flows.plan import Evidence, PatternMatch
from flows.token_estimate import BYTES_PER_TOKEN, estimate_tokens


class Section(Enum):
    """A part of the dossier: its title, and what one of its entries is called."""

    MATCHES = ("Known error patterns", "matched patterns")
    FACTS = ("Facts", "facts")
    DEPENDENCIES = ("Dependencies", "dependencies")
    CHANGES = ("Recent changes", "changes")
    PAST = ("Similar incidents of the past", "past incidents")
    LOGS = ("Log of", "kinds of log lines")


# How telling the first entry of a section is, and how much less each further one; what is
# least is put in first. Logs and facts take turns; a tenth past incident is worth little.
WEIGHTS: Mapping[Section, tuple[float, float]] = {
    Section.MATCHES: (0, 0.5),
    Section.FACTS: (1, 1.2),
    Section.LOGS: (2, 1),
    Section.DEPENDENCIES: (3, 3),
    Section.PAST: (3.5, 3),
    Section.CHANGES: (4, 2.5),
}
_REMARKS = 0.2  # of the room, at most, for saying what was cut
_REMARK_BYTES = 450


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that may stand in the dossier. `place` orders it among those of its section."""

    section: Section
    text: str
    weight: float
    place: int
    target: str = ""
    match: PatternMatch | None = None


def fit(entries: Sequence[Entry], remarks: Sequence[str], max_tokens: int) -> Evidence:
    """The most telling entries that fit, as a dossier.

    Args:
        entries: all there are.
        remarks: what was cut before, said as far as there is room.
        max_tokens: never exceeded by `dossier_text` of the result.
    """
    whole = max_tokens * BYTES_PER_TOKEN
    room = whole - min(_REMARK_BYTES, int(whole * _REMARKS))
    chosen: list[Entry] = []
    dropped: dict[Section, int] = {}
    opened: set[str] = set()
    for entry in sorted(entries, key=lambda e: (e.weight, e.section.value, e.target, e.place)):
        title = _title(entry.section, entry.target)
        cost = _size(entry.text) + (0 if title in opened else _size(f"{title}:") + 1)
        if cost > room:
            dropped[entry.section] = dropped.get(entry.section, 0) + 1
            continue
        room -= cost
        opened.add(title)
        chosen.append(entry)
    cut = [f"{number} {section.value[1]}" for section, number in dropped.items()]
    said = [f"for want of room: {', '.join(cut)}"] if cut else []
    return _with_remarks(_evidence(chosen), (*said, *remarks), max_tokens)


def _with_remarks(evidence: Evidence, remarks: Sequence[str], max_tokens: int) -> Evidence:
    kept: tuple[str, ...] = ()
    for remark in remarks:
        more = replace(evidence, left_out=(*kept, remark))
        if estimate_tokens(dossier_text(more)) <= max_tokens:
            kept = more.left_out
    return replace(evidence, left_out=kept)


def _evidence(chosen: Sequence[Entry]) -> Evidence:
    ordered = sorted(chosen, key=lambda entry: entry.place)

    def texts(section: Section) -> tuple[str, ...]:
        return tuple(entry.text for entry in ordered if entry.section is section)

    logs: dict[str, list[str]] = {}
    for entry in ordered:
        if entry.section is Section.LOGS:
            logs.setdefault(entry.target, []).append(entry.text)
    return Evidence(
        logs={target: "\n".join(lines) for target, lines in logs.items()},
        matches=tuple(entry.match for entry in ordered if entry.match is not None),
        facts=texts(Section.FACTS),
        changes=texts(Section.CHANGES),
        dependencies=texts(Section.DEPENDENCIES),
        past=texts(Section.PAST),
    )


def match_text(match: PatternMatch) -> str:
    """A matched pattern as one line."""
    about = f" ({match.subject})" if match.subject else ""
    times = f", {match.count} times" if match.count > 1 else ""
    told = f"{match.target}: {match.name}{about}{times}: {match.meaning}"
    return f"{told}; e.g. {match.line}" if match.line else told


def dossier_text(evidence: Evidence) -> str:
    """The whole dossier as plain text, the most telling first."""
    return "\n".join(_lines(evidence))


def _lines(evidence: Evidence) -> Iterator[str]:
    sections: list[tuple[str, Sequence[str]]] = [
        (Section.MATCHES.value[0], [match_text(match) for match in evidence.matches]),
        (Section.FACTS.value[0], evidence.facts),
        (Section.DEPENDENCIES.value[0], evidence.dependencies),
        (Section.CHANGES.value[0], evidence.changes),
        (Section.PAST.value[0], evidence.past),
        *((_title(Section.LOGS, target), [log]) for target, log in evidence.logs.items()),
        ("Left out", evidence.left_out),
    ]
    for title, lines in sections:
        if lines:
            yield f"{title}:"
            yield from lines


def _title(section: Section, target: str) -> str:
    return f"{section.value[0]} {target}" if section is Section.LOGS else section.value[0]


def _size(line: str) -> int:
    return len(line.encode("utf-8", "replace")) + 1
