"""Which lines of a log are about an incident: since all was well, or a process's last words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flows.plan import Evidence
from infrastructure.observed import InstanceState, ObservedInstance
from tests.unit.dossier.builders import NOW, SHOP, Engine, collect, seen
from tests.unit.dossier.test_collect import _ready, _status
from tests.unit.operations.recorded_engine import instance

WELL = NOW - timedelta(minutes=5)
STARTED = WELL - timedelta(minutes=1)
ENDED = instance(
    "shop-1",
    state=InstanceState.STOPPED,
    exit_code=3,
    started_at=STARTED,
    finished_at=NOW - timedelta(seconds=9),
)
FATAL = "FATAL cannot connect to db.example:5432: connection refused, giving up in 8 s"
SINCE = "nothing since 23:55:00"


def at(moment: datetime, text: str) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.123456789Z {text}"


def told(log: str, *instances: ObservedInstance, minutes: int = 5) -> tuple[Evidence, Engine]:
    """The dossier of a shop that was well some minutes ago, and the engine that was asked."""
    engine = Engine({("get_logs", SHOP.target): log})
    observation = seen({SHOP.target: instances or (ENDED,)})
    statuses = _status(conditions=(_ready("True", minutes),))
    return collect(engine, observation=observation, statuses=statuses), engine


def names(evidence: Evidence) -> list[str]:
    return [match.name for match in evidence.matches]


def test_what_a_process_said_before_all_was_well_is_its_last_word_once_it_has_ended() -> None:
    evidence, engine = told(at(STARTED, FATAL))
    assert evidence.logs[SHOP.target].splitlines() == [
        f"{SINCE}; before that:",
        f"23:54:00 {FATAL}",
    ]
    assert names(evidence) == ["connection-refused"]
    assert not any("logs:" in fact for fact in evidence.facts)
    assert sum(call.operation == "get_logs" for call in engine.calls) == 1


def test_what_tells_since_then_leaves_out_what_was_said_before() -> None:
    late = at(NOW - timedelta(seconds=9), "ERROR no space left on device")
    evidence, _ = told(f"{at(STARTED, FATAL)}\n{late}")
    assert evidence.logs[SHOP.target] == "23:59:51 ERROR no space left on device"
    assert "connection-refused" not in names(evidence)


def test_a_goodbye_is_no_reason() -> None:
    evidence, _ = told(f"{at(STARTED, FATAL)}\n{at(NOW - timedelta(seconds=9), 'bye')}")
    assert evidence.logs[SHOP.target].splitlines() == [
        "nothing telling since 23:55:00; before that:",
        f"23:54:00 {FATAL}",
        "23:59:51 bye",
    ]
    assert names(evidence) == ["connection-refused"]


@pytest.mark.parametrize(
    "now",
    [
        replace(ENDED, state=InstanceState.RUNNING, exit_code=None),  # it goes on, unhealthy
        replace(ENDED, started_at=WELL + timedelta(seconds=1)),  # another process said it
    ],
)
def test_old_lines_of_what_has_not_ended_since_are_not_asked_for(now: ObservedInstance) -> None:
    evidence, engine = told("", now)
    (asked,) = (call for call in engine.calls if call.operation == "get_logs")
    assert asked.parameters["since"] == "300s"
    assert f"{SHOP.target}: logs: {SINCE}" in evidence.facts


def test_a_process_before_the_one_that_ended_is_over() -> None:
    evidence, _ = told(at(STARTED - timedelta(minutes=1), FATAL))
    assert f"{SHOP.target}: logs: {SINCE}" in evidence.facts
    assert names(evidence) == []


@pytest.mark.parametrize("code", [0, 137, 143])
def test_the_words_of_what_was_ended_from_outside_are_told_and_are_no_pattern(code: int) -> None:
    evidence, _ = told(at(STARTED, FATAL), replace(ENDED, exit_code=code))
    assert FATAL in evidence.logs[SHOP.target]
    assert names(evidence) == []


def test_of_several_instances_only_the_old_words_of_the_ended_one_count() -> None:
    runs = instance("shop-2", started_at=STARTED)
    log = [at(STARTED, f"[shop-2] {FATAL}"), at(STARTED, "[shop-1] ERROR no space left on device")]
    evidence, _ = told("\n".join(log), ENDED, runs)
    assert FATAL not in evidence.logs[SHOP.target]
    assert "no space left on device" in evidence.logs[SHOP.target]


def test_a_line_without_a_time_goes_with_the_one_before_it() -> None:
    evidence, _ = told(f"{at(STARTED, 'Traceback:')}\n  ConnectionError: connection refused")
    assert names(evidence) == ["connection-refused"]
    whole, _ = told("no times at all: connection refused")
    assert names(whole) == ["connection-refused"]


def test_last_words_are_few() -> None:
    log = "\n".join(at(STARTED, f"ERROR {word}") for word in ("first", *"abcdefgh" * 10))
    assert "ERROR first" not in told(log)[0].logs[SHOP.target]


def test_a_well_moment_of_days_ago_is_told_with_its_day() -> None:
    evidence, _ = told("", minutes=3000)
    assert f"{SHOP.target}: logs: nothing since 2025-12-29 22:00:00" in evidence.facts


@pytest.mark.parametrize("stamp", ["2026-99-99T99:99:99Z", "2026-01-01T00:00:00+99:99"])
def test_a_moment_that_does_not_exist_is_a_line_like_others(stamp: str) -> None:
    evidence, _ = told(f"{at(STARTED, 'ready')}\n{stamp} {FATAL}")
    assert FATAL in evidence.logs[SHOP.target]


@pytest.mark.parametrize("oom", [True, False])
def test_the_reason_of_one_counts_although_another_was_ended_from_outside(oom: bool) -> None:
    killed = instance(
        "shop-2",
        state=InstanceState.STOPPED,
        exit_code=137,
        oom_killed=oom,
        started_at=STARTED,
        finished_at=NOW,
    )
    other = at(STARTED, "[shop-2] ERROR disk full: no space left")
    log = f"{at(STARTED, f'[shop-1] {FATAL}')}\n{other}"
    evidence, _ = told(log, ENDED, killed)
    assert "connection-refused" in names(evidence)
    assert "disk-full" not in names(evidence)
    assert "disk full" in evidence.logs[SHOP.target]


def test_a_mark_may_stand_before_the_time() -> None:
    """Where the engine stamps no lines, and the service does."""
    runs = instance("shop-2", started_at=STARTED)
    old = f"{STARTED:%Y-%m-%dT%H:%M:%S}Z"
    log = f"[shop-2] {old} ERROR no space left on device\n[shop-1] {old} {FATAL}"
    evidence, _ = told(log, ENDED, runs)
    assert names(evidence) == ["connection-refused"]
    assert "no space" not in evidence.logs[SHOP.target]
