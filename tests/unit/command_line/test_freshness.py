"""What is shown says how old it is, and nothing that fails is called in sync."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.command_line import report_view
from flows.command_line.moments import age, at_a_glance, in_full
from flows.command_line.plan_view import preview_data, print_preview
from flows.command_line.preview import preview
from flows.command_line.status_view import status_view
from flows.comparison.drift import HealthStatus
from flows.listener import RunRequest
from infrastructure.errors import PermanentError
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

LOOK = RunRequest(None, None, None, "a-look")
GRACE: dict[str, Any] = {"compare": {"grace": {"confirmAfter": "0s", "missing": "10m"}}}
AT_ONCE: dict[str, Any] = {"guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopWorld]:
    monkeypatch.setenv("COLUMNS", "400")
    with loop_world(tmp_path, platform={**GRACE, **AT_ONCE}) as made:
        made.commit(shop=service_yaml("shop"), till=service_yaml("till"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


def lose(world: LoopWorld, name: str) -> datetime:
    """Take a container away, let a run see it, and say when it did."""
    for key in [key for key, found in world.engine.containers.items() if found.name == name]:
        del world.engine.containers[key]
    world.run()
    now = world.runtime.clock.now()
    return next(at for key, at in world.runtime.first_seen.read(now).items() if name in key)


def shown(world: LoopWorld, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    print_preview(preview(LOOK, world.runtime), str)
    return capsys.readouterr().out


def test_plan_names_what_fails_within_its_grace_and_until_when(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = lose(world, "shop") + timedelta(minutes=10)
    out = shown(world, capsys)
    until = at_a_glance(ends, world.runtime.clock.now())
    told = f"Missing, not acted upon yet: within its grace until {until} (9 min left)"
    assert f"local-docker/shop: {told}" in out
    assert "in sync" not in out
    (pending,) = preview_data(preview(LOOK, world.runtime))["pending"]
    assert pending["graceUntil"] == ends.isoformat()


def test_what_is_not_well_yet_is_not_counted_as_in_sync(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = preview(LOOK, world.runtime)
    states = dict(seen.comparison.states)
    states["local-docker/till"] = replace(
        states["local-docker/till"],
        health=HealthStatus.PROGRESSING,
        message="the engine's health check has not passed yet",
    )
    print_preview(replace(seen, comparison=replace(seen.comparison, states=states)), str)
    out = capsys.readouterr().out
    assert "in sync  1 of 2 targets" in out
    assert "settling local-docker/till: the engine's health check has not passed yet" in out


def test_status_tells_what_a_run_has_noted_and_not_written_of(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_view(world.runtime, None, None).noted == {}
    first = lose(world, "shop")
    view = status_view(world.runtime, None, None)
    since = at_a_glance(first, view.now)
    assert list(view.noted) == ["local-docker/shop"]
    assert view.data()["noted"] == dict(view.noted)
    capsys.readouterr()
    view.show()
    out = capsys.readouterr().out
    assert f"Missing since {since}, within its grace until " in out
    assert "; before: Healthy: " in out


def test_status_says_as_of_when_and_dates_what_is_not_todays(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    view = status_view(world.runtime, None, None)
    told = max(
        c.last_transition_time for status in view.statuses.values() for c in status.conditions
    )
    assert view.data()["asOf"] == told.isoformat()
    later = replace(view, now=told + timedelta(days=2, minutes=1))
    capsys.readouterr()
    later.show()
    out = capsys.readouterr().out
    assert f"as of    {told:%Y-%m-%d %H:%M:%SZ} (2 d ago): the newest that a run has told" in out
    row = next(line for line in out.splitlines() if line.startswith("local-docker/shop"))
    assert f"{told:%Y-%m-%d %H:%M}" in row


def test_what_was_repaired_is_not_called_untold(world: LoopWorld) -> None:
    quick = world.config.platform.compare.grace.model_copy(
        update={"missing": timedelta(0), "unhealthy": timedelta(minutes=1)}
    )
    compare = world.config.platform.compare.model_copy(update={"grace": quick})
    platform = world.config.platform.model_copy(update={"compare": compare})
    world.runtime = replace(world.runtime, config=replace(world.config, platform=platform))
    lose(world, "shop")  # and the run has created it again
    assert status_view(world.runtime, None, None).noted == {}


def newer(world: LoopWorld, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    report_view.say_what_is_newer(world.runtime.git.report(""), world.runtime)
    return capsys.readouterr().err


def test_the_newest_report_says_what_is_newer(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.engine.kill("till")
    world.run()  # a report that nothing waits
    quiet = newer(world, capsys)
    assert quiet.startswith("this report is of ")
    assert "what is so now: uici plan" in quiet
    lose(world, "shop")
    told = newer(world, capsys)
    assert told.startswith("newer: local-docker/shop: Missing since ")
    assert "within its grace until " in told
    assert ": uici explain local-docker/shop\n" in told


def test_a_fault_that_a_later_run_wrote_of_is_newer_than_the_report(
    world: LoopWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.engine.kill("till")
    old = world.runtime.git.report(world.run().run_id)
    world.engine.failures["start"] = PermanentError("start local-docker/shop: no device")
    world.engine.kill("shop")
    newest = world.run().run_id
    capsys.readouterr()
    report_view.say_what_is_newer(old, world.runtime)
    assert "newer: local-docker/shop is Degraded, Synced since " in capsys.readouterr().err
    # Of its own run's words nothing is newer, nor is a fault from before another run's.
    report_view.say_what_is_newer(world.runtime.git.report(newest), world.runtime)
    assert "newer: " not in capsys.readouterr().err
    ended = (world.runtime.clock.now() + timedelta(hours=1)).isoformat()
    later = json.dumps({"finishedAt": ended, "runId": "another"})
    report_view.say_what_is_newer(replace(old, json_text=later), world.runtime)
    assert "newer: " not in capsys.readouterr().err


NO_MOMENTS = ["9999-12-31T23:59:59.999999+00:00", "9999-12-31T23:30:00-10:00", "2026-11-22"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", *(json.dumps({"finishedAt": each, "runId": "a-run"}) for each in NO_MOMENTS)],
)
def test_a_report_that_is_none_says_nothing(
    world: LoopWorld, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    world.engine.kill("till")
    world.run()
    found = replace(world.runtime.git.report(""), json_text=text)
    capsys.readouterr()
    report_view.say_what_is_newer(found, world.runtime)
    assert capsys.readouterr().err == ""


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "glance", "full"),
    [
        (NOW, "12:00:00Z", "2026-11-22 12:00:00Z (0 s ago)"),
        (
            NOW - timedelta(hours=13),
            "2026-11-21 23:00:00Z",
            "2026-11-21 23:00:00Z (13 h 0 min ago)",
        ),
        (NOW + timedelta(minutes=1), "12:01:00Z", "2026-11-22 12:01:00Z"),
    ],
)
def test_moments(at: datetime, glance: str, full: str) -> None:
    assert (at_a_glance(at, NOW), in_full(at, NOW)) == (glance, full)
    assert age(timedelta(days=3, hours=5)) == "3 d"
