"""Since when a fault has been there, and by whose word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flows.comparison.drift import Drift
from flows.plan import EngineDeed, Evidence, GitChange, News
from flows.report import render_markdown, report_to_dict
from flows.reporting.beginning import Since, began, since
from flows.reporting.text import fault_seconds, unmarked
from infrastructure.drift_kinds import DriftKind
from tests.unit.report.made import NOW, drift, incident, incident_report, run_report

REMOVED = EngineDeed("removed through the Docker API", NOW - timedelta(seconds=30), not_ours=True)
MISSING = drift(kind=DriftKind.MISSING, since=None, instance=None)
PROBE = drift(kind=DriftKind.UNHEALTHY, field="/health/http", since=None)
ALERT = drift(kind=DriftKind.ALERT_FIRING, field="Down", since=NOW - timedelta(seconds=9))
CONFIG = drift(kind=DriftKind.CONFIG_DRIFT, field="/image", since=None)
ANN = GitChange("f8375ee444", "Ann", "shop 9", News.AHEAD)


@pytest.mark.parametrize(
    ("of", "others", "deed", "known"),
    [
        (drift(), [], REMOVED, Since(NOW - timedelta(seconds=2))),
        (MISSING, [], REMOVED, Since(REMOVED.at, "by the engine's event")),
        (MISSING, [], None, None),
        (PROBE, [], REMOVED, None),
        (PROBE, [drift()], None, Since(NOW - timedelta(seconds=2), "by the drift Stopped")),
        (PROBE, [drift(), ALERT], None, Since(NOW - timedelta(seconds=9), "by alert Down")),
        (PROBE, [drift(target="local-docker/other")], None, None),
        (PROBE, [replace(CONFIG, since=NOW)], None, None),
        (CONFIG, [drift()], None, None),
    ],
)
def test_what_is_known_of_a_drift_s_beginning(
    of: Drift, others: list[Drift], deed: EngineDeed | None, known: Since | None
) -> None:
    told = incident_report(of=incident(of, *others), evidence=Evidence(ended_by=deed))
    assert since(told, of) == known


def test_the_table_says_since_when_and_by_whose_word() -> None:
    told = incident_report(of=incident(MISSING), evidence=Evidence(ended_by=REMOVED))
    page = render_markdown(run_report("r", incidents=[told]))
    assert "| 2026-11-22 11:59:30Z, by the engine's event |\n" in page
    assert "From the fault at 2026-11-22 11:59:30Z (by the engine's event) to verified" in page
    assert "| 11:59:30 | removed through the Docker API, not by UICI → seen by the run" in page


@pytest.mark.parametrize(
    ("drifts", "by"),
    [([drift()], "by the engine"), ([ALERT], "by an alert"), ([CONFIG], None)],
)
def test_whose_word_the_fault_s_beginning_is(drifts: list[Drift], by: str | None) -> None:
    found = began(incident_report(of=incident(*drifts)))
    assert (found and found.by) == by


def test_a_change_in_git_is_repaired_from_the_first_sight_on() -> None:
    told = incident_report(of=incident(CONFIG), evidence=Evidence(git_change=ANN))
    told = replace(told, seen_at=NOW - timedelta(seconds=3))
    assert fault_seconds(told) == pytest.approx(2.7)
    page = unmarked(render_markdown(run_report("r", incidents=[told])))
    assert "From the first sight at 2026-11-22 11:59:57Z to verified recovery: **2.7 s**." in page
    assert "What commit f8375ee444 by Ann waited for before that is not counted." in page
    assert "Nothing tells" not in page
    data = report_to_dict(run_report("r", incidents=[told]))["incidents"][0]
    assert data["seenAt"] == "2026-11-22T11:59:57.000Z"
    assert "faultToRecoverySeconds" not in data


def test_a_fault_of_another_day_is_told_with_its_day() -> None:
    found = drift(since=NOW - timedelta(days=3))
    page = render_markdown(run_report("r", incidents=[incident_report(of=incident(found))]))
    assert "| 2026-11-19 12:00:00 | fault began: Stopped, exited (137) →" in page
