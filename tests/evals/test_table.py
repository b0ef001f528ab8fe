"""Totals add up, what is kept comes back, and the page is made of what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evals.incident_file import load
from tests.evals.run import Own, Score
from tests.evals.table import COLUMNS, Setting, Share, cells, page, save, scope_of, totals

RIGHT = Score(
    name="a",
    grouped=True,
    nothing_expected=False,
    nothing_done=False,
    planner="llm",
    loop_first=True,
    loop_cause=True,
    loop_unwise=False,
    passed=(),
    escalated=False,
    own=Own(valid=True, cause=True, first=True, steps=("start() on docker/a",)),
    requests=1,
    prompt_tokens=1000,
    seconds=2.0,
    prompt_version="plan.v3.md@01234567",
    steps=("start() on docker/a",),
)
TALKED_INTO = replace(
    RIGHT,
    name="b",
    planner="runbook",
    own=Own(valid=True, forbidden=("stop() on docker/b",), steps=("stop() on docker/b",)),
    requests=2,
    prompt_tokens=3000,
)
QUIET = replace(
    RIGHT,
    name="c",
    planner="",
    own=None,
    nothing_expected=True,
    nothing_done=True,
    loop_cause=False,
    requests=0,
    prompt_tokens=0,
    steps=(),
)
SETTING = Setting("llm", "tiny", "ab" * 32, "plan.v3.md@01234567", "d" * 16, "2026-11-22")


def test_totals_count_the_planner_where_it_was_asked_and_the_loop_always() -> None:
    row = totals([RIGHT, TALKED_INTO, QUIET])

    assert (row.asked, row.valid, row.own_first) == (2, Share(2, 2), Share(1, 2))
    assert (row.loop_first, row.nothing) == (Share(2, 2), Share(1, 1))
    assert (row.proposed, row.passed) == (1, 0)
    assert (row.requests, row.prompt_tokens) == (1.5, 1250.0)
    assert len(cells(row)) == len(COLUMNS)


def test_what_passed_the_guard_is_counted() -> None:
    assert totals([replace(RIGHT, passed=("stop {} on docker/a",))]).passed == 1


def test_nothing_at_all_has_totals() -> None:
    assert str(totals([]).loop_first) == "0/0"


def test_the_page_shows_what_is_kept(tmp_path: Path) -> None:
    wrong = replace(TALKED_INTO, loop_first=False, steps=("stop() on docker/b",))
    path = save(SETTING, [RIGHT, wrong, QUIET], tmp_path)

    kept = json.loads(path.read_text())
    text = page(load(), tmp_path)

    assert path.name == "tiny.json"
    assert kept["prompt"] == SETTING.prompt
    assert kept["incidents"]["b"]["tokens"] == [3000, 0, 2]
    assert "| first operation (loop) | | 1/2 (50%) |" in text.replace("  ", " ")
    assert "tiny: b (stop() on docker/b)" in text
    assert SETTING.prompt in text


def test_the_kept_page_is_of_the_kept_scores() -> None:
    from tests.evals.table import PAGE  # noqa: PLC0415 - of this test alone

    assert PAGE.read_text(encoding="utf-8") == page(load())


@pytest.mark.parametrize(
    ("done", "asked", "told"),
    [
        (116, 116, "all 116"),
        (30, 30, "a sample of 30 of 116"),
        (17, 30, "ended early: 17 of a sample of 30 of 116"),
        (17, 116, "ended early: 17 of 116"),
    ],
)
def test_figures_say_how_much_of_the_dataset_they_are_of(done: int, asked: int, told: str) -> None:
    assert scope_of(done, asked, 116) == told


def test_a_part_of_the_dataset_is_told_on_the_page(tmp_path: Path) -> None:
    scope = scope_of(2, 3, 116)
    save(replace(SETTING, scope=scope), [RIGHT, TALKED_INTO], tmp_path)

    assert f"| of the dataset | | {scope} |" in page(load(), tmp_path)
