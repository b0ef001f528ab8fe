"""What a person at a terminal is told while a run goes on."""

from __future__ import annotations

import re
from datetime import timedelta

from flows.command_line.run_progress import Doing, RunProgress
from flows.comparison.drift import Incident
from flows.verify import Check, CheckState
from tests.fakes.loop import LoopWorld


def told(world: LoopWorld) -> list[str]:
    return [words for words, _ in timed(world)]


def timed(world: LoopWorld) -> list[tuple[str, bool]]:
    """With whether the time goes on."""
    said: list[tuple[str, bool]] = []

    def say(words: str, *, goes_on: bool = False) -> None:
        said.append((words, goes_on))

    world.run(listener=RunProgress(say, verify_within=timedelta(minutes=2)))
    return said


def test_each_stage_of_a_repair_is_told_when_it_begins(world: LoopWorld) -> None:
    world.engine.kill("market-predictor")
    said = told(world)
    target = "local-docker/market-predictor"
    assert said[:3] == [
        "1 difference, planning",
        f"{target}: planned by runbook, asking the guard",
        f"{target}: allowed",
    ]
    assert re.fullmatch(r"intent committed: [0-9a-f]{7}", said[3])
    assert said[4:] == [
        f"{target}: start",
        f"{target}: start succeeded, verifying for 2m at most",
        *[f"{target}: verifying for 2m at most, well so far"] * (len(said) - 7),
        f"{target}: recovered",
    ]


def test_what_a_verification_waits_for_is_named_and_its_time_goes_on() -> None:
    said: list[tuple[str, bool]] = []

    def say(words: str, *, goes_on: bool = False) -> None:
        said.append((words, goes_on))

    web = "local-docker/web"
    incident = Incident("f", "local-docker", web, (web,), ())
    fine = Check(web, "engine", CheckState.PASSED, "1 running")
    sick = Check(web, "probe", CheckState.FAILED, "/health answers 503")
    RunProgress(say, verify_within=timedelta(minutes=2)).looked(incident, (fine, sick))
    waits = f"{web}: verifying for 2m at most, waits for probe: /health answers 503"
    assert said == [(waits, True)]


def test_a_quiet_run_has_little_to_say(world: LoopWorld) -> None:
    assert told(world) == ["writing the report"]


def test_what_lasts_says_for_how_long_and_keeps_to_its_line() -> None:
    seconds = [0.0]
    doing = Doing("web: start succeeded, verifying for 2m at most", lambda: seconds[0], 0.0)
    shown = "web: start succeeded, verifying for 2m at most …"
    assert doing.__rich__().plain == shown
    seconds[0] = 12.9
    assert doing.__rich__().plain == f"12 s: {shown}"
    assert doing.__rich__().no_wrap
