"""What is remembered of an incident, and that nothing of it is carried into another one."""

from __future__ import annotations

from flows.comparison.drift import HealthStatus, Sync, TargetState
from flows.plan import PlannerKind
from flows.reporting.conditions import RunFacts, next_status
from flows.reporting.status import LastIncident
from flows.reporting.values import IncidentResult
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
