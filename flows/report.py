"""Stage 7, report: everything that happened in a run, for people and for programs.

Pure: a `RunReport` becomes Markdown, JSON, status files and a commit message. What has
been told already is not told again: a run without news has no files. The writing is
`flows.git_state`'s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.learning.learn import learn
from flows.learning.shelf import knowledge_path, knowledge_text
from flows.plan import Plan
from flows.reporting.as_json import intent_to_dict, json_bytes, refusal_to_dict, report_to_dict
from flows.reporting.counted import CountedAttempt, counted
from flows.reporting.markdown import render_markdown
from flows.reporting.own_data import own_data
from flows.reporting.sentences import counted as counted_words
from flows.reporting.sentences import headline
from flows.reporting.status import (
    AGENT_FOLDER,
    REFUSED_PATH,
    REPORT_FOLDER,
    LastIncident,
    OpenIntent,
    Reported,
    TargetStatus,
    file_name,
    intent_path,
    status_path,
)
from flows.reporting.text import changing, first_words, plain, short_name
from flows.reporting.values import (
    IncidentReport,
    IncidentResult,
    RunReport,
    RunResult,
)

__all__ = [
    "IncidentReport",
    "IncidentResult",
    "Redactor",
    "RunReport",
    "RunResult",
    "attempts_of",
    "commit_message",
    "intent_files",
    "intent_message",
    "news",
    "render_markdown",
    "report_files",
    "report_path",
    "report_to_dict",
    "same_news",
]

Files = dict[str, bytes | None]  # None: the file goes

_SUBJECT_LIMIT = 120
# In a report stand engines' values, too.
_REPORT_IDS = frozenset({"apiVersion", "kind", "runId", "root", "targets", "environment"})
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:(?:h|m|s|ms)(?=\d)\d+(?:\.\d+)?)*")


class Redactor(Protocol):
    """Cuts secrets out; `infrastructure.redaction.Redactor` is the one."""

    def text(self, text: str, /) -> str:
        """A text without secrets."""
        ...

    def data(self, value: Any, /) -> Any:
        """JSON-able data without secrets."""
        ...


def intent_files(
    run_id: str,
    at: datetime,
    desired_revision: str,
    cases: Sequence[tuple[Incident, Plan, Sequence[Verdict]]],
    *,
    statuses: Mapping[str, TargetStatus],
    redactor: Redactor,
    by: str = "",
    until: datetime | None = None,
    before: Reported | None = None,
) -> Files:
    """What is written before the first operation: the intent, and the attempts it counts.

    `by` is the installation whose run it is, at work until `until` at most. `before` is what
    the branch tells: the intent itself counts upon it, and a status is written only where
    that is not enough.
    """
    intent = intent_to_dict(run_id, at, desired_revision, cases, by=by, until=until)
    attempts = attempts_of(statuses.values(), before or Reported())
    told = [each.model_dump(mode="json", by_alias=True, exclude_defaults=True) for each in attempts]
    files: Files = {}
    if told:
        intent["counted"] = told
    for status in statuses.values():
        if status.target not in {each.target for each in attempts}:
            files[status_path(status.target)] = _status_bytes(status, redactor)
    return {intent_path(run_id): json_bytes(intent, own_data(redactor.data)), **files}


def attempts_of(statuses: Iterable[TargetStatus], before: Reported) -> list[CountedAttempt]:
    """Those of the statuses that an intent can tell as an attempt upon what stands there."""
    pairs = ((before.statuses.get(s.target), s) for s in statuses if s.target in before.blobs)
    found = [counted(old, s, before.blobs[s.target]) for old, s in pairs if old is not None]
    return [attempt for attempt in found if attempt is not None]


def report_files(
    report: RunReport,
    before: Reported,
    *,
    redactor: Redactor,
    closes: Iterable[OpenIntent] = (),
) -> Files:
    """What this run has to tell; empty when there is no news.

    Args:
        report: the run.
        before: what the reports branch tells already, this run's intent included.
        redactor: cuts secrets out of everything.
        closes: intents of earlier runs that are settled by what this run has seen.
    """
    told = replace(report, incidents=news(report, before))
    closed = [intent.path for intent in closes]
    if report.intent_commit is not None:
        closed.append(intent_path(report.run_id))
    files: Files = dict.fromkeys(closed, None)
    files |= _statuses(report, before, redactor, closed)
    files |= _knowledge(report, before, redactor)
    refused = report.desired.refused_revision
    newly_refused = refused is not None and refused != before.refused_revision
    if newly_refused and refused is not None:
        refusal = refusal_to_dict(refused, report.desired.problems)
        files[REFUSED_PATH] = json_bytes(refusal, own_data(redactor.data), indent=1)
    elif refused is None and before.refused_revision and report.desired.stale is None:
        files[REFUSED_PATH] = None
    if told.incidents or newly_refused or report.errors or report.interrupted:
        path = report_path(report)
        files[f"{path}.md"] = render_markdown(told, redactor.text).encode(errors="replace")
        files[f"{path}.json"] = json_bytes(
            report_to_dict(told, redactor.data), own_data(redactor.data, _REPORT_IDS)
        )
    return files


def report_path(report: RunReport) -> str:
    """`reports/YYYY/MM/DD/HH/MM/<HHMMSS>-<end of run id>`, without the ending; UTC.

    A folder for each minute: Git writes all names of a folder anew with each report, which
    would make the last report of a busy hour dearer than its first.
    """
    at = report.finished_at.astimezone(UTC)
    # The end of a run id is random also where its beginning is a time (UUIDv7).
    return f"{REPORT_FOLDER}/{at:%Y/%m/%d/%H/%M/%H%M%S}-{file_name(report.run_id)[-8:].strip('-')}"


def news(report: RunReport, before: Reported) -> tuple[IncidentReport, ...]:
    """Incidents in which the world was changed, or that do not stand as they were last told."""
    return tuple(incident for incident in report.incidents if _is_news(incident, before))


def _is_news(report: IncidentReport, before: Reported) -> bool:
    if changing(report):
        return True
    status = before.statuses.get(report.incident.root)
    last = status.last_incident if status else None
    return last is None or (last.fingerprint, last.result) != (
        report.incident.fingerprint,
        report.result.value,
    )


def _statuses(
    report: RunReport, before: Reported, redactor: Redactor, closed: Collection[str]
) -> Files:
    """Those that changed, and the end of those whose target left desired state."""
    # What a closed intent has counted stands nowhere else.
    files: Files = {
        status_path(target): _status_bytes(before.statuses[target], redactor)
        for target, path in before.counted_by.items()
        if path in closed
        and target in before.statuses
        # Of this run's own: what it did not begin, and tells nothing of, was no attempt.
        and (path != intent_path(report.run_id) or target in report.statuses)
    }
    for status in report.statuses.values():
        known = before.statuses.get(status.target)
        if known is None or not same_news(known, status):
            files[status_path(status.target)] = _status_bytes(status, redactor)
    desired = report.desired
    if desired.services and desired.refused_revision is None and desired.stale is None:
        for target in before.statuses:
            kept = target in desired.services or target in report.statuses
            if not kept and not target.startswith(f"{AGENT_FOLDER}/"):
                files[status_path(target)] = None
    return files


def _knowledge(report: RunReport, before: Reported, redactor: Redactor) -> Files:
    """Classes of which this run has learned something, with the same commit."""
    if not report.lessons:
        return {}
    redact = own_data(redactor.data)
    return {
        knowledge_path(name): None if known is None else knowledge_text(known, redact)
        for name, known in learn(before.knowledge, report.lessons).items()
    }


def same_news(first: TargetStatus, second: TargetStatus) -> bool:
    """Whether two statuses tell the same.

    Transition times, the revision, run ids and measured values in messages differ from
    run to run and tell nothing: a commit for each would bury what matters.
    """
    return first is second or _essence(first) == _essence(second)


def _essence(status: TargetStatus) -> tuple[object, ...]:
    last = status.last_incident
    return (
        status.target,
        status.spec_digest,
        status.sync,
        status.health,
        tuple((c.type, c.status, c.reason, _NUMBER.sub("#", c.message)) for c in status.conditions),
        status.attempts,
        status.history,
        last and (last.fingerprint, last.result, last.escalated, last.flapping, _holds_since(last)),
    )


def _holds_since(last: LastIncident) -> datetime | None:
    """When a word was given that holds for a time only: given again, it is news."""
    return last.at if last.result == IncidentResult.NOTHING_TO_DO else None


def _status_bytes(status: TargetStatus, redactor: Redactor) -> bytes:
    data = status.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    head = {"apiVersion": status.api_version, "kind": status.kind}
    return json_bytes({**head, **data}, own_data(redactor.data), indent=1)


# ── messages ────────────────────────────────────────────────────────────────────


def intent_message(cases: Sequence[tuple[Incident, Plan, Sequence[Verdict]]]) -> str:
    """Subject of an intent commit: `intent: market-predictor: start`."""
    parts = []
    for incident, plan, _verdicts in cases:
        steps = ", ".join(dict.fromkeys(step.operation for step in plan.steps))
        parts.append(f"{short_name(incident.root)}: {steps}")
    return _subject("intent: ", parts)


def commit_message(report: RunReport, before: Reported, *, redactor: Redactor) -> str:
    """Subject, and a line for each incident when there are several."""
    told = news(report, before)
    lines = [headline(incident, redactor.text) for incident in told]
    if len(lines) == 1:
        return first_words(lines[0], _SUBJECT_LIMIT) + "\n"
    if lines:
        subject = first_words(redactor.text(counted_words(told)), _SUBJECT_LIMIT)
        return f"{subject}\n\n" + "\n".join(lines) + "\n"
    refused = report.desired.refused_revision
    if refused is not None and refused != before.refused_revision:
        return f"desired state refused: {plain(refused)}\n"
    if report.errors:
        return first_words(f"error: {redactor.text(report.errors[0])}", _SUBJECT_LIMIT) + "\n"
    if report.interrupted:
        runs = ", ".join(plain(run.run_id, 40) for run in report.interrupted)
        return first_words(f"interrupted: run {runs}", _SUBJECT_LIMIT) + "\n"
    changed = [
        f"{short_name(status.target)} {status.sync}/{status.health}"
        for status in report.statuses.values()
        if (known := before.statuses.get(status.target)) is None or not same_news(known, status)
    ]
    return _subject("status: ", changed or ["desired state changed"])


def _subject(prefix: str, parts: Sequence[str]) -> str:
    """As many parts as fit into a line, and how many more there are."""
    shown = [plain(part, 80) for part in parts[:2]]
    more = f" (+{len(parts) - len(shown)} more)" if len(parts) > len(shown) else ""
    return f"{prefix}{'; '.join(shown)}{more}\n"
