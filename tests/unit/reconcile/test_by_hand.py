"""`uici run`: a person's own runs, and what the loop makes of them. The answer is shown."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.approvals.decision import Answer, Way
from flows.approvals.desk import Said
from flows.approvals.wiring import desk_of
from flows.command_line.manual import Asked, run
from flows.guarding.frequency import acted_before
from flows.guarding.verdict import Acted
from flows.listener import NullListener
from flows.report import IncidentResult, RunReport, render_markdown, report_to_dict
from flows.reporting.status import TargetStatus
from infrastructure.errors import OutcomeUnknownError, PermanentError
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

API = "local-docker/api"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    """One service that runs as declared."""
    with loop_world(tmp_path) as made:
        made.commit(api=service_yaml("api"))
        made.run()
        made.engine.calls.clear()
        yield made


def by_hand(world: LoopWorld, operation: str, **parameters: Any) -> RunReport:
    asked = Asked(operation, "api", parameters)
    done = run(asked, world.runtime, NullListener(), run_id=str(uuid.uuid4()))
    assert done.report is not None
    return done.report


def status(world: LoopWorld) -> TargetStatus:
    return TargetStatus.model_validate_json(world.file(f"status/{API}.json"))


def fail(world: LoopWorld, *primitives: str) -> None:
    """From now on the engine refuses these."""
    original = world.engine.call

    def call(service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        if call.primitive in primitives:
            raise PermanentError("no such file")
        return original(service, call, timeout=timeout)

    world.engine.call = call  # type: ignore[method-assign]  # the engine breaks in mid-test


def test_an_outcome_that_was_never_seen_is_no_recovery_where_nothing_was_wrong(
    world: LoopWorld,
) -> None:
    """The service was well before: that it is well afterwards shows nothing of the command."""
    world.engine.failures["restart"] = OutcomeUnknownError("no answer", remedy="look at it")
    (told,) = by_hand(world, "restart").incidents
    assert told.result is IncidentResult.UNKNOWN
    assert "recovered" not in told.summary


def approve(world: LoopWorld) -> str:
    """Approve the only request; what the person is told."""
    desk = desk_of(world.runtime)
    (shown,) = [one for one in desk.all() if one.stands.standing.value == "waiting"]
    return desk.say(shown.request.id, Said(Answer.APPROVE, "ann", Way.COMMAND))[1]


def test_what_a_person_does_is_no_attempt_of_the_agent_s(world: LoopWorld) -> None:
    fail(world, "restart")
    for _ in range(4):
        world.engine.kill("api")
        report = by_hand(world, "restart")
        assert report.incidents[0].result is IncidentResult.FAILED
        text = render_markdown(report)
        assert "back-off" not in text
        assert "tries at once" not in text
    known = status(world)
    assert known.attempts is None
    assert [past.planner for past in known.history] == ["runbook", *["person"] * 4]
    [told] = world.run().incidents
    assert told.result is IncidentResult.RECOVERED
    assert told.plan.steps[0].operation == "start"


def test_restarts_by_hand_are_no_flapping(tmp_path: Path) -> None:
    often = {"guard": {"flapping": {"recoveries": 2, "within": "1h"}}}
    with loop_world(tmp_path, platform=often) as world:
        world.commit(api=service_yaml("api"))
        world.run()
        for number in range(4):
            asked = Asked("restart", "api", {})
            run(asked, world.runtime, NullListener(), run_id=f"by-hand-{number}")
        world.engine.kill("api")
        [told] = world.run().incidents
        assert told.result is IncidentResult.RECOVERED


def test_limits_see_what_a_person_did(tmp_path: Path) -> None:
    rest = {"guard": {"policy": {"coolDown": "1h"}}}
    with loop_world(tmp_path, platform=rest) as world:
        world.commit(api=service_yaml("api"))
        world.run()
        by_hand(world, "restart")
        assert "restart" in {
            step.operation for past in status(world).history for step in past.steps
        }
        assert [a.operation for a in _acted(world)][-1] == "restart"


def _acted(world: LoopWorld) -> tuple[Acted, ...]:
    return acted_before(world.runtime.git.reported().statuses)[API]


def test_what_is_denied_a_person_tells_nobody_else(world: LoopWorld) -> None:
    report = by_hand(world, "scale", replicas=4)
    [told] = report.incidents
    assert told.result is IncidentResult.HELD
    assert not told.execution or not told.execution.outcomes
    text = render_markdown(report)
    assert text.startswith("# api: asked for by hand → nothing done → denied → not done: ")
    assert "**Not done:** api: " in text
    assert "tries at once" not in text
    last = status(world).last_incident
    assert last is None or not last.escalated
    world.engine.kill("api")
    assert world.run().incidents[0].result is IncidentResult.RECOVERED


def test_a_person_who_waits_for_a_word_does_not_hold_the_loop(world: LoopWorld) -> None:
    world.engine.kill("api")
    report = by_hand(world, "execute_command", argv=["echo", "x"])
    assert report.incidents[0].result is IncidentResult.WAITING
    assert "then the same command does it" in render_markdown(report)
    assert world.run().incidents[0].result is IncidentResult.RECOVERED


def test_the_answer_of_a_command_is_shown_everywhere_and_inert(world: LoopWorld) -> None:
    said = ["echo", "marker77 ``` <b>@ann</b> https://x.test password=hunter2hunter2\x1b[2J"]
    by_hand(world, "execute_command", argv=said)
    assert "the same uici run command, given again, does it" in approve(world)
    report = by_hand(world, "execute_command", argv=said)
    assert report.incidents[0].result is IncidentResult.RECOVERED
    redactor = world.runtime.redactor
    shown = render_markdown(report, redactor.text)
    _, answer, *_ = shown.split("````")  # longer than any in it
    assert answer.startswith("text\n")
    assert "marker77 ``` <b>@ann</b> https://x.test" in answer
    assert "hunter2" not in shown
    assert "\x1b" not in shown
    data = report_to_dict(report, redactor.data)["incidents"][0]["operations"][0]["output"]
    assert data["stdout"].startswith("marker77 ``` <b>")
    assert data["exit_code"] == 0
    stored = world.runtime.git.report(report.run_id)
    assert "marker77" in stored.markdown
    assert "marker77" in json.dumps(json.loads(stored.json_text))
    assert "hunter2" not in stored.markdown + stored.json_text


def test_the_back_off_begins_when_the_attempt_has_ended(tmp_path: Path) -> None:
    slow = {
        "guard": {"policy": {"backoff": {"initial": "30s", "max": "30s"}}},
        "verify": {"deadline": "2s", "interval": "50ms"},
    }
    with loop_world(tmp_path, platform=slow) as world:
        world.commit(api=service_yaml("api"))
        world.run()
        world.engine.kill("api")
        fail(world, "start")
        report = world.run()
        known = status(world).attempts
        assert known is not None
        assert known.not_before - report.finished_at >= timedelta(seconds=29.9)
        assert known.not_before - known.last_at > timedelta(seconds=30)
