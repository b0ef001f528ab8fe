"""What of a dossier is told, and how telling it is: lines with a weight, section by section.

Pure: what was read becomes entries, each one clean, redacted line; `flows.dossier.budget` takes
the most telling that fit. Neighbour: `flows.dossier.collect` (reads, and asks for them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flows.comparison.drift import Incident
from flows.dossier import dependencies, facts, log_lines
from flows.dossier.budget import WEIGHTS, Entry, Section, match_text
from flows.dossier.facts import Fact, Rank
from flows.dossier.log_window import TargetLog
from flows.dossier.reads import LOGS, RESOURCES, STATUS, Answer
from flows.dossier.text import one_line, safe_line
from flows.observe import Observation
from flows.plan import PatternMatch
from infrastructure.config_models import EvidenceSettings
from infrastructure.observed import empty
from infrastructure.redaction import Redactor
from infrastructure.service import Service

# How much less telling a fact is for its rank, and what is not about the root.
_RANKS = {Rank.BROKEN: 0, Rank.SYMPTOM: 0, Rank.RESOURCES: 2, Rank.UNKNOWN: 3, Rank.FINE: 6}
_NOT_ROOT, _NO_ERROR, _WORKS = 4, 8, 12


@dataclass(frozen=True, slots=True)
class Scope:
    """What a dossier is about. `targets` are those that are looked into, root first.

    `last_well`: when all was well with a target, as far as is known.
    """

    incident: Incident
    targets: tuple[str, ...]
    services: Mapping[str, Service]
    observation: Observation
    redactor: Redactor
    limits: EvidenceSettings
    last_well: Mapping[str, datetime] = field(default_factory=empty)

    def line(self, text: str) -> str:
        """One line, cleaned, redacted, then cut: half a secret would not be recognised."""
        return one_line(text, self.redactor.text, self.limits.fact_chars)


def match_entries(matches: Sequence[PatternMatch]) -> list[Entry]:
    """Error patterns that were found, in their order."""
    first, each = WEIGHTS[Section.MATCHES]
    return [
        Entry(Section.MATCHES, match_text(match), first + place * each, place, "", match)
        for place, match in enumerate(matches)
    ]


def log_entries(scope: Scope, logs: Sequence[TargetLog], remarks: list[str]) -> Iterator[Entry]:
    """Groups of lines: errors and last words first, as many as may be."""
    first, each = WEIGHTS[Section.LOGS]
    for log in logs:
        away = _NOT_ROOT if log.target != scope.incident.root else 0
        room = scope.limits.max_chars
        shown = 0
        if log.earlier.groups:
            text = f"{log.gap(scope.observation.taken_at)}; before that:"
            room -= len(text) + 1
            yield Entry(Section.LOGS, text, first + away, -log.earlier.lines - 1, log.target)
        for number, (place, group) in enumerate(log.telling(scope.limits.log_groups)):
            told = safe_line(group.line, group.before, scope.redactor.text)
            told = scope.line(log_lines.shown(told))
            text = f"({group.count}×) {told}" if group.count > 1 else told
            room -= len(text) + 1
            if room < 0:
                break
            shown += 1
            less = 0 if group.level >= log_lines.Level.WARNING else _NO_ERROR
            weight = first + away + number * each + less
            yield Entry(Section.LOGS, text, weight, place, log.target)
        if shown < log.kinds or log.digest.unread:
            more = f" and {log.digest.unread} unlike lines" if log.digest.unread else ""
            remarks.append(
                f"log of {log.target}: {log.kinds - shown} of {log.kinds} kinds of lines{more}"
                f" ({log.earlier.lines + log.digest.lines} lines)"
            )


def fact_entries(
    scope: Scope,
    logs: Sequence[TargetLog],
    answers: Sequence[Answer],
    more: Sequence[Fact],
    remarks: list[str],
) -> list[Entry]:
    """Facts, the most telling first, as many as may be."""
    found = [*_facts(scope), *_of_answers(answers), *more]
    now = scope.observation.taken_at
    found += [
        Fact(Rank.UNKNOWN, log.target, f"logs: {log.gap(now)}") for log in logs if not log.kinds
    ]
    found.sort(key=lambda fact: (fact.rank, fact.target != scope.incident.root))
    told = {scope.line(fact.told): fact.rank for fact in reversed(found)}
    lines = list(reversed(told.items()))
    if len(lines) > scope.limits.facts:
        remarks.append(f"{len(lines) - scope.limits.facts} more facts")
    first, each = WEIGHTS[Section.FACTS]
    return [
        Entry(Section.FACTS, line, first + place * each + _RANKS[rank], place)
        for place, (line, rank) in enumerate(lines[: scope.limits.facts])
    ]


def _facts(scope: Scope) -> Iterator[Fact]:
    seen = scope.observation.environments.get(scope.incident.environment)
    if seen is None:
        text = f"environment {scope.incident.environment} was not observed"
        yield Fact(Rank.UNKNOWN, "", text)
        return
    yield from facts.of_environment(seen)
    for target in scope.targets:
        service = scope.services.get(target)
        if service is not None:
            yield from facts.of_target(service, seen)


def need_entries(scope: Scope) -> list[Entry]:
    """Dependencies, the broken ones first."""
    found = [
        need
        for target in scope.targets
        for need in dependencies.needs(target, scope.services, scope.observation)
    ]
    found.sort(key=lambda need: not need.broken)
    texts = {scope.line(need.text): need.broken for need in found}
    first, each = WEIGHTS[Section.DEPENDENCIES]
    return [
        Entry(
            Section.DEPENDENCIES,
            text,
            first + place * each + (0 if broken else _WORKS),
            place,
        )
        for place, (text, broken) in enumerate(texts.items())
    ]


def entries(scope: Scope, section: Section, texts: Sequence[str]) -> list[Entry]:
    """Entries of a section in the order given."""
    first, each = WEIGHTS[section]
    return [
        Entry(section, text, first + place * each, place)
        for place, text in enumerate(dict.fromkeys(map(scope.line, texts)))
    ]


def _of_answers(answers: Sequence[Answer]) -> Iterator[Fact]:
    for answer in answers:
        if answer.error:
            what = "logs" if answer.operation == LOGS else answer.operation
            yield Fact(Rank.UNKNOWN, answer.target, f"{what}: not available: {answer.error}")
        elif answer.operation == RESOURCES:
            yield from facts.of_resources(answer.target, answer.output)
        elif answer.operation == STATUS:
            yield from facts.of_status(answer.target, answer.output)
