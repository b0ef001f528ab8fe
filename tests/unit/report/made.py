"""Runs as they come out of the loop, for the report's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.compare import Comparison
from flows.comparison.drift import Drift, Incident
from flows.execute import Execution
from flows.guard import Decision, Verdict
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from flows.reporting.status import Condition, ConditionType, LastIncident, TargetStatus
from flows.reporting.values import IncidentReport, IncidentResult, RunReport, RunResult
from flows.repository.contract import DesiredState
from flows.verify import Check, CheckState, Verification, VerificationResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationOutcome, OutcomeStatus

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TARGET = "local-docker/market-predictor"
FINGERPRINT = "f" * 64
DESIRED = DesiredState("main@sha1:" + "a" * 40, {})


def drift(**changes: Any) -> Drift:
    values: dict[str, Any] = {
        "target": TARGET,
        "kind": DriftKind.STOPPED,
        "desired": "running",
        "observed": "exited (137)",
        "message": "the process has ended",
        "instance": "market-predictor",
        "since": NOW - timedelta(seconds=2),
    }
    return Drift(**{**values, **changes})


def incident(*drifts: Drift, targets: Sequence[str] = (TARGET,)) -> Incident:
    return Incident(FINGERPRINT, "local-docker", targets[0], tuple(targets), drifts or (drift(),))


def step(operation: str = "start", **changes: Any) -> PlanStep:
    values: dict[str, Any] = {
        "operation": operation,
        "target": TARGET,
        "parameters": {},
        "why": "start the stopped instances",
    }
    return PlanStep(**{**values, **changes})


def plan(*steps: PlanStep, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "fingerprint": FINGERPRINT,
        "planner": PlannerKind.RUNBOOK,
        "planner_reason": "no LLM is configured",
        "diagnosis": "The process has ended and its engine did not start it again.",
        "confidence": 1.0,
        "evidence": ("exit code 137",),
        "steps": steps or (step(),),
        "runbook": "start-stopped",
    }
    return Plan(**{**values, **changes})


def verdict(of: PlanStep, decision: Decision = Decision.ALLOWED, rule: str = "risk") -> Verdict:
    return Verdict(of, decision, rule, "risk low runs alone up to high")


def case() -> tuple[Incident, Plan, tuple[Verdict, ...]]:
    made = plan()
    return incident(), made, tuple(verdict(s) for s in made.steps)


def outcome(of: PlanStep, **changes: Any) -> OperationOutcome:
    values: dict[str, Any] = {
        "call": of.call,
        "status": OutcomeStatus.SUCCEEDED,
        "started_at": NOW - timedelta(seconds=1),
        "finished_at": NOW - timedelta(seconds=0.7),
        "changed": True,
        "native_ids": ("0123456789abcdef" * 4,),
    }
    return OperationOutcome(**{**values, **changes})


def incident_report(
    result: IncidentResult = IncidentResult.RECOVERED,
    *,
    acted: bool = True,
    rule: str = "risk",
    decision: Decision = Decision.ALLOWED,
    made: Plan | None = None,
    of: Incident | None = None,
    summary: str = "",
    evidence: Evidence | None = None,
) -> IncidentReport:
    planned = made or plan()
    verified = Verification(
        FINGERPRINT,
        VerificationResult.RECOVERED,
        (Check(TARGET, "engine", CheckState.PASSED, "1 running"),),
        0.4,
    )
    execution = Execution(FINGERPRINT, tuple(outcome(s) for s in planned.steps))
    return IncidentReport(
        incident=of or incident(),
        evidence=evidence or Evidence({TARGET: "starting\nready\n"}, (), ("exit code 137",)),
        plan=planned,
        verdicts=tuple(verdict(s, decision, rule) for s in planned.steps),
        execution=execution if acted else None,
        verification=verified if acted else None,
        result=result,
        summary=summary,
    )


def status(
    target: str = TARGET,
    *,
    at: datetime = NOW,
    message: str = "as declared",
    result: str | None = None,
) -> TargetStatus:
    last = result and LastIncident(
        fingerprint=FINGERPRINT,
        run_id=f"run at {at}",
        plan_digest="d" * 64,
        planner="runbook",
        result=result,
        at=at,
    )
    ready = Condition(
        type=ConditionType.READY,
        status="True",
        reason="AsDeclared",
        message=message,
        last_transition_time=at,
    )
    return TargetStatus(
        target=target,
        observed_revision=f"main@sha1:{at:%S}",
        spec_digest="0" * 16,
        sync="Synced",
        health="Healthy",
        conditions=(ready,),
        last_incident=last or None,
    )


def run_report(
    run_id: str,
    *,
    desired: DesiredState = DESIRED,
    incidents: Sequence[IncidentReport] = (),
    statuses: Mapping[str, TargetStatus] | None = None,
    errors: Sequence[str] = (),
) -> RunReport:
    return RunReport(
        run_id=run_id,
        started_at=NOW - timedelta(seconds=3),
        finished_at=NOW,
        mode="as configured",
        desired=desired,
        comparison=Comparison({}, (), (), tuple(i.incident for i in incidents)),
        failures=(),
        incidents=tuple(incidents),
        statuses=statuses or {},
        result=RunResult.CONVERGED,
        errors=tuple(errors),
    )


def healed(run_id: str) -> RunReport:
    """One stopped service, started and verified."""
    known = {TARGET: status(result="recovered")}
    return run_report(run_id, incidents=[incident_report()], statuses=known)
