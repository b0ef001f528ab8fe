"""A run, an intent and a status as JSON for programs: small, versioned, always the same.

Empty values are left out; moments are ISO 8601 in UTC. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from flows.comparison.drift import Drift, Incident
from flows.guard import Verdict
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from flows.reporting.asked import Exact, ReportTexts
from flows.reporting.outputs import answer_data, answers
from flows.reporting.text import begins_known, fault_seconds, plain
from flows.reporting.values import IncidentReport, IncidentResult, RunReport
from infrastructure.errors import Problem
from infrastructure.operations import OperationOutcome

RedactData = Callable[[Any], Any]

_TEXT = 500
_SHORT = 16  # of a digest that stands elsewhere in full
_FACTS = 10  # of a plan
_LINES = 200  # of each part of a dossier
_PROBLEMS = 100

# An alert storm is one incident; its report is not the place for all of it.
_DRIFTS = 50


def _as_it_is(data: Any) -> Any:
    return data


def report_to_dict(report: RunReport, redact: RedactData = _as_it_is) -> dict[str, Any]:
    """The whole run as JSON-able data, not yet redacted but for what is cut here.

    Args:
        report: what happened.
        redact: cuts secrets out of what operations have answered, before it is cut.
    """
    desired, told = report.desired, ReportTexts()
    return _lean(
        {
            **_head("RunReport", report.run_id),
            "startedAt": report.started_at,
            "finishedAt": report.finished_at,
            "mode": report.mode,
            "result": report.result,
            "stopped": report.stopped,
            "paused": report.paused,
            "heldOff": report.held_off,
            "leftAlone": report.left_alone,
            "proposals": [
                {
                    "target": note.target,
                    "field": note.field,
                    "old": note.old,
                    "new": note.new,
                    "branch": note.branch,
                    "pullRequest": note.pull_request,
                }
                for note in report.proposals
            ],
            "interrupted": [
                {
                    "run": run.run_id,
                    "result": "interrupted",
                    "at": run.at,
                    "desired": run.desired_revision,
                    "planned": run.planned,
                    "found": run.found,
                }
                for run in report.interrupted
            ],
            "desired": {
                "revision": desired.revision,
                "refused": desired.refused_revision,
                "stale": desired.stale,
                "problems": [_problem(problem) for problem in desired.problems[:_PROBLEMS]],
            },
            "counts": {
                "targets": len(report.comparison.states),
                "drifts": len(report.comparison.drifts),
                "pending": len(report.comparison.pending),
            },
            "incidents": [_incident(one, told, redact) for one in report.incidents],
            "failures": [
                {"environment": f.environment, "source": f.source, "error": f.error}
                for f in report.failures
            ],
            "errors": report.errors,
            "intentCommit": report.intent_commit,
            "reportCommit": report.report_commit,
        }
    )


def intent_to_dict(
    run_id: str,
    at: datetime,
    desired_revision: str,
    cases: Sequence[tuple[Incident, Plan, Sequence[Verdict]]],
    *,
    by: str = "",
    until: datetime | None = None,
) -> dict[str, Any]:
    """What is about to be done: enough to know afterwards what may have happened.

    `by`: the installation; until `until` it may be at work.
    """
    return _lean(
        {
            **_head("Intent", run_id),
            "at": at,
            "by": by,
            "until": until,
            "desired": desired_revision,
            "incidents": [
                {
                    "fingerprint": incident.fingerprint,
                    "root": incident.root,
                    "targets": incident.targets,
                    "plan": plan.digest[:_SHORT],  # whole in the commit's trailer
                    "planner": plan.planner,
                    "runbook": plan.runbook,
                    "diagnosis": plan.diagnosis,
                    "steps": [_meant(_step(v.step, v)) for v in verdicts],
                    "undo": [_meant(_step(step, None)) for step in plan.rollback],
                }
                for incident, plan, verdicts in cases
            ],
        }
    )


def refusal_to_dict(revision: str, problems: Sequence[Problem]) -> dict[str, Any]:
    """A desired state that was refused, and why."""
    data = {
        "apiVersion": "uici/v1",
        "kind": "RefusedDesiredState",
        "revision": revision,
        "problems": [_problem(problem) for problem in problems[:_PROBLEMS]],
    }
    return _lean(data)


def json_bytes(data: Mapping[str, Any], redact: RedactData, *, indent: int | None = None) -> bytes:
    """Redacted, then written the same way every time; one newline at the end."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(redact(data), ensure_ascii=False, indent=indent, separators=separators)
    return (text + "\n").encode(errors="replace")


def _head(kind: str, run_id: str) -> dict[str, Any]:
    return {"apiVersion": "uici/v1", "kind": kind, "runId": run_id}


