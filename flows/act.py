"""Stages 5 and 6 for all cases of a run: execute and verify, in dependency order.

Cases that do not depend on each other run side by side; one that needs another waits
for it, and is left for the next run when the other did not recover. When it did, it is
looked at again before anything is done to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from flows.cases import Case, LeftAlone
from flows.compare import compare
from flows.comparison.drift import HealthStatus, Incident
from flows.comparison.incidents import depends_on_any, waves
from flows.escalation import ESCALATE, telling
from flows.execute import Execution, changing, execute
from flows.guard import PASSING_RULES, Decision, Verdict
from flows.listener import Listener
from flows.parting_words import with_last_words
from flows.plan import PlannerKind
from flows.report import IncidentReport, IncidentResult
from flows.reporting.sentences import error_words, told_people
from flows.reporting.text import plain
from flows.undo import undo
from flows.verify import Check, CheckState, Verification, VerificationResult, VerifyInput, verify
from flows.world import World
from infrastructure.observed import ObservedInstance
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus, Risk

_SUMMARY = 1000  # characters
_NOT_WELL = (CheckState.FAILED, CheckState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Acting:
    """What acting needs beside the cases.

    `before` are the instances of each target as observed; `hold` says why steps above
    `up_to` may not run now (the intent reached only the agent's own disk), None: all may.
    """

    world: World
    listener: Listener
    before: Mapping[str, tuple[ObservedInstance, ...]]
    hold: str | None = None
    up_to: Risk = Risk.DESTRUCTIVE


def act(cases: Sequence[Case], acting: Acting) -> tuple[IncidentReport, ...]:
    """Carry out every case; one report each, in the order given."""
    by_fingerprint = {case.incident.fingerprint: case for case in cases}
    reports: dict[str, IncidentReport] = {}
    workers = acting.world.config.platform.reconcile.concurrent_incidents
    with ThreadPoolExecutor(workers, thread_name_prefix="incident") as pool:
        for wave in waves([case.incident for case in cases], acting.world.services):
            broken = {r.incident.root for r in reports.values() if _still_broken(r)}
            changed = {r.incident.root for r in reports.values() if r.verification is not None}
            group = [by_fingerprint[incident.fingerprint] for incident in wave]
            for report in pool.map(_one(acting, broken, changed), group):
                reports[report.incident.fingerprint] = report
    return tuple(reports[case.incident.fingerprint] for case in cases)


def _still_broken(report: IncidentReport) -> bool:
    return report.result not in (IncidentResult.RECOVERED, IncidentResult.NOTHING_TO_DO)


def _one(acting: Acting, broken: set[str], changed: set[str]) -> Callable[[Case], IncidentReport]:
    def carry_out(case: Case) -> IncidentReport:
        report = held_report(case, "")
        reason = _blocked(case, broken, acting)
        if case.changes and reason is None:
            reason = _outdated(case, changed, acting)
        if case.changes and reason is not None:
            return replace(report, summary=reason)
        return _carry_out(case, report, acting)

    return carry_out


def held_report(case: Case, reason: str) -> IncidentReport:
    """The report of a case that was not begun."""
    return IncidentReport(
        incident=case.incident,
        evidence=case.evidence,
        plan=case.plan,
        verdicts=case.verdicts,
        execution=None,
        verification=None,
        result=IncidentResult.HELD,
        summary=reason,
    )


def admit(
    cases: Sequence[Case], left: Sequence[LeftAlone], acting: Acting
) -> tuple[tuple[Case, ...], tuple[IncidentReport, ...]]:
    """What may go on to its intent, and reports of what is known now to be held back.

    Nothing is committed for a change that would be held back anyway: because the remote
    can't be reached, or because what it needs is broken and left alone.
    """
    broken = {a.incident.root for a in left if a.result is not IncidentResult.NOTHING_TO_DO}
    ready: list[Case] = []
    held: list[IncidentReport] = []
    for case in cases:
        reason = _blocked(case, broken, acting) if case.changes else None
        if reason is None:
            ready.append(case)
        else:
            held.append(held_report(case, reason))
    return tuple(ready), tuple(held)


def _blocked(case: Case, broken: Collection[str], acting: Acting) -> str | None:
    others = acting.world.held_off
    if case.changes and (theirs := [t for t in case.incident.targets if t in others]):
        return others[theirs[0]]
    cause = depends_on_any(case.incident.root, broken, acting.world.services)
    if cause is not None:
        return f"waits for {cause}, which it needs"
    return _held_back(case, acting)


def _outdated(case: Case, changed: Collection[str], acting: Acting) -> str | None:
    """Why a plan rests on what is no longer so: what the target needs was mended since.

    The target is looked at again together with it, so that what only outlasts the mended
    fault by a probe or a scrape is not taken for a fault of its own.
    """
    world, root = acting.world, case.incident.root
    mended = depends_on_any(root, changed, world.services)
    if mended is None:
        return None
    needed = [t for t in changed if depends_on_any(root, [t], world.services)]
    targets = tuple(sorted({root, *needed}))
    seen = world.look_again(targets)
    now = compare(replace(world.comparing, selected=targets), seen, now=world.clock.now())
    left = {drift.key for drift in now.drifts}
    planned = {drift.key for drift in case.incident.drifts if drift.target == root}
    if planned <= left:
        return None
    return f"{mended}, which it needs, has just been mended: the next run looks at it anew"


def _held_back(case: Case, acting: Acting) -> str | None:
    """Riskier changes wait until their intent is with the remote."""
    if acting.hold is not None and any(v.approval for v in case.steps):
        return f"its approval can't be told to others now: {acting.hold}"
    risks = [acting.world.registry.get(v.step.operation).risk for v in changing(case.steps)]
    if acting.hold is not None and any(risk.rank > acting.up_to.rank for risk in risks):
        return f"only changes up to risk {acting.up_to.value} may run now: {acting.hold}"
    return None


def _carry_out(case: Case, report: IncidentReport, acting: Acting) -> IncidentReport:
    world = acting.world
    execution = execute(
        case.incident,
        case.steps,
        world.guarded,
        listener=acting.listener,
        now=world.clock.now,
        deadline=world.deadline,
    )
    report = replace(report, stopped=execution.stopped, not_sent=_not_sent(case, world))
    if not execution.begun and case.changes:
        return replace(report, summary=execution.outcomes[0].error)
    report = replace(report, execution=execution)
    if not case.changes:
        return _without_change(case, report, acting)
    verification = _with_dependents(case, _verify(case, execution, acting), acting)
    acting.listener.verified(case.incident, verification)
    result = _result(case.incident, execution, verification)
    # It stays in the status: redacted before it is cut, and no longer than people read.
    summary = plain(world.redactor.text(_summary(execution, verification, result)), _SUMMARY)
    report = replace(report, verification=verification, result=result, summary=summary)
    return _taken_back(case, report, acting) if result is IncidentResult.FAILED else report


def _taken_back(case: Case, report: IncidentReport, acting: Acting) -> IncidentReport:
    """With what was done to the world gone again, where it may be."""
    if not case.undo or report.execution is None:
        return report
    undone, how = undo(
        case,
        report.execution,
        acting.world,
        acting.before,
        lambda outcome: acting.listener.operation_finished(case.incident, outcome),
    )
    return replace(
        report, undone=undone, summary=f"{report.summary}; {how}" if how else report.summary
    )


def _verify(case: Case, execution: Execution, acting: Acting) -> Verification:
    world, root = acting.world, case.incident.root
    given = VerifyInput(
        incident=case.incident,
        before=acting.before.get(root, ()),
        effects=frozenset(
            world.registry.get(outcome.call.operation).effect
            for outcome in execution.outcomes
            if outcome.status is OutcomeStatus.SUCCEEDED and outcome.changed
        ),
        acted_at=execution.outcomes[-1].finished_at,
        settings=world.config.platform.verify,
        compare=replace(world.comparing, selected=(root,)),
    )
    found = verify(
        given,
        look=lambda: world.look_again([root]),
        now=world.clock.now,
        sleep=world.clock.sleep,
        # What certainly failed needs one look, not a minute of them.
        deadline=world.deadline if _may_recover(execution) else world.clock.now(),
        looked=lambda checks: acting.listener.looked(case.incident, checks),
    )

    def read(call: OperationCall) -> OperationOutcome:
        return world.guarded.read(call, deadline=world.deadline)

    return with_last_words(found, read, world.redactor.text)


def _with_dependents(case: Case, verification: Verification, acting: Acting) -> Verification:
    """How those stand that the fault has hit, too: told, and left to the next run."""
    dependents = case.incident.targets[1:]
    if not dependents or verification.result is not VerificationResult.RECOVERED:
        return verification
    world = acting.world
    seen = world.look_again(dependents)
    given = replace(world.comparing, selected=dependents)
    states = compare(given, seen, now=world.clock.now()).states
    checks = tuple(
        Check(
            target,
            "dependent",
            CheckState.PASSED if state.health is HealthStatus.HEALTHY else CheckState.PENDING,
            state.message,
        )
        for target, state in states.items()
    )
    return replace(verification, checks=(*verification.checks, *checks))


def _may_recover(execution: Execution) -> bool:
    return execution.succeeded or any(
        o.status in (OutcomeStatus.UNKNOWN, OutcomeStatus.TIMED_OUT) for o in execution.outcomes
    )


def _result(incident: Incident, execution: Execution, verification: Verification) -> IncidentResult:
    """Verified is verified, whatever an operation said; unknown is never success.

    Where nothing was wrong before (a person asked), a look afterwards shows nothing of an
    operation whose outcome was never seen.
    """
    unknown = any(o.status is OutcomeStatus.UNKNOWN for o in execution.outcomes)
    shown = not unknown or any(d.target == incident.root for d in incident.drifts)
    if verification.result is VerificationResult.RECOVERED and shown:
        return IncidentResult.RECOVERED
    if unknown or verification.result is VerificationResult.UNKNOWN:
        return IncidentResult.UNKNOWN
    return IncidentResult.FAILED


def _summary(execution: Execution, verification: Verification, result: IncidentResult) -> str:
    """What was done and what came of it, in one line."""
    done = ", ".join(dict.fromkeys(o.call.operation for o in execution.outcomes))
    if result is IncidentResult.RECOVERED:
        return f"{done}: recovered"
    error = next((error_words(o) for o in execution.outcomes if o.error), "")
    wrong = next((f"{c.name}: {c.detail}" for c in verification.checks if c.state in _NOT_WELL), "")
    why = error or wrong or "nothing told whether it works"
    verdict = "did not help" if result is IncidentResult.FAILED else "not known to have helped"
    return f"{done}: {verdict}: {why}"


def _without_change(case: Case, report: IncidentReport, acting: Acting) -> IncidentReport:
    """Nothing was done to the world: does a person have to know, to approve, or time to pass?"""
    stopped = [v for v in case.verdicts if v.decision is not Decision.ALLOWED]
    denied = [v for v in stopped if v.decision is Decision.DENIED]
    if stopped and not denied:
        return replace(report, result=IncidentResult.WAITING, summary=stopped[0].reason)
    by_hand = case.plan.planner is PlannerKind.PERSON  # who asked is told at once, and by this
    if denied and (by_hand or all(v.rule in PASSING_RULES for v in denied)):
        return replace(report, result=IncidentResult.HELD, summary=denied[0].reason)
    if not case.plan.steps:
        summary = f"the model sees nothing to do: {case.plan.diagnosis}"
        return replace(report, result=IncidentResult.NOTHING_TO_DO, summary=summary)
    outcomes = report.execution.outcomes if report.execution is not None else ()
    if denied:
        outcomes = (*outcomes, _escalate(case, denied[0], acting))
    told = Execution(case.incident.fingerprint, outcomes)
    report = replace(report, execution=told)
    failed = next((o for o in outcomes if o.status is not OutcomeStatus.SUCCEEDED), None)
    if failed is not None:  # nobody knows yet: the next run tells again
        summary = f"people could not be told: {failed.error}"
        return replace(report, result=IncidentResult.FAILED, summary=summary)
    summary = denied[0].reason if denied else told_people(case.plan)
    return replace(report, result=IncidentResult.ESCALATED, summary=summary)


def _not_sent(case: Case, world: World) -> str:
    """Why nobody gets what is told about the case but by the report; empty: somebody does."""
    place = case.incident.environment
    known = world.config.environments.environments[place].alertmanager
    return "" if known else f"no Alertmanager in {place}"


def _escalate(case: Case, denied: Verdict, acting: Acting) -> OperationOutcome:
    """Tell people of a plan that the guard has stopped for good."""
    step = denied.step
    summary = f"{case.incident.root}: {step.operation} was denied: {denied.reason}"
    call = OperationCall(ESCALATE, case.incident.root, telling(summary, "warning"))
    outcome = acting.world.guarded.read(call, deadline=acting.world.deadline)
    acting.listener.operation_finished(case.incident, outcome)
    return outcome
