"""How knowledge changes: lessons of a run applied to what the files say. Pure.

One success more, or one failure; a failure ends every trust, a person's word included,
until the steps have helped so many times in a row again. Two agents that write at the same
time are merged trial by trial, so that no failure is lost. Neighbours: `flows.learning.shelf`
(the files), `flows.learning.lessons` (what a run teaches).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median

from flows.learning.incident_class import class_name
from flows.learning.shelf import Shelf, new_class
from infrastructure.knowledge import (
    MAX_RESOLUTIONS,
    MAX_TRIALS,
    ClassConditions,
    Knowledge,
    LearnedResolution,
    LearnedStep,
    Trial,
)

_NEVER = datetime.min.replace(tzinfo=UTC)


class Standing(StrEnum):
    """What a resolution may do."""

    TRUSTED = "trusted"  # plans without a model
    ON_TRIAL = "on trial"  # is told to whoever plans
    DISABLED = "disabled"  # by a person


@dataclass(frozen=True, slots=True)
class Lesson:
    """One plan that was carried out on an incident of a class, and how it ended."""

    when: ClassConditions
    steps: tuple[LearnedStep, ...]
    planner: str
    trial: Trial


@dataclass(frozen=True, slots=True)
class Relapse:
    """A trial, by its run and target, that counted as a success, and did not mend the fault."""

    when: ClassConditions
    run: str
    target: str


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a run teaches. `classes`: how many classes are kept (learning.classes)."""

    items: tuple[Lesson, ...] = ()
    classes: int = 1
    relapses: tuple[Relapse, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.items or self.relapses)


def standing(known: Knowledge, resolution: LearnedResolution, trust_after: int) -> Standing:
    """Whether a resolution may plan by itself."""
    if known.disabled or resolution.disabled:
        return Standing.DISABLED
    if resolution.trusted or resolution.in_a_row >= trust_after:
        return Standing.TRUSTED
    return Standing.ON_TRIAL


