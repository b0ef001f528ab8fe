"""What is known about an incident before anybody plans: collected, cleaned, redacted, cut.

Deterministic: the same incident in the same world gives the same dossier. A read that fails
is a fact of its own and stops nothing. Everything here came from outside, so it is data:
control characters are gone, secrets are cut out, and the whole keeps within
`evidence.maxTokens`. Neighbours: `flows.observe` saw most of it already; `flows.dossier.entries`
makes lines of it; `flows.plan` holds the result, planners and reports use it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from flows.comparison.drift import Incident
from flows.dossier import changes as changed
from flows.dossier import facts, log_digest, past
from flows.dossier.budget import Section, fit
from flows.dossier.deeds import ended_by
from flows.dossier.entries import (
    Scope,
    entries,
    fact_entries,
    log_entries,
    match_entries,
    need_entries,
)
from flows.dossier.facts import Fact, Rank
from flows.dossier.git_news import git_facts, git_news, news_of_git
from flows.dossier.log_window import LogWindow, TargetLog
from flows.dossier.past import Learned, nothing_learned
from flows.dossier.patterns import MATCHED_GROUPS, Line, find_patterns
from flows.dossier.reads import EVENTS, LOGS, RESOURCES, STATUS, Answer, RunRead, read_all
from flows.dossier.text import clean, without_keys
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

# Targets, how many at most, not older than, of which it matters what each changed → newest first.
ReadChanges = Callable[[Sequence[str], int, datetime, Collection[str]], Sequence[DesiredChange]]


def no_changes(
    targets: Sequence[str], limit: int, since: datetime, judged: Collection[str]
) -> Sequence[DesiredChange]:
    """For a world without Git."""
    del targets, limit, since, judged
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
    statuses: Mapping[str, TargetStatus] | None = None,
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
        statuses: by target: past incidents, what was tried, and since when it was well, before
            which nothing of a log is about this incident.
        read_changes: newest commits of desired state that touched some targets.
        learned: what is known of the incident's class.
        concurrency: reads at the same time.

    Returns:
        Evidence; its matches are in the order of `patterns`.
    """
    ordered = dict.fromkeys((incident.root, *incident.targets))
    targets = tuple(islice(ordered, limits.targets))
    statuses = statuses or {}
    well = {t: at for t in targets if t in statuses and (at := statuses[t].last_well) is not None}
    scope = Scope(incident, targets, services, observation, redactor, limits, well)
    answers = read_all(_calls(scope), run_read, concurrency=concurrency)
    remarks: list[str] = []
    logs = _logs(scope, answers, remarks)
    matches, given_up = find_patterns(
        patterns,
        _matchable(scope, logs, answers),
        redact=redactor.text,
        limit=limits.fact_chars,
        patience=limits.pattern_timeout,
    )
    remarks += given_up
    commits, failed = _read_changes(read_changes, scope, statuses.get(incident.root))
    deed = ended_by(scope, statuses, answers)
    git_change = news_of_git(scope, statuses.get(incident.root), commits, deed)
    failed += git_facts(scope, git_change)
    names = tuple(dict.fromkeys(match.name for match in matches))
    known = _past(scope, statuses.get(incident.root), names, learned(incident, names))
    found = [
        *match_entries(matches),
        *fact_entries(scope, logs, answers, failed, remarks),
        *log_entries(scope, logs, remarks),
        *need_entries(scope),
        *entries(scope, Section.CHANGES, _merged(scope, commits, answers)),
        *entries(scope, Section.PAST, known),
    ]
    fitting = fit(found, [scope.line(remark) for remark in remarks], limits.max_tokens)
    return replace(fitting, git_change=git_change, ended_by=deed)


