"""Who is told what, and what the log says of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from flows.comparison.drift import Sync
from flows.guard import Decision
from flows.listener import Listeners, NullListener, RunRequest, RunStoppedError, StopListener
from flows.log_listener import LogListener
from flows.reporting.run_summary import run_fields, run_name
from flows.reporting.values import IncidentResult, RunResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import Alert, AlertState
from tests.fakes import run_reports as fake

REQUEST = RunRequest(environments=None, targets=None, mode=None, run_id="r1")
OWN_ALERT = Alert(
    fingerprint="f1",
    name="DevOpsAIAgentDown",
    labels={"service": "devops-ai-agent"},
    annotations={},
    starts_at=datetime(2026, 11, 22, tzinfo=UTC),
    state=AlertState.ACTIVE,
)
UNDECIDED = {"result": IncidentResult.HELD, "decision": Decision.DENIED}


@pytest.fixture(autouse=True)
def every_level() -> None:
    """A test before this one may have configured the log of the process, without `debug`."""
    structlog.reset_defaults()


def logged(run: Any, **arguments: Any) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        run(REQUEST, LogListener(), **arguments)
    return [dict(line) for line in lines]


def test_a_healed_incident_is_told_step_by_step() -> None:
    events = [line["event"] for line in logged(fake.healing_run)]

    assert events == [
        "run_started",
        "drift_found",
        "plan_made",
        "verdict",
        "intent_committed",
        "operation_started",
        "operation_finished",
        "verified",
        "incident_closed",
        "run_finished",
    ]


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        ("drift_found", "target kind field desired observed message since"),
        ("plan_made", "target planner reason diagnosis steps"),
        ("verdict", "operation target decision rule reason"),
        ("intent_committed", "sha durability"),
        ("operation_finished", "operation target status seconds changed error"),
        ("verified", "target result seconds checks"),
        ("incident_closed", "target result summary"),
        ("run_finished", "run_id result seconds targets drifts incidents operations"),
    ],
)
def test_lines_have_the_keys_that_the_demo_reads(event: str, keys: str) -> None:
    (line,) = [line for line in logged(fake.healing_run) if line["event"] == event]

    assert set(keys.split()) <= line.keys()


def test_lines_of_one_incident_carry_its_fingerprint() -> None:
    about = {"plan_made", "verdict", "operation_finished", "verified", "incident_closed"}
    lines = [line for line in logged(fake.healing_run) if line["event"] in about]

    assert {line["incident"] for line in lines} == {f"{fake.TARGET}:Stopped"}


def test_the_canonical_line_counts() -> None:
    line = logged(fake.healing_run)[-1]

    assert (line["recovered"], line["operations"], line["drifts"]) == (1, 1, 1)
    assert line["summary"] == "healed market-predictor: start"


def test_an_alert_about_the_agent_and_an_open_breaker_are_warned_of() -> None:
    compared = replace(
        fake.comparison(),
        own_alerts=(OWN_ALERT,),
        breaker={"local-docker": "9 of 12 targets drift at once"},
    )
    with capture_logs() as lines:
        LogListener().drifts_found(compared)

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("agent_alert_ignored", "warning"),
        ("breaker_open", "warning"),
    ]


def test_every_listener_is_told_in_order() -> None:
    told: list[str] = []

    class Teller(NullListener):
        def __init__(self, name: str) -> None:
            self.name = name

        def run_finished(self, *_: object) -> None:
            told.append(self.name)

    fake.quiet_run(REQUEST, Listeners(Teller("first"), Teller("second")))

    assert told == ["first", "second"]


def test_a_stopped_run_ends_before_its_next_operation() -> None:
    told: list[str] = []

    class Teller(NullListener):
        def operation_finished(self, *_: object) -> None:
            told.append("operation")

    stop = iter([False, True])
    listener = Listeners(StopListener(lambda: next(stop)), Teller())

    with pytest.raises(RunStoppedError, match=f"before start on {fake.TARGET}"):
        fake.healing_run(REQUEST, listener)
    assert told == []


def test_names_of_quiet_runs() -> None:
    one = fake.comparison(1)
    unknown = replace(one, states={fake.TARGET: fake.state(fake.TARGET, sync=Sync.UNKNOWN)})
    settling = replace(fake.comparison(3), pending=(fake.drift(),))

    assert run_name(fake.report(REQUEST, fake.comparison())) == "in sync · 12 targets"
    assert run_name(fake.report(REQUEST, one)) == "in sync · 1 target"
    assert run_name(fake.report(REQUEST, unknown)) == "unknown 1 of 1 target"
    assert run_name(fake.report(REQUEST, settling)) == "within grace 1 of 3 targets"


def test_an_error_names_the_run_in_one_line() -> None:
    failed = fake.report(
        REQUEST, fake.comparison(), result=RunResult.ERROR, errors=["Git is gone\nand more"]
    )

    assert run_name(failed) == "error: Git is gone"


def test_what_a_person_has_to_know_stands_first_in_the_name() -> None:
    healed = fake.healing_run(REQUEST, NullListener())
    held = fake.unresolved_run(REQUEST, NullListener(), **UNDECIDED)  # type: ignore[arg-type]  # one dict, two types
    both = replace(
        healed,
        incidents=(*healed.incidents, replace(held.incidents[0], result=IncidentResult.FAILED)),
    )

    assert run_name(both) == "not healed market-predictor · healed market-predictor: start"


def test_several_of_a_kind_are_counted_and_a_long_name_is_cut() -> None:
    healed = fake.healing_run(REQUEST, NullListener())
    names = [f"local-docker/service-{n:02}" for n in range(40)]
    many = replace(
        healed,
        incidents=tuple(
            replace(healed.incidents[0], incident=fake.incident(fake.drift(name))) for name in names
        ),
    )

    assert run_name(many).startswith("healed 40: service-00, service-01")
    assert len(run_name(many)) == 200


def test_fields_name_sources_that_did_not_answer() -> None:
    finished = fake.report(REQUEST, fake.comparison(drifts=[fake.drift(kind=DriftKind.MISSING)]))

    fields = run_fields(replace(finished, started_at=datetime(2026, 1, 1, tzinfo=UTC)))

    assert fields["unreachable"] == []
    assert fields["seconds"] > 0