def _incident(report: IncidentReport, told: ReportTexts, redact: RedactData) -> dict[str, Any]:
    incident, verification = report.incident, report.verification
    said = {id(outcome): answer_data(outcome.output, redact) for outcome in answers(report)}
    outcomes = report.execution.outcomes if report.execution else ()
    return {
        "fingerprint": incident.fingerprint,
        "environment": incident.environment,
        "root": incident.root,
        "targets": incident.targets,
        "result": report.result,
        "summary": report.summary,
        "notSent": report.not_sent if report.result is not IncidentResult.RECOVERED else "",
        "asked": report.asked and {"request": report.asked.request, "until": report.asked.until},
        "seenAt": None if begins_known(report) else report.seen_at,  # else it counts from there
        "faultToRecoverySeconds": _milliseconds(fault_seconds(report))
        if begins_known(report)
        else None,
        "drifts": [_drift(drift) for drift in incident.drifts[:_DRIFTS]],
        "driftsLeftOut": max(0, len(incident.drifts) - _DRIFTS) or None,
        "evidence": _evidence(report.evidence),
        "plan": _plan(report.plan, report.verdicts, told),
        "operations": [_operation(o, said.get(id(o))) for o in outcomes],
        "undone": [_operation(o, said.get(id(o))) for o in report.undone],
        "verification": verification
        and {
            "result": verification.result,
            "seconds": _milliseconds(verification.seconds),
            "checks": [
                {"target": c.target, "name": c.name, "state": c.state, "detail": c.detail}
                for c in verification.checks
            ],
        },
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    """The whole dossier. `evidence.maxTokens` bounds it already; this is a second wall."""
    return {
        "patterns": evidence.patterns,
        "matches": [
            {
                "name": match.name,
                "target": match.target,
                "cause": match.cause,
                "meaning": match.meaning,
                "count": match.count,
                "line": match.line,
                "subject": match.subject,
            }
            for match in evidence.matches[:_LINES]
        ],
        "facts": evidence.facts[:_LINES],
        "changes": evidence.changes[:_LINES],
        "dependencies": evidence.dependencies[:_LINES],
        "past": evidence.past[:_LINES],
        "logs": {target: log.splitlines()[-_LINES:] for target, log in evidence.logs.items()},
        "leftOut": evidence.left_out[:_LINES],
        "gitChange": evidence.git_change
        and {
            "commit": evidence.git_change.commit,
            "author": evidence.git_change.author,
            "subject": evidence.git_change.subject,
            "acceptedWith": evidence.git_change.accepted_with,
        },
    }


def _drift(drift: Drift) -> dict[str, Any]:
    return {
        "target": drift.target,
        "kind": drift.kind,
        "field": drift.field,
        "desired": drift.desired,
        "observed": drift.observed,
        "message": drift.message,
        "instance": drift.instance,
        "since": drift.since,
    }


def _plan(plan: Plan, verdicts: Sequence[Verdict], told: ReportTexts) -> dict[str, Any]:
    by_rule = plan.planner is PlannerKind.RUNBOOK
    return {
        "digest": plan.digest,
        "planner": plan.planner,
        "reason": plan.planner_reason,
        "runbook": plan.runbook,
        "diagnosis": plan.diagnosis,
        "confidence": None if by_rule else plan.confidence,
        # A runbook's evidence is the drifts, and these are told beside it.
        "evidence": () if by_rule else plan.evidence[:_FACTS],
        "steps": [_step(verdict.step, verdict) for verdict in verdicts]
        or [_step(step, None) for step in plan.steps],
        "rollback": [_step(step, None) for step in plan.rollback],
        **told.planning(plan),
    }


def _step(step: PlanStep, verdict: Verdict | None) -> dict[str, Any]:
    return {
        "operation": step.operation,
        "target": step.target,
        "parameters": step.parameters,
        "why": step.why,
        "expectedEffect": step.expected_effect,
        "verdict": verdict and verdict.decision,
        "rule": verdict and verdict.rule,
        "reason": verdict and verdict.reason,
    }


def _meant(step: dict[str, Any]) -> dict[str, Any]:
    """A step as its intent tells it: what, and by whose leave; the report says why, too."""
    return {key: value for key, value in step.items() if key not in ("why", "expectedEffect")}


def _operation(outcome: OperationOutcome, output: Any) -> dict[str, Any]:
    return {
        "operation": outcome.call.operation,
        "target": outcome.call.target,
        "parameters": outcome.call.parameters,
        "status": outcome.status,
        "startedAt": outcome.started_at,
        "seconds": _milliseconds(outcome.seconds),
        "changed": outcome.changed,
        "nativeIds": outcome.native_ids,
        "output": output,
        "error": outcome.error,
        "remedy": outcome.remedy,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def _lean(data: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-able, without members that say nothing."""
    found = {str(key): _jsonable(value) for key, value in data.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _milliseconds(seconds: float | None) -> float | None:
    """Nobody needs more, and Git keeps every digit for ever."""
    return None if seconds is None else round(seconds, 3)


def _jsonable(value: Any) -> Any:  # noqa: PLR0911  # one return a type reads best
    match value:
        case Enum():
            return value.value
        case bool() | int() | None:
            return value
        case float():
            return round(value, 6)
        case Exact():
            return str(value)
        case str():
            return plain(value, _TEXT)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Decimal():
            return f"{value:f}"
        case Mapping():
            return _lean(value)
        case list() | tuple() | set() | frozenset():
            return [_jsonable(item) for item in value]
        case _:
            return plain(str(value), _TEXT)
