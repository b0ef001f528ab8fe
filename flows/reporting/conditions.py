"""What is remembered of a target: the next status from the last one and this run. Pure.

Conditions follow the Kubernetes conventions; attempts are counted before an operation
runs, so that a crash counts, and reset by a verified recovery or another spec digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

from flows.comparison.drift import HealthStatus, Sync, TargetState
from flows.comparison.target_judgement import WELL
from flows.escalation import USUAL_SEVERITY
from flows.execute import changing, runnable
from flows.guarding.flapping import flaps
from flows.learning.lessons import did_not_help, ended_open, steps_of
from flows.report import IncidentReport, IncidentResult
from flows.reporting.sentences import TELL, diagnosis_words, only_tells
from flows.reporting.status import (
    Attempts,
    Condition,
    ConditionType,
    LastIncident,
    PastIncident,
    TargetStatus,
    TriedPlan,
)
from flows.reporting.text import plain
from flows.reporting.wrong import by_hand
from infrastructure.config_models import FlappingSettings, Policy
from infrastructure.observed import Alert
from infrastructure.operations import OutcomeStatus

ConditionStatus = Literal["True", "False", "Unknown"]

_MAX_TRIED = 100  # what maxAttempts may be at most
_DIAGNOSIS = 300  # characters; the report has all of it
_DIGEST = 16  # characters; whole in the commit's trailer

_READY: dict[HealthStatus, ConditionStatus] = {
    HealthStatus.HEALTHY: "True",
    HealthStatus.DEGRADED: "False",
    HealthStatus.MISSING: "False",
    HealthStatus.PROGRESSING: "Unknown",
    HealthStatus.SUSPENDED: "Unknown",
    HealthStatus.UNKNOWN: "Unknown",
}


class _Claim(NamedTuple):
    """A condition without its time."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What every status of a run has in common. `flapping`: when a target does; None: never."""

    run_id: str
    revision: str
    now: datetime
    flapping: FlappingSettings | None = None


def with_attempt(
    state: TargetState,
    previous: TargetStatus | None,
    policy: Policy,
    run: RunFacts,
    *,
    history: tuple[PastIncident, ...] = (),
    counts: bool = True,
) -> TargetStatus:
    """The status with one attempt more; it is committed before the attempt is made.

    Its back-off counts from now, for a run that never comes to its end; `next_status` counts it
    from there.

    Args:
        state: what compare said.
        previous: the status as last written.
        policy: the target's limits.
        run: facts of the run.
        history: with the incident that is about to be worked on.
        counts: False: what a person has asked for is no attempt of the loop's; the history
            tells of it all the same, and cool-downs and limits rest on that.
    """
    status = previous or next_status(state, None, None, run)
    if not counts:
        return with_history(status, history)
    attempts = count_attempt(state.spec_digest, policy, status.attempts, run.now)
    changes = {"attempts": attempts, "history": history, **status.of_spec(state.spec_digest)}
    return status.model_copy(update=changes)


def with_history(status: TargetStatus, history: tuple[PastIncident, ...]) -> TargetStatus:
    """The status with this history; itself where it has it."""
    return status if status.history == history else status.model_copy(update={"history": history})


def count_attempt(
    spec_digest: str, policy: Policy, before: Attempts | None, now: datetime
) -> Attempts:
    """The attempts with one more, on this spec."""
    same = before is not None and before.spec_digest == spec_digest
    count = (before.count if before is not None and same else 0) + 1
    backoff = policy.backoff
    # 2^30 × the shortest back-off is beyond any sensible maximum.
    delay = min(backoff.max, backoff.initial * 2 ** min(count - 1, 30))
    return Attempts(
        spec_digest=spec_digest,
        count=count,
        last_at=now,
        not_before=now + delay,
        tried=before.tried if before is not None and same else (),
        open_ended=before.open_ended if before is not None and same else (),
    )


