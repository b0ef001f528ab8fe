"""How counts and trust change, alone and with two writers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.learning.incident_class import class_name
from flows.learning.learn import (
    Lessons,
    Relapse,
    Standing,
    learn,
    standing,
    with_trials,
)
from flows.learning.merge import merged, merged_file
from flows.learning.shelf import Shelf, knowledge_path, knowledge_text
from infrastructure.drift_kinds import DriftKind
from infrastructure.knowledge import MAX_COUNT, MAX_TRIALS, ClassConditions, Knowledge, LearnedStep
from tests.unit.learning.made import (
    NOW,
    RESTART,
    SHOP,
    STOPPED,
    lesson,
    only,
    shelf_of,
    taught,
    trial,
)

NAME = class_name(STOPPED)
START = (LearnedStep(operation="start"),)
TRUST_AFTER = 3
TARGET = SHOP.target


def known(shelf: Shelf, when: ClassConditions = STOPPED) -> Knowledge:
    found = shelf.get(class_name(when))
    assert found is not None, shelf.problems()
    return found


def state(shelf: Shelf) -> Standing:
    return standing(known(shelf), only(shelf), TRUST_AFTER)


def after(*helped: bool, start: Shelf | None = None) -> Shelf:
    shelf = start or Shelf()
    for number, word in enumerate(helped, 1):
        shelf = taught(shelf, lesson(number, helped=word))
    return shelf


@pytest.mark.parametrize(
    ("helped", "counts", "wanted"),
    [
        ([True], (1, 0, 1), Standing.ON_TRIAL),
        ([True] * 3, (3, 0, 3), Standing.TRUSTED),
        ([True] * 3 + [False], (3, 1, 0), Standing.ON_TRIAL),
        ([True] * 3 + [False, True, True], (5, 1, 2), Standing.ON_TRIAL),
        ([True] * 3 + [False, True, True, True], (6, 1, 3), Standing.TRUSTED),
        ([False], (0, 1, 0), Standing.ON_TRIAL),
    ],
)
def test_trust_is_earned_in_a_row_and_lost_at_once(
    helped: list[bool], counts: tuple[int, int, int], wanted: Standing
) -> None:
    shelf = after(*helped)
    found = only(shelf)
    assert (found.successes, found.failures, found.in_a_row) == counts
    assert state(shelf) is wanted


def test_times_planner_and_evidence_are_kept() -> None:
    found = only(after(True, True, True, False))
    assert (found.planner, found.median_seconds) == ("llm", 2.0)
    assert found.last_used == NOW + timedelta(minutes=4)
    assert [each.run for each in found.evidence] == ["r1", "r2", "r3", "r4"]
    assert len(only(after(*[True] * 30)).evidence) == MAX_TRIALS


def test_the_same_run_counts_once() -> None:
    shelf = after(True)
    assert learn(shelf, Lessons((lesson(1),), 100)) == {}


def test_of_a_run_with_both_the_failure_has_the_say() -> None:
    one, other = lesson(4, helped=False), lesson(5)
    assert only(taught(after(True, True), one, other)).in_a_row <= 1
    assert state(taught(after(True, True), one, other)) is Standing.ON_TRIAL


def test_several_resolutions_stand_best_first() -> None:
    shelf = taught(after(True, False), lesson(3, steps=START), lesson(4, steps=START))
    assert [r.steps for r in known(shelf).resolutions] == [START, RESTART]


def test_a_person_s_trust_holds_until_the_next_failure() -> None:
    shelf = shelf_of({"trusted": True, "reason": "I know it"})
    assert state(shelf) is Standing.TRUSTED
    shelf = taught(shelf, lesson(1))
    assert state(shelf) is Standing.TRUSTED
    shelf = taught(shelf, lesson(2, helped=False))
    assert state(shelf) is Standing.ON_TRIAL
    assert state(taught(shelf, lesson(3))) is Standing.ON_TRIAL


def test_a_person_s_no_outlives_every_success() -> None:
    shelf = after(True, True, True, True, start=shelf_of({"disabled": True, "reason": "no"}))
    assert state(shelf) is Standing.DISABLED
    assert only(shelf).successes == 4


def test_the_longest_unused_class_goes_and_never_one_a_person_spoke_on() -> None:
    def other(kind: DriftKind) -> ClassConditions:
        return ClassConditions(executor="docker", kinds=(kind,))

    kept = shelf_of({"trusted": True, "reason": "mine"})  # never used
    shelf = taught(kept, lesson(1, when=other(DriftKind.MISSING)), classes=3)
    shelf = taught(shelf, lesson(2, when=other(DriftKind.UNHEALTHY)), classes=3)
    shelf = taught(shelf, lesson(3, when=other(DriftKind.CRASH_LOOPING)), classes=3)
    assert set(shelf.files) == {NAME, "docker-unhealthy", "docker-crashlooping"}


def test_what_a_person_is_editing_is_not_written_over() -> None:
    damaged = Shelf({NAME: b"kind: Knowledge\nclass: {"})
    assert learn(damaged, Lessons((lesson(1),), 100)) == {}


# ── two writers ─────────────────────────────────────────────────────────────────

TRIALS = st.lists(st.booleans(), max_size=4)


def told(start: Knowledge, outcomes: list[bool], first: int) -> Knowledge:
    """After these trials, one run after the other."""
    (resolution,) = start.resolutions
    for number, helped in enumerate(outcomes, first):
        resolution = with_trials(resolution, [trial(number, helped=helped)])
    return start.model_copy(update={"resolutions": (resolution,)})


FRESH = known(shelf_of({}))


@given(common=TRIALS, ours=TRIALS, theirs=TRIALS)
def test_both_sides_trials_count_once_and_trust_is_never_won_by_merging(
    common: list[bool], ours: list[bool], theirs: list[bool]
) -> None:
    base = told(FRESH, common, 1)
    mine, tip = told(base, ours, 100), told(base, theirs, 200)
    both = merged(mine, tip)
    (found,) = both.resolutions
    every = [*common, *ours, *theirs]
    assert (found.successes, found.failures) == (sum(every), len(every) - sum(every))
    # No more in a row than if one writer had seen them all in the order of their times.
    (alone,) = told(told(base, ours, 100), theirs, 200).resolutions
    assert found.in_a_row <= alone.in_a_row
    assert merged(mine, both) == both


def test_a_merged_file_keeps_a_person_s_word() -> None:
    path = knowledge_path(NAME)
    ours = knowledge_text(told(FRESH, [True], 1))
    disabled = shelf_of({"disabled": True, "reason": "no"}).files[NAME]
    both = Shelf({NAME: merged_file(path, ours, disabled)})
    assert state(both) is Standing.DISABLED
    assert only(both).successes == 1


@pytest.mark.parametrize("theirs", [b"", b"{", b"kind: Other"])
def test_a_file_that_can_not_be_read_stays_as_the_tip_has_it(theirs: bytes) -> None:
    ours = knowledge_text(told(FRESH, [True], 1))
    assert merged_file(knowledge_path(NAME), ours, theirs) == theirs


def test_a_trial_that_the_evidence_has_dropped_still_ends_trust() -> None:
    row: dict[str, Any] = {"successes": 9, "in_a_row": 9}
    failed = shelf_of({"successes": 9, "failures": 1, "in_a_row": 1, "evidence": [trial(1)]})
    (found,) = merged(known(failed), known(shelf_of(row))).resolutions
    assert (found.failures, found.in_a_row) == (1, 1)


def relapsed(shelf: Shelf, number: int) -> Shelf:
    """The shelf once the fault that run `r<number>` had mended came back."""
    found = learn(shelf, Lessons(classes=100, relapses=(Relapse(STOPPED, f"r{number}", TARGET),)))
    return Shelf({name: knowledge_text(each) for name, each in found.items() if each is not None})


def test_a_relapse_takes_the_success_back_and_ends_trust() -> None:
    shelf = relapsed(after(True, True, True), 3)
    found = only(shelf)
    assert (found.successes, found.failures, found.in_a_row) == (2, 1, 0)
    assert state(shelf) is Standing.ON_TRIAL
    assert [each.helped for each in found.evidence] == [True, True, False]


def test_a_relapse_is_counted_once_and_only_of_what_is_known() -> None:
    shelf = relapsed(after(True, True), 2)
    assert learn(shelf, Lessons(classes=100, relapses=(Relapse(STOPPED, "r2", TARGET),))) == {}
    unknown = (Relapse(STOPPED, "r9", TARGET), Relapse(STOPPED, "r1", "local/other"))
    assert learn(shelf, Lessons(classes=100, relapses=unknown)) == {}
    assert learn(Shelf(), Lessons(classes=100, relapses=unknown)) == {}


@pytest.mark.parametrize("ours_first", [True, False])
def test_of_two_writers_the_one_who_saw_the_relapse_is_right(*, ours_first: bool) -> None:
    before = after(True, True, True)
    one, other = known(relapsed(before, 2)), known(taught(before, lesson(4)))
    both = merged(one, other) if ours_first else merged(other, one)
    (found,) = both.resolutions
    assert (found.successes, found.failures, found.in_a_row) == (3, 1, 2)


# ── clocks ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("minutes", [-600, 0, 600])
def test_any_new_failure_ends_the_row_whatever_the_clock_says(minutes: int) -> None:
    shelf = taught(after(True, True, True), lesson(minutes, helped=False))
    found = only(shelf)
    assert (found.successes, found.failures, found.in_a_row) == (3, 1, 0)
    assert state(shelf) is Standing.ON_TRIAL
    # … and three successes in a row, by whatever clock, earn trust anew.
    for number in (5, 6, 7):
        assert state(shelf) is Standing.ON_TRIAL
        shelf = taught(shelf, lesson(number))
    assert state(shelf) is Standing.TRUSTED


@pytest.mark.parametrize("base_known", [True, False])
def test_another_agent_s_older_failure_ends_the_row(*, base_known: bool) -> None:
    base = told(FRESH, [True], 1)
    mine, tip = told(base, [False], 2), told(base, [True, True], 100)
    (found,) = merged(mine, tip, base if base_known else None).resolutions
    assert (found.successes, found.failures, found.in_a_row) == (3, 1, 0)


def test_an_older_failure_ends_the_row_where_theirs_fill_the_evidence() -> None:
    base = told(FRESH, [False, True], 1)
    tip = told(base, [True] * MAX_TRIALS, 200)
    (found,) = merged(told(base, [False], 100), tip, base).resolutions
    assert (found.successes, found.failures, found.in_a_row) == (MAX_TRIALS + 1, 2, 0)


@given(common=TRIALS, ours=TRIALS, theirs=TRIALS)
def test_with_what_both_started_from_known_every_trial_counts_once(
    common: list[bool], ours: list[bool], theirs: list[bool]
) -> None:
    base = told(FRESH, common, 1)
    mine, tip = told(base, ours, 100), told(base, theirs, 200)
    both = merged(mine, tip, base)
    (found,) = both.resolutions
    every = [*common, *ours, *theirs]
    assert (found.successes, found.failures) == (sum(every), len(every) - sum(every))
    (alone,) = told(told(base, ours, 100), theirs, 200).resolutions
    assert found.in_a_row <= alone.in_a_row
    assert False not in ours or found.in_a_row == 0
    assert merged(mine, both, base) == both


# ── what a person has said meanwhile ────────────────────────────────────────────

PATH = knowledge_path(NAME)


def test_a_resolution_that_a_person_takes_out_stays_out() -> None:
    base = taught(after(True), lesson(2, steps=START))
    ours = taught(base, lesson(3)).files[NAME]
    kept = tuple(r for r in known(base).resolutions if r.steps == START)
    theirs = knowledge_text(known(base).model_copy(update={"resolutions": kept}))
    both = Shelf({NAME: merged_file(PATH, ours, theirs, base.files[NAME])})
    assert [r.steps for r in known(both).resolutions] == [START]


def test_what_both_have_learned_of_a_new_class_is_kept() -> None:
    ours, theirs = after(True), taught(Shelf(), lesson(2, steps=START))
    both = Shelf({NAME: merged_file(PATH, ours.files[NAME], theirs.files[NAME], None)})
    assert {r.steps[0].operation for r in known(both).resolutions} == {"restart", "start"}


def test_a_resolution_that_is_new_of_ours_joins_what_a_person_edits() -> None:
    base = after(True)
    ours = taught(base, lesson(2, steps=START)).files[NAME]
    theirs = knowledge_text(known(base).model_copy(update={"disabled": True, "reason": "no"}))
    both = known(Shelf({NAME: merged_file(PATH, ours, theirs, base.files[NAME])}))
    assert {r.steps[0].operation for r in both.resolutions} == {"restart", "start"}
    assert both.disabled


def test_counts_that_a_person_has_set_back_stay_so() -> None:
    base = after(True, True, True)
    (resolution,) = known(base).resolutions
    fresh = resolution.model_copy(
        update={"successes": 0, "in_a_row": 0, "evidence": (), "median_seconds": None}
    )
    theirs = knowledge_text(known(base).model_copy(update={"resolutions": (fresh,)}))
    ours = taught(base, lesson(4)).files[NAME]
    found = only(Shelf({NAME: merged_file(PATH, ours, theirs, base.files[NAME])}))
    assert (found.successes, found.in_a_row) == (1, 1)


TWIN = {"disabled": True, "reason": "it loses data"}


def test_a_disabled_entry_of_the_same_steps_stops_the_first_and_outlives_lessons() -> None:
    shelf = shelf_of({"successes": 5, "in_a_row": 5}, TWIN)
    assert [standing(known(shelf), r, TRUST_AFTER) for r in known(shelf).resolutions] == [
        Standing.DISABLED,
        Standing.DISABLED,
    ]
    shelf = taught(shelf, lesson(1))
    assert [r.disabled for r in known(shelf).resolutions] == [False, True]
    assert [r.successes for r in known(shelf).resolutions] == [6, 1]


def test_a_disabled_entry_that_comes_with_the_tip_outlives_the_merge() -> None:
    base = after(True, True, True)
    twin = (*known(base).resolutions, *known(shelf_of(TWIN)).resolutions)
    theirs = knowledge_text(known(base).model_copy(update={"resolutions": twin}))
    ours = taught(base, lesson(4)).files[NAME]
    both = known(Shelf({NAME: merged_file(PATH, ours, theirs, base.files[NAME])}))
    assert {standing(both, r, TRUST_AFTER) for r in both.resolutions} == {Standing.DISABLED}


def test_what_was_planned_from_a_class_and_taken_out_meanwhile_is_not_learned_anew() -> None:
    planned = replace(lesson(4), planner="learned")
    others = taught(Shelf(), lesson(1, steps=START))
    assert learn(others, Lessons((planned,), 100)) == {}
    assert learn(Shelf(), Lessons((planned,), 100)) == {}


def test_a_person_s_steps_are_known_without_the_defaults() -> None:
    bare = [{"operation": "restart"}]
    shelf = shelf_of({"steps": bare, "trusted": True, "reason": "I know it"})
    defaults = {"restart": {"strategy": "graceful", "grace_seconds": 10}}
    failed = Lessons((lesson(1, helped=False),), 100, defaults=defaults)
    found = learn(shelf, failed)[NAME]
    assert found is not None
    (resolution,) = found.resolutions
    assert (resolution.trusted, resolution.failures) == (False, 1)
    assert resolution.steps == (LearnedStep(operation="restart"),)


def test_counts_stop_where_the_file_could_not_be_read_again() -> None:
    full = {"successes": MAX_COUNT, "failures": MAX_COUNT, "in_a_row": MAX_COUNT}
    shelf = taught(shelf_of(full), lesson(1), lesson(2, helped=False))
    assert (only(shelf).successes, only(shelf).failures) == (MAX_COUNT, MAX_COUNT)