def remedy_key(steps: Sequence[LearnedStep]) -> str:
    """The same for the same operations with the same parameters."""
    text = json.dumps([[step.operation, step.parameters] for step in steps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def learn(shelf: Shelf, lessons: Lessons) -> dict[str, Knowledge | None]:
    """Classes that change, by name; None: the class is forgotten for want of room.

    A file that can't be read, or that a person has given other conditions, is left alone.
    """
    changed: dict[str, Knowledge | None] = {}
    for relapse in lessons.relapses:
        name = class_name(relapse.when)
        before = changed.get(name) or shelf.get(name)
        if before is not None and before.when == relapse.when:
            found = _taken_back(before, relapse)
            if found != before:
                changed[name] = found
    # Failures last: of two incidents of a run, the one that did not recover has the say.
    for lesson in sorted(lessons.items, key=lambda each: not each.trial.helped):
        name = class_name(lesson.when)
        known = changed.get(name) or shelf.get(name)
        if known is None:
            if name in shelf.files:
                continue
            known = new_class(lesson.when)
        if known.when == lesson.when:
            after = _taught(known, lesson)
            if after != known:
                changed[name] = after
    return changed | dict.fromkeys(_forgotten(shelf, changed, lessons.classes))


def _taken_back(known: Knowledge, relapse: Relapse) -> Knowledge:
    """With that success as a failure; a trial that the files don't know of changes nothing."""
    after = []
    for resolution in known.resolutions:
        trials = [t for t in resolution.evidence if (t.run, t.target) == _key(relapse)]
        after.append(with_trials(resolution, [_in_vain(trial) for trial in trials]))
    if tuple(after) == known.resolutions:
        return known
    return known.model_copy(update={"resolutions": best_first(after)})


def _in_vain(trial: Trial) -> Trial:
    return trial.model_copy(update={"helped": False, "seconds": None})


def _key(trial: Trial | Relapse) -> tuple[str, str]:
    return trial.run, trial.target


def _taught(known: Knowledge, lesson: Lesson) -> Knowledge:
    key = remedy_key(lesson.steps)
    before = next((r for r in known.resolutions if remedy_key(r.steps) == key), None)
    if before is None:
        before = LearnedResolution(steps=lesson.steps, planner=lesson.planner)
    after = with_trials(before, [lesson.trial])
    others = [r for r in known.resolutions if remedy_key(r.steps) != key]
    return known.model_copy(update={"resolutions": best_first([after, *others])})


def with_trials(before: LearnedResolution, trials: Iterable[Trial]) -> LearnedResolution:
    """The resolution after these trials.

    One that it knows already changes nothing, unless it counted as a success and is known
    better now: then the success is taken back.
    """
    known = {_key(trial): trial for trial in before.evidence}
    new, revised = [], {}
    for trial in trials:
        as_known = known.get(_key(trial))
        if as_known is None:
            new.append(trial)
        elif as_known.helped and not trial.helped:
            revised[_key(trial)] = trial
    if not new and not revised:
        return before
    failures = sum(not trial.helped for trial in new)
    successes = max(0, before.successes + len(new) - failures - len(revised))
    failures += len(revised)
    told = (revised.get(_key(trial), trial) for trial in before.evidence)
    evidence = sorted((*told, *new), key=lambda t: (t.at, not t.helped))
    in_a_row = min(before.in_a_row + sum(trial.helped for trial in new), successes)
    if not all(trial.helped for trial in evidence):
        in_a_row = min(in_a_row, _row(evidence))
    kept = tuple(evidence[-MAX_TRIALS:])
    seconds = [t.seconds for t in kept if t.helped and t.seconds is not None]
    return before.model_copy(
        update={
            "successes": successes,
            "failures": before.failures + failures,
            "in_a_row": in_a_row,
            "last_used": max(t.at for t in kept),
            "median_seconds": round(median(seconds), 3) if seconds else before.median_seconds,
            "evidence": kept,
            **({"trusted": False} if failures else {}),
        }
    )


def _row(evidence: Sequence[Trial]) -> int:
    """Successes after the last failure."""
    count = 0
    for trial in reversed(evidence):
        if not trial.helped:
            break
        count += 1
    return count


def best_first(resolutions: Iterable[LearnedResolution]) -> tuple[LearnedResolution, ...]:
    """In the order in which they are tried, at most so many as a class may have.

    A person's word is never dropped for want of room.
    """
    ordered = sorted(resolutions, key=_worth, reverse=True)
    said = [r for r in ordered if r.disabled or r.trusted]
    room = max(0, MAX_RESOLUTIONS - len(said))
    kept = [r for r in ordered if not (r.disabled or r.trusted)][:room] + said
    return tuple(r for r in ordered if r in kept)


def _worth(resolution: LearnedResolution) -> tuple[bool, float, float]:
    """A person's word, the share of successes (of few ones less), then speed."""
    tries = resolution.successes + resolution.failures
    share = (resolution.successes + 1) / (tries + 2)
    return resolution.trusted, round(share, 6), -(resolution.median_seconds or 0.0)


def merged(ours: Knowledge, theirs: Knowledge) -> Knowledge:
    """Both agents' trials, on what `theirs` (the newer tip) says.

    Counts only ever grow by trials that `theirs` has not seen; a failure on either side
    ends trust; a person's word on either side stays.
    """
    if ours.when != theirs.when:
        return theirs
    mine = {remedy_key(r.steps): r for r in ours.resolutions}
    both = []
    for resolution in theirs.resolutions:
        other = mine.pop(remedy_key(resolution.steps), None)
        both.append(resolution if other is None else _merged(other, resolution))
    return theirs.model_copy(update={"resolutions": best_first([*both, *mine.values()])})


def _merged(ours: LearnedResolution, theirs: LearnedResolution) -> LearnedResolution:
    # Trials as old as those that a full window has dropped may have been counted.
    full = len(theirs.evidence) >= MAX_TRIALS
    oldest = min(trial.at for trial in theirs.evidence) if full else _NEVER
    known = {_key(trial) for trial in theirs.evidence}
    ours_since = [t for t in ours.evidence if t.at > oldest or _key(t) in known]
    after = with_trials(theirs, ours_since)
    failed = ours.failures > after.failures  # of a trial that the evidence has dropped
    return after.model_copy(
        update={
            "failures": max(ours.failures, after.failures),
            "in_a_row": min(ours.in_a_row, after.in_a_row) if failed else after.in_a_row,
        }
    )


def _forgotten(shelf: Shelf, changed: dict[str, Knowledge | None], limit: int) -> list[str]:
    """The longest unused classes beyond the limit; never one that a person has spoken on."""
    too_many = len(shelf.files.keys() | changed.keys()) - limit
    if too_many <= 0:
        return []
    known: dict[str, Knowledge] = {
        name: each for name, each in (shelf.all() | changed).items() if each is not None
    }
    unused = sorted((_last_used(k), name) for name, k in known.items() if not _spoken_on(k))
    return [name for _, name in unused[:too_many]]


def _last_used(known: Knowledge) -> datetime:
    return max((r.last_used for r in known.resolutions if r.last_used), default=_NEVER)


def _spoken_on(known: Knowledge) -> bool:
    return known.disabled or any(r.disabled or r.trusted for r in known.resolutions)
