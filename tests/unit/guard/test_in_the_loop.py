"""Windows, freezes and hourly caps in whole runs: nothing is done, nothing is told twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.command_line.manual import Asked, run
from flows.command_line.preview import preview
from flows.listener import NullListener, RunRequest
from flows.report import IncidentResult, RunResult
from tests.fakes.loop import LoopWorld, loop_world, service_yaml


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path) as opened:
        yield opened


def later() -> dict[str, str]:
    """A window that is closed now and opens within hours."""
    begins = datetime.now(UTC) + timedelta(hours=2)
    ends = begins + timedelta(hours=1)
    return {"from": f"{begins:%H:%M}", "to": f"{ends:%H:%M}", "timeZone": "UTC"}


def frozen() -> dict[str, list[dict[str, str]]]:
    start = datetime.now(UTC) - timedelta(hours=1)
    end = start + timedelta(days=1)
    return {
        "freezes": [{"start": start.isoformat(), "end": end.isoformat(), "reason": "year's end"}]
    }


@pytest.mark.parametrize(
    ("remediation", "told"),
    [({"window": later()}, "outside of its windows"), (frozen(), "frozen: year's end")],
)
def test_outside_of_its_time_a_target_is_left_alone_without_news(
    world: LoopWorld, remediation: dict[str, object], told: str
) -> None:
    world.commit(a=service_yaml("a"))
    world.run()
    world.commit(a=service_yaml("a", remediation=remediation))
    world.engine.kill("a")
    first = world.run()
    assert first.result is RunResult.DRIFT_REMAINS
    assert first.incidents == ()
    commits, calls = len(world.reports()), len(world.engine.calls)
    world.run()
    assert (len(world.reports()), len(world.engine.calls)) == (commits, calls)
    (left,) = preview(RunRequest(None, None, None, "plan"), world.runtime).left
    assert left.result is IncidentResult.WAITING
    assert told in left.reason
    assert "nothing is done until 20" in left.reason
    # Nor may a person by hand: whoever set the time meant everybody.
    by_hand = run(Asked("start", "a", {}), world.runtime, NullListener(), run_id="by-hand")
    assert by_hand.report is not None
    assert by_hand.report.incidents[0].result is IncidentResult.HELD
    assert len(world.engine.calls) == calls
    world.commit(a=service_yaml("a"))
    assert world.run().incidents[0].result is IncidentResult.RECOVERED


def test_an_hour_remembers_what_earlier_runs_did(tmp_path: Path) -> None:
    """The cap counts targets over runs, and the memory of it is in Git alone."""
    limits = {"guard": {"blastRadius": {"targetsPerHour": 2}}}
    with loop_world(tmp_path, platform=limits) as world:
        world.commit(**{name: service_yaml(name) for name in ("a", "b", "c")})
        first = world.run()
        results = [report.result for report in first.incidents]
        assert results == [IncidentResult.RECOVERED] * 2 + [IncidentResult.HELD]
        second = world.run()
        assert [r.result for r in second.incidents] == [IncidentResult.HELD]
        assert "within an hour" in second.incidents[0].summary
        # A target that was changed within the hour is no further one.
        world.engine.kill("a")
        assert world.run().incidents[0].result is IncidentResult.RECOVERED


def test_an_operation_rests_after_it_was_done(tmp_path: Path) -> None:
    policy = {"guard": {"policy": {"coolDown": "10m"}}}
    with loop_world(tmp_path, platform=policy) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        world.engine.kill("a")
        assert world.run().incidents[0].result is IncidentResult.RECOVERED
        world.engine.kill("a")
        held = world.run().incidents[0]
        assert held.result is IncidentResult.HELD
        assert "start rests for 10m" in held.summary
        # A person who looks may.
        by_hand = run(Asked("start", "a", {}), world.runtime, NullListener(), run_id="by-hand")
        assert by_hand.report is not None
        assert by_hand.report.incidents[0].result is IncidentResult.RECOVERED
