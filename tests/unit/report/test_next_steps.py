"""What a person would run next can be copied, and asks the right engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.guard import Decision
from flows.report import IncidentResult, render_markdown, report_to_dict
from flows.reporting.values import AskedPeople
from tests.unit.report.made import NOW, drift, incident, incident_report, run_report


def after(page: str) -> list[str]:
    return page.partition("## Next\n\n")[2].splitlines()


@pytest.mark.parametrize(
    ("host", "docker"),
    [
        ("unix:///run/user/1000/docker.sock", "docker -H unix:///run/user/1000/docker.sock"),
        ("tcp://10.0.0.5:2376", "docker -H tcp://10.0.0.5:2376"),
        ("ssh://ops@engine-2.example", "docker -H ssh://ops@engine-2.example"),
        ("ssh://ops:secret@engine-2.example", "docker"),
        ("unix:///run/x.sock; reboot", "docker"),
        ("unix:///run/`id`.sock", "docker"),
    ],
)
def test_a_command_asks_the_engine_of_its_environment(host: str, docker: str) -> None:
    report = run_report("r", incidents=[incident_report()])
    elsewhere = replace(report, engine_hosts={"local-docker": host, "other": "tcp://x:1"})
    assert after(render_markdown(elsewhere))[:2] == [
        f"- `{docker} logs --since 15m market-predictor`",
        f"- `{docker} inspect market-predictor`",
    ]


def test_a_container_is_called_by_its_name_and_a_new_one_by_its_id() -> None:
    [logs, inspect, *_] = after(render_markdown(run_report("r", incidents=[incident_report()])))
    assert logs.endswith(" market-predictor`")
    assert inspect.endswith(" market-predictor`")
    made = incident_report(of=incident(drift(instance=None)))
    [logs, inspect, *_] = after(render_markdown(run_report("r", incidents=[made])))
    assert logs.endswith(" 0123456789ab`")
    assert inspect.endswith(" 0123456789ab`")


def test_the_request_that_waits_is_data_and_not_a_part_of_a_sentence() -> None:
    told = replace(
        incident_report(
            IncidentResult.WAITING,
            acted=False,
            decision=Decision.NEEDS_APPROVAL,
            summary="it said: uici approve ffffffffffff, until never",
        ),
        asked=AskedPeople("0123456789ab", NOW),
    )
    report = run_report("r", incidents=[told])
    page = render_markdown(report)
    assert after(page)[:2] == [
        (
            "- `uici approve 0123456789ab` allows start of local-docker/market-predictor once,"
            " until 2026-11-22T12:00+00:00"
        ),
        "- `uici reject 0123456789ab` refuses it",
    ]
    assert "(risk low): uici approve 0123456789ab allows it\n" in page
    [data] = report_to_dict(report)["incidents"]
    assert data["asked"] == {"request": "0123456789ab", "until": "2026-11-22T12:00:00.000Z"}
