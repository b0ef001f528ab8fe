"""The timeline of an incident tells what happened in the order in which it happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flows.execute import Execution
from flows.plan import EngineDeed
from flows.reporting.timeline import timeline
from flows.reporting.values import IncidentResult, RunReport, Stage
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OutcomeStatus
from tests.unit.report.made import NOW, drift, healed, incident, incident_report, outcome, step

TOOK = {Stage.READ: 0.5, Stage.LOOK: 1.0, Stage.DECIDE: 0.2, Stage.INTENT: 0.2}


def words(report: RunReport) -> list[str]:
    return [row.words for row in timeline(report, report.incidents[0])]


def run() -> RunReport:
    return replace(
        healed("run-1"),
        started_at=NOW - timedelta(seconds=3),
        intent_commit="b" * 40,
        stage_seconds=TOOK,
    )


def test_from_the_fault_to_the_verified_recovery() -> None:
    found = drift(since=NOW - timedelta(seconds=4))
    report = replace(run(), incidents=(incident_report(of=incident(found)),))
    assert words(report) == [
        "fault began: Stopped, exited (137)",
        "seen by the run: exited (137)",
        "planned by runbook start-stopped: start",
        "judged, allowed: start",
        "intent committed: bbbbbbbbbbbb",
        "start begun",
        "start succeeded",
        "verified: recovered",
    ]
    times = [row.at for row in timeline(report, report.incidents[0])]
    assert None not in times
    assert times == sorted(times, key=lambda at: at or NOW)
    assert times[0] == NOW - timedelta(seconds=4)


def test_without_times_of_stages_the_order_stays() -> None:
    report = replace(run(), stage_seconds={})
    told = words(report)
    assert told.index("seen by the run: exited (137)") < told.index("judged, allowed: start")
    assert told.index("judged, allowed: start") < told.index("start begun")


def test_an_alerts_beginning_is_told_beside_the_engines() -> None:
    alert = drift(kind=DriftKind.ALERT_FIRING, field="PredictorDown", since=NOW)
    report = replace(run(), incidents=(incident_report(of=incident(drift(), alert)),))
    assert "alert PredictorDown began" in words(report)


def test_a_step_that_was_not_begun_is_not_told() -> None:
    acted = incident_report(IncidentResult.FAILED)
    skipped = outcome(step(), status=OutcomeStatus.SKIPPED)
    execution = Execution(acted.incident.fingerprint, (skipped,))
    report = replace(run(), incidents=(replace(acted, execution=execution, verification=None),))
    assert not [told for told in words(report) if "begun" in told]
    assert words(report)[-1] == "not recovered"


def test_whom_it_was_told() -> None:
    acted = incident_report(IncidentResult.ESCALATED)
    told = outcome(step("escalate_to_human"))
    execution = Execution(acted.incident.fingerprint, (told,))
    report = replace(run(), incidents=(replace(acted, execution=execution, verification=None),))
    assert "people told (escalate_to_human succeeded)" in words(report)
    unsent = replace(acted, execution=execution, not_sent="no Alertmanager", verification=None)
    assert words(replace(report, incidents=(unsent,)))[-2:] == [
        "nobody was alerted (no Alertmanager)",
        "a person is needed",
    ]


@pytest.mark.parametrize(
    ("status", "not_sent", "expected"),
    [
        (
            OutcomeStatus.UNKNOWN,
            "",
            "people may have been told (escalate_to_human: its outcome is not known)",
        ),
        (OutcomeStatus.FAILED, "no Alertmanager", "people could not be told: failed"),
        (OutcomeStatus.TIMED_OUT, "", "people could not be told: timed out"),
    ],
)
def test_that_it_was_told_is_said_only_where_it_is_known(
    status: OutcomeStatus, not_sent: str, expected: str
) -> None:
    acted = incident_report(IncidentResult.FAILED)
    execution = Execution(
        acted.incident.fingerprint, (outcome(step("escalate_to_human"), status=status),)
    )
    told = replace(acted, execution=execution, not_sent=not_sent, verification=None)
    assert expected in words(replace(run(), incidents=(told,)))


def test_what_somebody_did_stands_before_what_came_of_it() -> None:
    """Also where the run kept no times of its stages, which stay behind the row before them."""
    acted = incident_report(of=incident(drift()))
    began = drift().since
    assert began is not None
    deed = EngineDeed(
        "stopped through the Docker API", began - timedelta(seconds=1), not_ours=False
    )
    acted = replace(acted, evidence=replace(acted.evidence, ended_by=deed))
    told = words(replace(run(), stage_seconds={}, incidents=(acted,)))
    assert told[0] == "stopped through the Docker API"
    assert told[1].startswith("fault began: ")
    assert told[2].startswith("seen by the run")
