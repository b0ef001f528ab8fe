"""What is known about an incident before anybody plans: collected, cleaned, redacted, cut.

Deterministic: the same incident in the same world gives the same dossier. A read that fails
is a fact of its own and stops nothing. Everything here came from outside, so it is data:
control characters are gone, secrets are cut out, and the whole keeps within
`evidence.maxTokens`. Neighbours: `flows.observe` saw most of it already; `flows.plan` holds
the result, planners and reports use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from flows.comparison.drift import Incident
from flows.dossier import changes as changed
from flows.dossier import dependencies, facts, log_digest, log_lines, past
from flows.dossier.budget import WEIGHTS, Entry, Section, fit, match_text
from flows.dossier.facts import Fact, Rank
from flows.dossier.log_digest import Digest
from flows.dossier.past import Learned, nothing_learned
from flows.dossier.patterns import MATCHED_GROUPS, Line, find_patterns
from flows.dossier.reads import EVENTS, LOGS, RESOURCES, STATUS, Answer, RunRead, read_all
from flows.dossier.text import clean, one_line, safe_line, without_keys
from flows.observe import Observation
from flows.plan import Evidence
from flows.reporting.status import TargetStatus
from flows.repository.contract import DesiredChange
from infrastructure.config_models import ErrorPattern, EvidenceSettings
from infrastructure.errors import UiciError
from infrastructure.observed import InstanceState
from infrastructure.operations import OperationCall
from infrastructure.redaction import Redactor
from infrastructure.service import Service

# Targets, how many at most, not older than → newest first.
ReadChanges = Callable[[Sequence[str], int, datetime], Sequence[DesiredChange]]

# How much less telling a fact is for its rank, and what is not about the root.
_RANKS = {Rank.BROKEN: 0, Rank.SYMPTOM: 0, Rank.RESOURCES: 2, Rank.UNKNOWN: 3, Rank.FINE: 6}
_NOT_ROOT, _NO_ERROR, _WORKS = 4, 8, 12


def no_changes(targets: Sequence[str], limit: int, since: datetime) -> Sequence[DesiredChange]:
    """For a world without Git."""
    del targets, limit, since
    return ()


def collect_evidence(
    incident: Incident,
    *,
    services: Mapping[str, Service],
    observation: Observation,
    run_read: RunRead,
    patterns: Sequence[ErrorPattern],
    redactor: Redactor,
    limits: EvidenceSettings,
    status: TargetStatus | None = None,
    read_changes: ReadChanges = no_changes,
    learned: Learned = nothing_learned,
    concurrency: int = 1,
) -> Evidence:
    """The dossier of an incident, within the limits.

    Args:
        incident: what happened.
        services: desired state by target.
        observation: what this run saw; nothing is observed again.
        run_read: runs a read-only operation under the run's deadline; a failure is in its
            outcome.
        patterns: error patterns, looked for in logs and in the engine's own words.
        redactor: cuts secrets out.
        limits: how much.
        status: of the root, with its past incidents and what was tried.
        read_changes: newest commits of desired state that touched some targets.
        learned: what is known of the incident's class.
        concurrency: reads at the same time.

    Returns:
        Evidence; its matches are in the order of `patterns`.
    """
    ordered = dict.fromkeys((incident.root, *incident.targets))
    collecting = _Collecting(
        incident,
        tuple(islice(ordered, limits.targets)),
        services,
        observation,
        redactor,
        limits,
    )
    answers = read_all(collecting.calls(), run_read, concurrency=concurrency)
    remarks: list[str] = []
    logs = collecting.logs(answers, remarks)
    matches, given_up = find_patterns(
        patterns,
        collecting.matchable(logs, answers),
        redact=redactor.text,
        limit=limits.fact_chars,
    )
    remarks += given_up
    entries = [
        Entry(
            Section.MATCHES,
            match_text(match),
            place * WEIGHTS[Section.MATCHES][1],
            place,
            "",
            match,
        )
        for place, match in enumerate(matches)
    ]
    told, failed = _read_changes(read_changes, collecting)
    entries += collecting.fact_entries(logs, answers, failed, remarks)
    entries += collecting.log_entries(logs, remarks)
    entries += collecting.need_entries()
    entries += collecting.entries(Section.CHANGES, _merged(told, answers))
    names = tuple(dict.fromkeys(match.name for match in matches))
    entries += collecting.entries(
        Section.PAST, collecting.past(status, names, learned(incident, names))
    )
    return fit(entries, [collecting.line(remark) for remark in remarks], limits.max_tokens)


def _read_changes(
    read_changes: ReadChanges, collecting: _Collecting
) -> tuple[list[str], tuple[Fact, ...]]:
    limits = collecting.limits
    since = collecting.observation.taken_at - limits.changes_within
    try:
        found = read_changes(collecting.targets, limits.changes, since) if limits.changes else ()
    except UiciError as exc:
        return [], (Fact(Rank.UNKNOWN, "", f"desired state's history: not available: {exc}"),)
    return list(changed.of_desired_state(found)), ()


def _merged(desired: Sequence[str], answers: Sequence[Answer]) -> list[str]:
    """Commits and events, newest first; in the same minute the commit, which is a cause."""
    events = [
        line
        for answer in answers
        if answer.operation == EVENTS and not answer.error
        for line in changed.of_engine(answer.target, answer.output)
    ]
    return sorted([*desired, *events], key=lambda line: line[:16], reverse=True)


@dataclass(frozen=True, slots=True)
class _Log:
    """What is left of one target's log."""

    target: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class _Collecting:
    """One collection under way. `targets` are those that are looked into, root first."""

    incident: Incident
    targets: tuple[str, ...]
    services: Mapping[str, Service]
    observation: Observation
    redactor: Redactor
    limits: EvidenceSettings

    def line(self, text: str) -> str:
        """One line, cleaned, redacted, then cut: half a secret would not be recognised."""
        return one_line(text, self.redactor.text, self.limits.fact_chars)

    # ── reads ───────────────────────────────────────────────────────────────────

    def calls(self) -> list[OperationCall]:
        """What is asked of the engine; nothing of one that did not answer."""
        asked: list[OperationCall] = []
        seen = self.observation.environments.get(self.incident.environment)
        for target in self.targets:
            observed = facts.observed_of(seen, target) if seen is not None else None
            if observed is None or target not in self.services:
                continue
            if observed.instances:
                lines = {"lines": self.limits.log_lines}
                asked.append(OperationCall(LOGS, target, lines))
                asked.append(OperationCall(STATUS, target))
            asked.append(OperationCall(EVENTS, target))
            if any(each.state is InstanceState.RUNNING for each in observed.instances):
                asked.append(OperationCall(RESOURCES, target))
        return asked

    # ── logs ────────────────────────────────────────────────────────────────────

    def logs(self, answers: Sequence[Answer], remarks: list[str]) -> list[_Log]:
        """The digest of every log that could be read."""
        return [
            _Log(answer.target, self._digest(answer, remarks))
            for answer in answers
            if answer.operation == LOGS and not answer.error
        ]

    def _digest(self, answer: Answer, remarks: list[str]) -> Digest:
        raw, more = log_digest.newest_lines(_text(answer.output), self.limits.log_lines)
        if more:
            remarks.append(f"log of {answer.target}: only its newest lines were read")
        text = without_keys(clean(raw), self.redactor.text)
        return log_digest.digest(text)

    def log_entries(self, logs: Sequence[_Log], remarks: list[str]) -> Iterator[Entry]:
        """Groups of lines: errors and last words first, as many as may be."""
        first, each = WEIGHTS[Section.LOGS]
        for log in logs:
            away = _NOT_ROOT if log.target != self.incident.root else 0
            room = self.limits.max_chars
            shown = 0
            for number, group in enumerate(log.digest.telling(self.limits.log_groups)):
                told = safe_line(group.line, group.before, self.redactor.text)
                told = self.line(log_lines.shown(told))
                text = f"({group.count}×) {told}" if group.count > 1 else told
                room -= len(text) + 1
                if room < 0:
                    break
                shown += 1
                less = 0 if group.level >= log_lines.Level.WARNING else _NO_ERROR
                weight = first + away + number * each + less
                yield Entry(Section.LOGS, text, weight, group.index, log.target)
            kinds = len(log.digest.groups)
            if shown < kinds or log.digest.unread:
                more = f" and {log.digest.unread} unlike lines" if log.digest.unread else ""
                remarks.append(
                    f"log of {log.target}: {kinds - shown} of {kinds} kinds of lines{more}"
                    f" ({log.digest.lines} lines)"
                )

    def matchable(
        self, logs: Sequence[_Log], answers: Sequence[Answer]
    ) -> list[tuple[str, list[Line]]]:
        """Of each target what error patterns are looked for in: the engine's words, the log."""
        seen = self.observation.environments.get(self.incident.environment)
        made: list[tuple[str, list[Line]]] = []
        for target in self.targets:
            observed = facts.observed_of(seen, target) if seen is not None else None
            words = [(text, 1) for text in facts.engine_words(observed)]
            for answer in answers:
                if answer.target == target and not answer.error:
                    words += _words(answer)
            lines = [Line(" ".join(clean(text).split()), count) for text, count in words]
            lines += [
                Line(group.line, group.count, group.before)
                for log in logs
                if log.target == target
                for group in log.digest.telling(MATCHED_GROUPS)
            ]
            made.append((target, lines))
        return made

    # ── facts ───────────────────────────────────────────────────────────────────

    def fact_entries(
        self,
        logs: Sequence[_Log],
        answers: Sequence[Answer],
        more: Sequence[Fact],
        remarks: list[str],
    ) -> list[Entry]:
        """Facts, the most telling first, as many as may be."""
        found = [*self._facts(), *_of_answers(answers), *more]
        found += [
            Fact(Rank.UNKNOWN, log.target, "logs: empty") for log in logs if not log.digest.groups
        ]
        found.sort(key=lambda fact: (fact.rank, fact.target != self.incident.root))
        told = {self.line(fact.told): fact.rank for fact in reversed(found)}
        lines = list(reversed(told.items()))
        if len(lines) > self.limits.facts:
            remarks.append(f"{len(lines) - self.limits.facts} more facts")
        first, each = WEIGHTS[Section.FACTS]
        return [
            Entry(Section.FACTS, line, first + place * each + _RANKS[rank], place)
            for place, (line, rank) in enumerate(lines[: self.limits.facts])
        ]

    def _facts(self) -> Iterator[Fact]:
        seen = self.observation.environments.get(self.incident.environment)
        if seen is None:
            text = f"environment {self.incident.environment} was not observed"
            yield Fact(Rank.UNKNOWN, "", text)
            return
        yield from facts.of_environment(seen)
        for target in self.targets:
            service = self.services.get(target)
            if service is not None:
                yield from facts.of_target(service, seen)

    # ── the rest ────────────────────────────────────────────────────────────────

    def need_entries(self) -> list[Entry]:
        """Dependencies, the broken ones first."""
        found = [
            need
            for target in self.targets
            for need in dependencies.needs(target, self.services, self.observation)
        ]
        found.sort(key=lambda need: not need.broken)
        texts = {self.line(need.text): need.broken for need in found}
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

    def past(
        self, status: TargetStatus | None, patterns: Sequence[str], learned: Sequence[str]
    ) -> list[str]:
        """What was tried on this desired state, what is known of the class, similar incidents."""
        root = self.services.get(self.incident.root)
        failed = past.tried(self.incident, status, root.spec_digest) if root is not None else ()
        limit = self.limits.similar
        return [
            *failed,
            *learned[:limit],
            *past.similar(self.incident, status, patterns=patterns, limit=limit),
        ]

    def entries(self, section: Section, texts: Sequence[str]) -> list[Entry]:
        """Entries of a section in the order given."""
        first, each = WEIGHTS[section]
        return [
            Entry(section, text, first + place * each, place)
            for place, text in enumerate(dict.fromkeys(map(self.line, texts)))
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


def _words(answer: Answer) -> list[tuple[str, int]]:
    """What the engine says in an answer, and how often."""
    if answer.operation == EVENTS:
        return list(changed.event_words(answer.output))
    if answer.operation == STATUS:
        return [(text, 1) for text in facts.health_words(answer.output)]
    return []


def _text(output: Any) -> str:
    """A log, whatever form an executor gives: text, lines, records, by instance."""
    return output if isinstance(output, str) else "\n".join(_lines(output))


def _lines(output: Any) -> Iterator[str]:
    match output:
        case None:
            return
        case str():
            yield output
        case {"message": str(message)} | {"line": str(message)}:
            yield message
        case Mapping():
            for name, inner in output.items():
                yield f"== {name} =="
                yield from _lines(inner)
        case list() | tuple():
            for inner in output:
                yield from _lines(inner)
        case _:
            yield str(output)
