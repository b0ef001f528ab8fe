"""A run, an incident or a drift in few words, for log lines, run names and events.

Pure. Neighbours: `flows.listener` (log), `flows.prefect_edge.listener` (Prefect's UI); the
whole report in Markdown is `flows.report`'s.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flows.approvals.request import ApprovalRequest
from flows.comparison.drift import Drift, Sync
from flows.guard import Decision
from flows.reporting.sentences import NEEDED, TELL, names, nobody_alerted, not_well
from flows.reporting.values import IncidentReport, IncidentResult, RunReport, RunResult
from infrastructure.operations import OutcomeStatus

_NAME_LIMIT = 200  # a run's name is one line in a table


def drift_fields(drift: Drift) -> dict[str, Any]:
    """A drift as key-values for a log line, an event or a table row."""
    return {
        "target": drift.target,
        "kind": drift.kind.value,
        "field": drift.field,
        "desired": drift.desired,
        "observed": drift.observed,
        "message": drift.message,
        "since": _iso(drift.since),
    }


def run_fields(report: RunReport) -> dict[str, Any]:
    """A run as key-values: identity, result, durations in seconds, counts."""
    results = [incident.result for incident in report.incidents]
    outcomes = [
        outcome
        for incident in report.incidents
        if incident.execution
        for outcome in incident.execution.outcomes
    ]
    verify = [i.verification.seconds for i in report.incidents if i.verification]
    return {
        "run_id": report.run_id,
        "result": report.result.value,
        "summary": run_name(report),
        "mode": report.mode,
        "revision": report.desired.revision,
        "seconds": round((report.finished_at - report.started_at).total_seconds(), 3),
        "operation_seconds": round(sum(outcome.seconds for outcome in outcomes), 3),
        "verify_seconds": round(max(verify, default=0.0), 3),
        "targets": len(report.comparison.states),
        "drifts": len(report.comparison.drifts),
        "pending": len(report.comparison.pending),
        "incidents": len(results),
        **{result.value: results.count(result) for result in IncidentResult if result in results},
        "operations": len(outcomes),
        "unreachable": [f"{f.environment}/{f.source}" for f in report.failures],
        "errors": list(report.errors),
        "intent_commit": report.intent_commit,
        "report_commit": report.report_commit,
    }


def asked_fields(request: ApprovalRequest) -> dict[str, Any]:
    """A request for a person's word as key-values for an event."""
    return {
        "request": request.id,
        "plan": request.plan_digest,
        "operations": [step.operation for step in request.plan.steps],
        "risk": request.risk.value,
        "diagnosis": request.plan.diagnosis,
        "asked_by": request.run_id,
        "expires_at": _iso(request.expires_at),
        "approve": f"uici approve {request.id}",
    }


# What a person has to know first stands first.
_WORDS = {
    IncidentResult.FAILED: "not healed",
    IncidentResult.ESCALATED: "people told of",
    IncidentResult.UNKNOWN: "outcome unknown",
    IncidentResult.WAITING: "waiting",
    IncidentResult.HELD: "held",
    IncidentResult.INTERRUPTED: "interrupted",
    IncidentResult.NOTHING_TO_DO: "nothing to do for",
    IncidentResult.RECOVERED: "healed",
}


def run_name(report: RunReport) -> str:
    """What happened, in one line: `in sync · 12 targets`, `healed market-predictor: start`."""
    if report.result is RunResult.ERROR:
        reason = report.errors[0] if report.errors else "see the report"
        text = f"error: {reason.splitlines()[0]}"
    elif not report.incidents:
        text = quiet_name(report)
    else:
        parts = []
        for result, word in _WORDS.items():
            found = [i for i in report.incidents if i.result is result]
            if len(found) == 1:
                parts.append(_incident_name(word, found[0]))
            elif found:
                roots = ", ".join(_short(i.incident.root) for i in found)
                unsent = any(i.result is IncidentResult.ESCALATED and i.not_sent for i in found)
                parts.append(f"{f'{NEEDED} for' if unsent else word} {len(found)}: {roots}")
        text = " · ".join(parts)
    return text if len(text) <= _NAME_LIMIT else text[: _NAME_LIMIT - 1] + "…"


def quiet_name(report: RunReport) -> str:
    """A run without an incident: how many targets are in sync, drift, or were not seen."""
    count = len(report.comparison.states)
    targets = f"{count} target" + ("" if count == 1 else "s")
    unknown = sum(state.sync is Sync.UNKNOWN for state in report.comparison.states.values())
    if unknown:
        return f"unknown {unknown} of {targets}"
    differing = {drift.target for drift in report.comparison.drifts}
    drifting = len(differing & report.comparison.states.keys())
    strays = len(differing) - drifting  # orphans: no target that is declared
    orphans = f" · {strays} orphan{'' if strays == 1 else 's'}" if strays else ""
    if drifting:
        return f"drift on {drifting} of {targets}{orphans}"
    pending = len({drift.target for drift in report.comparison.pending})
    # What fails within its grace is neither a fault yet nor in sync.
    text = (f"within grace {pending} of {targets}" if pending else f"in sync · {targets}") + orphans
    unread = dict.fromkeys(f"{f.source} of {f.environment}" for f in report.failures)
    return text + (f" · unreachable: {', '.join(unread)}" if unread else "")


def _incident_name(word: str, report: IncidentReport) -> str:
    name = _short(report.incident.root)
    if report.result is IncidentResult.WAITING:
        needs = any(v.decision is Decision.NEEDS_APPROVAL for v in report.verdicts)
        return f"{word}: {name} needs approval" if needs else f"{word}: {name}"
    unsent = report.result is IncidentResult.ESCALATED and bool(report.not_sent)
    outcomes = report.execution.outcomes if report.execution else ()
    begun = [o.call.operation for o in outcomes if o.status is not OutcomeStatus.SKIPPED]
    done = [operation for operation in begun if operation != TELL]
    sick = f" ({names(list(not_well(report)))} not well yet)" if not_well(report) else ""
    told = f"{NEEDED} for" if unsent else word
    acted = f": {', '.join(done)}" if done else ""
    return f"{told} {name}{acted}{sick}{nobody_alerted(report) if unsent else ''}"


def _short(target: str) -> str:
    return target.partition("/")[2] or target


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