def _read_changes(
    read_changes: ReadChanges, scope: Scope, status: TargetStatus | None
) -> tuple[Sequence[DesiredChange], tuple[Fact, ...]]:
    limits = scope.limits
    since = scope.observation.taken_at - limits.changes_within
    try:
        # What each commit has changed is worth a look only where one may be behind the fault.
        judged = () if git_news(scope, status) is None else (scope.incident.root,)
        found = read_changes(scope.targets, limits.changes, since, judged) if limits.changes else ()
    except UiciError as exc:
        return (), (Fact(Rank.UNKNOWN, "", f"desired state's history: not available: {exc}"),)
    return found, ()


def _merged(scope: Scope, commits: Sequence[DesiredChange], answers: Sequence[Answer]) -> list[str]:
    """Commits and events, newest first; in the same minute the commit, which is a cause.

    What was recorded before all was well is about something that is over.
    """
    events = [
        line
        for answer in answers
        if answer.operation == EVENTS and not answer.error
        for line in changed.of_engine(
            answer.target, answer.output, since=scope.last_well.get(answer.target)
        )
    ]
    desired = changed.of_desired_state(commits)
    return sorted([*desired, *events], key=lambda line: line[:16], reverse=True)


def _calls(scope: Scope) -> list[OperationCall]:
    """What is asked of the engine; nothing of one that did not answer."""
    asked: list[OperationCall] = []
    seen = scope.observation.environments.get(scope.incident.environment)
    for target in scope.targets:
        observed = facts.observed_of(seen, target) if seen is not None else None
        if observed is None or target not in scope.services:
            continue
        if observed.instances:
            parameters = _window(scope, target).parameters(scope.limits.log_lines)
            asked.append(OperationCall(LOGS, target, parameters))
            asked.append(OperationCall(STATUS, target))
        asked.append(OperationCall(EVENTS, target))
        if any(each.state is InstanceState.RUNNING for each in observed.instances):
            asked.append(OperationCall(RESOURCES, target))
    return asked


def _window(scope: Scope, target: str) -> LogWindow:
    seen = scope.observation.environments.get(scope.incident.environment)
    observed = facts.observed_of(seen, target) if seen is not None else None
    instances = observed.instances if observed is not None else ()
    return LogWindow(scope.last_well.get(target), instances, scope.observation.taken_at)


def _logs(scope: Scope, answers: Sequence[Answer], remarks: list[str]) -> list[TargetLog]:
    """The digest of every log that could be read."""
    return [
        _log(scope, answer, remarks)
        for answer in answers
        if answer.operation == LOGS and not answer.error
    ]


def _log(scope: Scope, answer: Answer, remarks: list[str]) -> TargetLog:
    raw, more = log_digest.newest_lines(_text(answer.output), scope.limits.log_lines)
    if more:
        remarks.append(f"log of {answer.target}: only its newest lines were read")
    text = without_keys(clean(raw), scope.redactor.text)
    return _window(scope, answer.target).of(answer.target, text)


def _matchable(
    scope: Scope, logs: Sequence[TargetLog], answers: Sequence[Answer]
) -> list[tuple[str, list[Line]]]:
    """Of each target what error patterns are looked for in: the engine's words, the log."""
    seen = scope.observation.environments.get(scope.incident.environment)
    made: list[tuple[str, list[Line]]] = []
    for target in scope.targets:
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
            for group in log.matchable(MATCHED_GROUPS)
        ]
        made.append((target, lines))
    return made


def _past(
    scope: Scope,
    status: TargetStatus | None,
    patterns: Sequence[str],
    learned: Sequence[str],
) -> list[str]:
    """What was tried on this desired state, what is known of the class, similar incidents."""
    root = scope.services.get(scope.incident.root)
    failed = past.tried(scope.incident, status, root.spec_digest) if root is not None else ()
    limit = scope.limits.similar
    return [
        *failed,
        *learned[:limit],
        *past.similar(
            scope.incident,
            status,
            patterns=patterns,
            spec_digest=root.spec_digest if root is not None else "",
            limit=limit,
        ),
    ]


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