def next_status(
    state: TargetState,
    previous: TargetStatus | None,
    report: IncidentReport | None,
    run: RunFacts,
) -> TargetStatus:
    """The status after a run; `previous` itself where it says the same.

    Args:
        state: what compare said.
        previous: the status as last written (with this run's attempt counted), None for
            a new target.
        report: of the incident that this target is the root of, if there was one.
        run: facts of the run.
    """
    if report is not None and by_hand(report) and report.result is not IncidentResult.RECOVERED:
        report = None  # it says nothing about the loop's own tries, nor what people were told
    if report is not None and report.result is IncidentResult.RECOVERED:
        state = replace(
            state, sync=Sync.SYNCED, health=HealthStatus.HEALTHY, reason=WELL[0], message=WELL[1]
        )
    elif _concludes_nothing(state, previous, report):
        assert previous is not None  # noqa: S101  # _concludes_nothing has looked
        return previous
    elif report is not None and report.verification is not None:
        # What was seen before the repair may be better than what it has left.
        state = report.verification.left or state
    last = _last_incident(state, previous, report, run)
    attempts = _attempts(state, previous, report, run.now)
    claims = tuple(_claims(state, attempts, last))
    now = (run.revision, state.spec_digest, state.sync, state.health, attempts, last, claims)
    well = claims[0].type is ConditionType.READY and claims[0].status == "True"
    # Most targets are as they were: models are made for the others only.
    if previous is not None and now == _told(previous):
        return previous
    return TargetStatus(
        target=state.target,
        observed_revision=run.revision,
        spec_digest=state.spec_digest,
        sync=state.sync.value,
        health=state.health.value,
        conditions=tuple(_timed(claims, previous, run.now)),
        attempts=attempts,
        last_incident=last,
        history=previous.history if previous else (),
        well_since=previous.last_well if previous is not None and not well else None,
        synced_digest=(
            previous.last_synced_digest
            if previous is not None and state.sync is not Sync.SYNCED
            else ""
        ),
        well_digest=(
            previous.well_before(state.spec_digest) if previous is not None and not well else ""
        ),
    )


def _told(status: TargetStatus) -> tuple[object, ...]:
    """What a status says of its target, without times."""
    return (
        status.observed_revision,
        status.spec_digest,
        status.sync,
        status.health,
        status.attempts,
        status.last_incident,
        tuple((c.type, c.status, c.reason, c.message) for c in status.conditions),
    )


def agent_status(
    agent: str, alerts: Iterable[Alert], previous: TargetStatus | None, run: RunFacts
) -> TargetStatus | None:
    """The agent's own line among the statuses: its alerts are told, and never acted upon."""
    names = sorted({alert.name for alert in alerts})
    if not names and previous is None:
        return None
    message = (
        f"{', '.join(names)} fires about the agent itself: a person or its supervisor must act"
        if names
        else "no alert about the agent"
    )
    ready = _Claim(
        ConditionType.READY,
        "False" if names else "True",
        "OwnAlertFiring" if names else "Silent",
        message,
    )
    return TargetStatus(
        target=f"agent/{agent}",
        observed_revision=run.revision,
        spec_digest="",
        sync=Sync.SYNCED.value,
        health=(HealthStatus.DEGRADED if names else HealthStatus.HEALTHY).value,
        conditions=tuple(_timed([ready], previous, run.now)),
    )


def _concludes_nothing(
    state: TargetState, previous: TargetStatus | None, report: IncidentReport | None
) -> bool:
    """Within a grace period the last word stands: else every repair were two commits more."""
    return (
        report is None
        and previous is not None
        and previous.spec_digest == state.spec_digest
        and state.health is HealthStatus.PROGRESSING
    )


def _is_well(state: TargetState) -> bool:
    return state.health is HealthStatus.HEALTHY and state.sync is Sync.SYNCED


def _attempts(
    state: TargetState,
    previous: TargetStatus | None,
    report: IncidentReport | None,
    now: datetime,
) -> Attempts | None:
    attempts = previous.attempts if previous else None
    if attempts is None or attempts.spec_digest != state.spec_digest:
        return None
    if report is not None:
        if report.result is IncidentResult.RECOVERED:
            return None
        return _tried(_rested(attempts, report, now), report, now)
    # Well without a verification of ours: believed once it has outlasted the back-off.
    return None if _is_well(state) and now >= attempts.not_before else attempts


def _rested(attempts: Attempts, report: IncidentReport, now: datetime) -> Attempts:
    """With the back-off from the end of this run's attempt on, if it has made one."""
    if report.execution is None or not changing(runnable(report.verdicts)):
        return attempts
    pause = attempts.not_before - attempts.last_at
    return attempts.model_copy(update={"not_before": max(attempts.not_before, now + pause)})


