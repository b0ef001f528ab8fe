"""Runs as `flows.reconcile` would report them, without a loop behind them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from flows.compare import Comparison
from flows.comparison.drift import Drift, HealthStatus, Incident, Sync, TargetState
from flows.execute import Execution
from flows.guard import Decision, Verdict
from flows.listener import Listener, RunRequest
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from flows.reporting.values import IncidentReport, IncidentResult, RunReport, RunResult
from flows.repository.contract import CommitResult, DesiredState, Durability
from flows.verify import Check, CheckState, Verification, VerificationResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus

TARGET = "local-docker/market-predictor"
SECRET = "sk-abcdefghijklmnopqrstuvwx"
REVISION = "main@sha1:" + "a" * 40


def state(target: str, *, sync: Sync = Sync.SYNCED) -> TargetState:
    return TargetState(target, "d" * 16, sync, HealthStatus.HEALTHY, "AsDeclared", "")


def comparison(count: int = 12, drifts: Sequence[Drift] = ()) -> Comparison:
    names = [TARGET, *(f"local-docker/service-{n}" for n in range(1, count))]
    states = {name: state(name) for name in names}
    incidents = tuple(incident(drift) for drift in drifts)
    return Comparison(states=states, drifts=tuple(drifts), pending=(), incidents=incidents)


def drift(target: str = TARGET, kind: DriftKind = DriftKind.STOPPED) -> Drift:
    return Drift(
        target,
        kind,
        desired="running",
        observed="exited (137)",
        message=f"the process has ended; its last line was token={SECRET}",
    )


def incident(of: Drift) -> Incident:
    fingerprint = f"{of.target}:{of.kind.value}"
    environment = of.target.partition("/")[0]
    return Incident(fingerprint, environment, of.target, (of.target,), (of,))


def plan(of: Incident, operation: str = "start") -> Plan:
    step = PlanStep(operation, of.root, {}, "start the stopped instances")
    return Plan(
        fingerprint=of.fingerprint,
        planner=PlannerKind.RUNBOOK,
        planner_reason="no LLM is configured",
        diagnosis="The process has ended.",
        confidence=1.0,
        evidence=(),
        steps=(step,),
        runbook="start-stopped",
    )


def outcome(of: Plan, status: OutcomeStatus = OutcomeStatus.SUCCEEDED) -> OperationOutcome:
    begin = datetime.now(UTC)
    call = OperationCall(of.steps[0].operation, of.steps[0].target, {})
    return OperationOutcome(call, status, begin, begin + timedelta(seconds=0.3), changed=True)


def verification(
    of: Incident, result: VerificationResult = VerificationResult.RECOVERED
) -> Verification:
    check = Check(of.root, "engine", CheckState.PASSED, "running")
    return Verification(of.fingerprint, result, (check,), 0.4)


def report(
    request: RunRequest,
    compared: Comparison,
    incidents: Sequence[IncidentReport] = (),
    *,
    result: RunResult = RunResult.CONVERGED,
    errors: Sequence[str] = (),
) -> RunReport:
    now = datetime.now(UTC)
    return RunReport(
        run_id=request.run_id,
        started_at=now - timedelta(seconds=0.2),
        finished_at=now,
        mode="enforce",
        desired=DesiredState(REVISION, {}),
        comparison=compared,
        failures=(),
        incidents=tuple(incidents),
        statuses={},
        result=result,
        errors=tuple(errors),
    )


def quiet_run(request: RunRequest, listener: Listener) -> RunReport:
    """Nothing drifts."""
    listener.run_started(request)
    compared = comparison()
    listener.drifts_found(compared)
    finished = report(request, compared)
    listener.run_finished(finished)
    return finished


def healing_run(request: RunRequest, listener: Listener) -> RunReport:
    """One stopped service is started and recovers."""
    listener.run_started(request)
    compared = comparison(drifts=[drift()])
    listener.drifts_found(compared)
    broken = compared.incidents[0]
    made = plan(broken)
    listener.planned(broken, made)
    verdicts = (Verdict(made.steps[0], Decision.ALLOWED, "allowed", "low risk is allowed here"),)
    listener.judged(broken, verdicts)
    listener.intent_committed(CommitResult("c" * 40, Durability.PUSHED))
    listener.operation_started(broken, made.steps[0].call)
    done = outcome(made)
    listener.operation_finished(broken, done)
    verified = verification(broken)
    listener.verified(broken, verified)
    closed = IncidentReport(
        broken,
        Evidence(),
        made,
        verdicts,
        Execution(broken.fingerprint, (done,)),
        verified,
        IncidentResult.RECOVERED,
        "it had stopped and was started",
    )
    finished = report(request, compared, [closed])
    listener.run_finished(finished)
    return finished


def unresolved_run(
    request: RunRequest, listener: Listener, *, result: IncidentResult, decision: Decision
) -> RunReport:
    """One incident that nothing was done about: `result` says why."""
    listener.run_started(request)
    compared = comparison(drifts=[drift()])
    listener.drifts_found(compared)
    broken = compared.incidents[0]
    made = plan(broken, "execute_command")
    listener.planned(broken, made)
    verdicts = (Verdict(made.steps[0], decision, "always-approve", "a person decides"),)
    listener.judged(broken, verdicts)
    closed = IncidentReport(
        broken, Evidence(), made, verdicts, None, None, result, "a person has to look"
    )
    finished = report(request, compared, [closed], result=RunResult.DRIFT_REMAINS)
    listener.run_finished(finished)
    return finished
