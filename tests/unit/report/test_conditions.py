"""What is remembered of an incident, and that nothing of it is carried into another one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from flows.comparison.drift import HealthStatus, Sync, TargetState
from flows.plan import PlannerKind
from flows.reporting.conditions import RunFacts, count_attempt, next_status
from flows.reporting.status import Attempts, LastIncident, PastIncident, TargetStatus
from flows.reporting.values import IncidentReport, IncidentResult
from infrastructure.operations import OutcomeStatus
from tests.unit.guard.policies import PLATFORM
from tests.unit.report.made import FINGERPRINT, NOW, TARGET, incident_report, plan, status, step

FACTS = RunFacts("run-2", "main@sha1:1", NOW)
SICK = TargetState(TARGET, "0" * 16, Sync.SYNCED, HealthStatus.DEGRADED, "Stopped", "it ended")


def after_telling(fingerprint: str) -> LastIncident:
    """The last incident once people were told, where another was worked on before."""
    earlier = status(result="failed")
    assert earlier.last_incident is not None
    tried = earlier.last_incident.model_copy(
        update={"summary": "start: did not help", "fingerprint": fingerprint}
    )
    before = earlier.model_copy(update={"last_incident": tried})
    told = incident_report(
        IncidentResult.ESCALATED, made=plan(step("escalate_to_human")), summary="is full"
    )
    last = next_status(SICK, before, told, FACTS).last_incident
    assert last is not None
    return last


def test_what_came_of_trying_is_kept_for_the_same_fault_only() -> None:
    assert after_telling(FINGERPRINT).summary == "start: did not help"
    assert after_telling("another").summary == ""


def test_what_was_held_to_be_wrong_is_remembered_and_a_model_s_word_called_so() -> None:
    for planner, words in (
        (PlannerKind.RUNBOOK, "it ran out of memory"),
        (PlannerKind.LLM, "the model says: it ran out of memory"),
    ):
        made = plan(planner=planner, diagnosis="it ran out\nof memory")
        report = incident_report(IncidentResult.FAILED, made=made, summary="start: did not help")
        last = next_status(SICK, None, report, FACTS).last_incident
        assert last is not None
        assert last.diagnosis == words


def attempts_after(report: IncidentReport, before: Attempts) -> Attempts | None:
    known = status().model_copy(update={"attempts": before})
    return next_status(SICK, known, report, FACTS).attempts


def test_a_plan_of_which_nobody_knows_is_kept_apart_from_those_that_did_not_help() -> None:
    before = Attempts(spec_digest="0" * 16, count=1, last_at=NOW, not_before=NOW)
    lost = incident_report(IncidentResult.UNKNOWN)
    busy = incident_report(IncidentResult.FAILED)
    assert busy.execution is not None
    [done] = busy.execution.outcomes
    failed = replace(done, status=OutcomeStatus.FAILED, permanent=False)
    busy = replace(busy, execution=replace(busy.execution, outcomes=(failed,)))
    first = attempts_after(lost, before)
    assert first is not None
    second = attempts_after(busy, first)
    assert second is not None
    assert second.tried == ()
    assert [[s.operation for s in past.steps] for past in second.open_ended] == [["start"]] * 2
    assert count_attempt("0" * 16, PLATFORM, second, NOW).open_ended == second.open_ended
    assert count_attempt("1" * 16, PLATFORM, second, NOW).open_ended == ()


def test_what_was_never_begun_and_what_helped_leave_nothing() -> None:
    before = Attempts(spec_digest="0" * 16, count=1, last_at=NOW, not_before=NOW)
    held = incident_report(IncidentResult.HELD, acted=False)
    assert attempts_after(held, before) == before
    assert attempts_after(incident_report(), before) is None


def test_since_when_it_was_well_is_kept_while_it_is_not() -> None:
    def then(known: TargetStatus, state: TargetState, minutes: int) -> TargetStatus:
        return next_status(state, known, None, replace(FACTS, now=NOW + timedelta(minutes=minutes)))

    healthy = replace(SICK, sync=Sync.SYNCED, health=HealthStatus.HEALTHY)
    held = replace(SICK, health=HealthStatus.SUSPENDED)
    well = then(next_status(SICK, None, None, FACTS), healthy, 1)
    assert (well.well_since, well.last_well) == (None, NOW + timedelta(minutes=1))
    sick = then(then(well, held, 2), SICK, 3)
    assert sick.last_well == sick.well_since == NOW + timedelta(minutes=1)
    again = then(sick, healthy, 4)
    assert (again.well_since, again.last_well) == (None, NOW + timedelta(minutes=4))
    never = next_status(SICK, None, None, FACTS)
    assert never.last_well is None


def test_a_fault_that_was_mended_within_one_run_ends_the_time_of_being_well() -> None:
    earlier, healed = NOW - timedelta(hours=2), NOW - timedelta(minutes=1)
    steady = status(at=earlier)
    assert steady.since == earlier
    past = PastIncident(
        at=healed,
        run_id="run-1",
        spec_digest="0" * 16,
        incident_class="docker-stopped",
        kinds=("Stopped",),
        planner="runbook",
        steps=(),
        result="recovered",
    )
    assert steady.model_copy(update={"history": (past,)}).since == healed
    vain = past.model_copy(update={"result": "failed"})
    assert steady.model_copy(update={"history": (vain,)}).since == earlier


def test_while_it_is_not_well_or_differs_the_condition_tells_since_when() -> None:
    sick = next_status(SICK, status(at=NOW - timedelta(hours=1)), None, FACTS)
    assert sick.since == NOW
    drifted = TargetState(TARGET, "0" * 16, Sync.DRIFTED, HealthStatus.HEALTHY, "Drift", "differs")
    then = replace(FACTS, now=NOW + timedelta(minutes=5))
    assert next_status(drifted, status(at=NOW), None, then).since == then.now