def _tried(attempts: Attempts, report: IncidentReport, now: datetime) -> Attempts:
    """With the plan that was carried out and did not help, or of which nobody knows."""
    in_vain = did_not_help(report)
    if not in_vain and not ended_open(report):
        return attempts
    plan = TriedPlan(
        remedy=report.plan.remedy,
        planner=report.plan.planner.value,
        steps=steps_of(report.plan, report.incident.root),
        at=now,
        result=report.summary,
    )
    if in_vain:
        return attempts.model_copy(update={"tried": (*attempts.tried, plan)[-_MAX_TRIED:]})
    return attempts.model_copy(update={"open_ended": (*attempts.open_ended, plan)[-_MAX_TRIED:]})


def _last_incident(
    state: TargetState,
    previous: TargetStatus | None,
    report: IncidentReport | None,
    run: RunFacts,
) -> LastIncident | None:
    last = previous.last_incident if previous else None
    if report is not None:
        fingerprint = report.incident.fingerprint
        # What came of trying is about the fault that was tried: another one's is not carried on.
        before = last.summary if last and last.fingerprint == fingerprint else ""
        escalated = report.result is IncidentResult.ESCALATED
        severity, told = _people_told(report)
        if escalated and last is not None and last.escalated and not severity:
            severity, told = last.severity, last.told
        return LastIncident(
            flapping=escalated and only_tells(report) and _flaps(state, previous, run),
            severity=severity,
            told=told,
            fingerprint=fingerprint,
            run_id=run.run_id,
            plan_digest=report.plan.digest[:_DIGEST],
            planner=report.plan.planner.value,
            result=report.result.value,
            at=run.now,
            escalated=escalated,
            summary=before if only_tells(report) else report.summary,
            diagnosis=plain(diagnosis_words(report.plan), _DIAGNOSIS),
        )
    if last is not None and last.flapping and _flaps(state, previous, run):
        return last  # a moment's health ends nothing
    if last is not None and _is_well(state) and last.result != IncidentResult.RECOVERED.value:
        # Over without us: the same fault, should it come again, is a new one.
        return last.model_copy(
            update={
                "result": IncidentResult.RECOVERED.value,
                "escalated": False,
                "flapping": False,
            }
        )
    return last


def _flaps(state: TargetState, previous: TargetStatus | None, run: RunFacts) -> bool:
    history = previous.history if previous else ()
    return flaps(history, state.spec_digest, run.flapping, run.now) is not None


def _people_told(report: IncidentReport) -> tuple[str, str]:
    """Severity and summary of the alert that the run has raised."""
    outcomes = report.execution.outcomes if report.execution is not None else ()
    for outcome in outcomes:
        if outcome.call.operation == TELL and outcome.status is OutcomeStatus.SUCCEEDED:
            given = outcome.call.parameters
            severity = str(given.get("severity", USUAL_SEVERITY))
            return severity, plain(str(given.get("summary", "")), _DIAGNOSIS)
    return "", ""


def _claims(
    state: TargetState, attempts: Attempts | None, last: LastIncident | None
) -> Iterator[_Claim]:
    yield _Claim(ConditionType.READY, _READY[state.health], state.reason, state.message)
    if state.sync is Sync.DRIFTED:
        yield _Claim(ConditionType.DRIFTED, "True", state.reason, state.message)
    stalled = last is not None and last.escalated
    if attempts is not None and not stalled and not _is_well(state):
        left = "after its back-off what is left is tried, else a person is told"
        message = f"attempt {attempts.count} did not help; {left}"
        yield _Claim(ConditionType.RECONCILING, "True", "AttemptFailed", message)
    if stalled:
        if last is not None and last.flapping:
            message = "it recovers and fails again: nothing is done until it rests"
            yield _Claim(ConditionType.STALLED, "True", "Flapping", message)
            return
        message = "a person must look at the last report"
        if attempts is not None and attempts.tried:
            done = dict.fromkeys(step.operation for past in attempts.tried for step in past.steps)
            message += f"; tried without success: {', '.join(done)}"
        yield _Claim(ConditionType.STALLED, "True", "Escalated", message)


def _timed(
    claims: Iterable[_Claim], previous: TargetStatus | None, now: datetime
) -> Iterator[Condition]:
    """A transition time changes only with the condition's status."""
    before = {c.type: c for c in previous.conditions} if previous else {}
    for claim in claims:
        old = before.get(claim.type)
        same = old is not None and old.status == claim.status
        yield Condition(
            type=claim.type,
            status=claim.status,
            reason=claim.reason,
            message=claim.message,
            last_transition_time=old.last_transition_time if old is not None and same else now,
        )
