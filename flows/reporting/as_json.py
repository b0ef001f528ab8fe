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
from flows.plan import Plan, PlanStep
from flows.reporting.asked import Exact, Told
from flows.reporting.text import begins_known, fault_seconds, plain
from flows.reporting.values import IncidentReport, RunReport
from infrastructure.errors import Problem
from infrastructure.operations import OperationOutcome

RedactData = Callable[[Any], Any]

_TEXT = 500
_FACTS = 10
_PROBLEMS = 100

# An alert storm is one incident; its report is not the place for all of it.
_DRIFTS = 50


def report_to_dict(report: RunReport) -> dict[str, Any]:
    """The whole run as JSON-able data, not yet redacted."""
    desired, told = report.desired, Told()
    return _lean(
        {
            **_head("RunReport", report.run_id),
            "startedAt": report.started_at,
            "finishedAt": report.finished_at,
            "mode": report.mode,
            "result": report.result,
            "stopped": report.stopped,
            "paused": report.paused,
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
            "incidents": [_incident(incident, told) for incident in report.incidents],
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
) -> dict[str, Any]:
    """What is about to be done: enough to know afterwards what may have happened."""
    return _lean(
        {
            **_head("Intent", run_id),
            "at": at,
            "desired": desired_revision,
            "incidents": [
                {
                    "fingerprint": incident.fingerprint,
                    "root": incident.root,
                    "targets": incident.targets,
                    "plan": plan.digest,
                    "planner": plan.planner,
                    "runbook": plan.runbook,
                    "diagnosis": plan.diagnosis,
                    "steps": [_step(verdict.step, verdict) for verdict in verdicts],
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


def _incident(report: IncidentReport, told: Told) -> dict[str, Any]:
    incident, verification = report.incident, report.verification
    outcomes = report.execution.outcomes if report.execution else ()
    return {
        "fingerprint": incident.fingerprint,
        "environment": incident.environment,
        "root": incident.root,
        "targets": incident.targets,
        "result": report.result,
        "summary": report.summary,
        "faultToRecoverySeconds": fault_seconds(report) if begins_known(report) else None,
        "drifts": [_drift(drift) for drift in incident.drifts[:_DRIFTS]],
        "driftsLeftOut": max(0, len(incident.drifts) - _DRIFTS),
        "evidence": {
            "patterns": report.evidence.patterns,
            "facts": report.evidence.facts[:_FACTS],
        },
        "plan": _plan(report.plan, report.verdicts, told),
        "operations": [_operation(outcome) for outcome in outcomes],
        "verification": verification
        and {
            "result": verification.result,
            "seconds": verification.seconds,
            "checks": [
                {"target": c.target, "name": c.name, "state": c.state, "detail": c.detail}
                for c in verification.checks
            ],
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


def _plan(plan: Plan, verdicts: Sequence[Verdict], told: Told) -> dict[str, Any]:
    return {
        "digest": plan.digest,
        "planner": plan.planner,
        "reason": plan.planner_reason,
        "runbook": plan.runbook,
        "diagnosis": plan.diagnosis,
        "confidence": plan.confidence,
        "evidence": plan.evidence[:_FACTS],
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


def _operation(outcome: OperationOutcome) -> dict[str, Any]:
    return {
        "operation": outcome.call.operation,
        "target": outcome.call.target,
        "parameters": outcome.call.parameters,
        "status": outcome.status,
        "startedAt": outcome.started_at,
        "seconds": outcome.seconds,
        "changed": outcome.changed,
        "nativeIds": outcome.native_ids,
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
