"""The run in UICI's log: constant events with key-values, one canonical line per run.

The demo reads these lines to show incidents live; their names and keys are an interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.listener import NullListener, RunRequest
from flows.plan import Plan
from flows.reporting.run_summary import drift_fields, run_fields
from flows.reporting.values import RunReport, RunResult
from flows.repository.contract import CommitResult
from flows.verify import Verification
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus


class LogListener(NullListener):
    """Writes a run into the log: constant events, and one canonical line at its end."""

    def __init__(self, log: Any = None) -> None:
        self._log: Any = log if log is not None else structlog.get_logger("uici")

    def run_started(self, request: RunRequest) -> None:
        """One line, for those who watch."""
        self._log.debug(
            "run_started",
            run_id=request.run_id,
            environments=request.environments,
            targets=request.targets,
            mode=request.mode.value if request.mode else None,
        )

    def drifts_found(self, comparison: Comparison) -> None:
        """A line for each drift, and for what keeps UICI from acting on it."""
        for drift in comparison.drifts:
            self._log.info("drift_found", **drift_fields(drift))
        for drift in comparison.pending:
            self._log.debug("drift_pending", **drift_fields(drift))
        for alert in comparison.ignored_alerts:
            self._log.warning(
                "agent_alert_ignored", alert=alert, reason="UICI never acts on itself"
            )
        for environment, reason in (comparison.breaker or {}).items():
            self._log.warning("breaker_open", environment=environment, reason=reason)

    def planned(self, incident: Incident, plan: Plan) -> None:
        """Who planned, why, and what."""
        self._log.info(
            "plan_made",
            target=incident.root,
            targets=incident.targets,
            incident=incident.fingerprint,
            planner=plan.planner.value,
            reason=plan.planner_reason,
            runbook=plan.runbook,
            diagnosis=plan.diagnosis,
            confidence=plan.confidence,
            steps=[
                {
                    "operation": step.operation,
                    "target": step.target,
                    "parameters": dict(step.parameters),
                    "why": step.why,
                }
                for step in plan.steps
            ],
        )

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:
        """A line for each step."""
        for verdict in verdicts:
            self._log.info(
                "verdict",
                incident=incident.fingerprint,
                operation=verdict.step.operation,
                target=verdict.step.target,
                decision=verdict.decision.value,
                rule=verdict.rule,
                reason=verdict.reason,
            )

    def intent_committed(self, result: CommitResult) -> None:
        """The commit that comes before any change."""
        self._log.info(
            "intent_committed",
            sha=result.sha,
            durability=result.durability.value,
            error=result.error,
        )

    def operation_started(self, incident: Incident, call: OperationCall) -> None:
        """One line; long operations are seen while they run."""
        self._log.info(
            "operation_started",
            incident=incident.fingerprint,
            operation=call.operation,
            target=call.target,
        )

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:
        """What came of it."""
        succeeded = outcome.status is OutcomeStatus.SUCCEEDED
        (self._log.info if succeeded else self._log.warning)(
            "operation_finished",
            incident=incident.fingerprint,
            operation=outcome.call.operation,
            target=outcome.call.target,
            status=outcome.status.value,
            seconds=round(outcome.seconds, 3),
            changed=outcome.changed,
            error=outcome.error,
            remedy=outcome.remedy,
        )

    def verified(self, incident: Incident, verification: Verification) -> None:
        """Each check with its last state."""
        self._log.info(
            "verified",
            incident=incident.fingerprint,
            target=incident.root,
            result=verification.result.value,
            seconds=round(verification.seconds, 3),
            checks=[
                {
                    "target": check.target,
                    "name": check.name,
                    "state": check.state.value,
                    "detail": check.detail,
                }
                for check in verification.checks
            ],
        )

    def run_finished(self, report: RunReport) -> None:
        """Each incident's end, then the canonical line of the run."""
        for incident in report.incidents:
            self._log.info(
                "incident_closed",
                target=incident.incident.root,
                incident=incident.incident.fingerprint,
                result=incident.result.value,
                summary=incident.summary,
            )
        failed = report.result is RunResult.ERROR
        (self._log.error if failed else self._log.info)("run_finished", **run_fields(report))
