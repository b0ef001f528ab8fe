"""How knowledge changes: lessons of a run applied to what the files say. Pure.

One success more, or one failure; a failure ends every trust, a person's word included,
until the steps have helped so many times in a row again. No count rests on the clock: one
that was set back or forward makes no failure older than a success. Neighbours:
`flows.learning.shelf` (the files), `flows.learning.lessons` (what a run teaches),
`flows.learning.merge` (two writers at the same time).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median
from typing import Any

from flows.learning.incident_class import class_name
from flows.learning.shelf import Shelf, new_class
from flows.plan import PlannerKind
from infrastructure.knowledge import (
    MAX_COUNT,
    MAX_RESOLUTIONS,
    MAX_TRIALS,
    ClassConditions,
    Knowledge,
    LearnedResolution,
    LearnedStep,
    Trial,
)
from infrastructure.observed import empty

_RUN_ID = 12  # characters of its end
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
    """What a run teaches.

    `classes`: how many classes are kept (learning.classes). `defaults`: of each operation's
    parameters, which people need not write.
    """

    items: tuple[Lesson, ...] = ()
    classes: int = 1
    relapses: tuple[Relapse, ...] = ()
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=empty)

    def __bool__(self) -> bool:
        return bool(self.items or self.relapses)


def standing(known: Knowledge, resolution: LearnedResolution, trust_after: int) -> Standing:
    """Whether a resolution may plan by itself. A person's no holds for every entry alike."""
    if known.disabled or resolution.disabled or _disabled_elsewhere(known, resolution):
        return Standing.DISABLED
    if resolution.trusted or resolution.in_a_row >= trust_after:
        return Standing.TRUSTED
    return Standing.ON_TRIAL


def _disabled_elsewhere(known: Knowledge, resolution: LearnedResolution) -> bool:
    no = {remedy_key(each.steps) for each in known.resolutions if each.disabled}
    return bool(no) and remedy_key(resolution.steps) in no


def remedy_key(
    steps: Sequence[LearnedStep], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """The same for the same operations with the same parameters, defaults written or not."""
    known = defaults or {}
    plain = [[s.operation, {**known.get(s.operation, {}), **s.parameters}] for s in steps]
    # A person's YAML may hold what JSON does not, such as a date.
    text = json.dumps(plain, sort_keys=True, default=str)
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
            after = _taught(known, lesson, lessons.defaults)
            if after != known:
                changed[name] = after
    return changed | dict.fromkeys(_forgotten(shelf, changed, lessons.classes))


def _taken_back(known: Knowledge, relapse: Relapse) -> Knowledge:
    """With that success as a failure; a trial that the files don't know of changes nothing."""
    after = []
    for resolution in known.resolutions:
        trials = [t for t in resolution.evidence if trial_key(t) == trial_key(relapse)]
        after.append(with_trials(resolution, [_in_vain(trial) for trial in trials]))
    if tuple(after) == known.resolutions:
        return known
    return known.model_copy(update={"resolutions": best_first(after)})


def _in_vain(trial: Trial) -> Trial:
    return trial.model_copy(update={"helped": False, "seconds": None})


def short_run(run_id: str) -> str:
    """The end of a run's id, which is random: enough to know it among a class's newest trials."""
    return run_id[-_RUN_ID:]


def trial_key(trial: Trial | Relapse) -> tuple[str, str]:
    """The run and the target: one trial of each pair."""
    return short_run(trial.run), trial.target


def _taught(
    known: Knowledge, lesson: Lesson, defaults: Mapping[str, Mapping[str, Any]]
) -> Knowledge:
    """With the trial on every entry of these steps: a person may have added one of them."""
    key = remedy_key(lesson.steps, defaults)
    same = [remedy_key(r.steps, defaults) == key for r in known.resolutions]
    if any(same):
        after = [
            with_trials(each, [lesson.trial]) if tried else each
            for each, tried in zip(known.resolutions, same, strict=True)
        ]
    elif lesson.planner == PlannerKind.LEARNED.value:
        return known  # it was planned from here, and a person has taken it out meanwhile
    else:
        first = LearnedResolution(steps=lesson.steps, planner=lesson.planner)
        after = [with_trials(first, [lesson.trial]), *known.resolutions]
    return known.model_copy(update={"resolutions": best_first(after)})


def with_trials(before: LearnedResolution, trials: Iterable[Trial]) -> LearnedResolution:
    """The resolution after these trials.

    One that it knows already changes nothing, unless it counted as a success and is known
    better now: then the success is taken back. Any new failure ends the row, whatever its time.
    """
    known = {trial_key(trial): trial for trial in before.evidence}
    new: dict[tuple[str, str], Trial] = {}
    revised = {}
    for trial in trials:
        as_known = known.get(trial_key(trial))
        if as_known is None:
            new.setdefault(trial_key(trial), trial)
        elif as_known.helped and not trial.helped:
            revised[trial_key(trial)] = trial
    if not new and not revised:
        return before
    failures = sum(not trial.helped for trial in new.values())
    successes = max(0, before.successes + len(new) - failures - len(revised))
    successes = min(successes, MAX_COUNT)  # more could not be read again
    failures += len(revised)
    evidence = [*(revised.get(trial_key(trial), trial) for trial in before.evidence), *new.values()]
    kept = tuple(evidence[-MAX_TRIALS:])
    seconds = [t.seconds for t in kept if t.helped and t.seconds is not None]
    return before.model_copy(
        update={
            "successes": successes,
            "failures": min(before.failures + failures, MAX_COUNT),
            "in_a_row": min(_in_a_row(before, new.values(), evidence, revised), successes),
            "last_used": max(t.at for t in kept),
            "median_seconds": round(median(seconds), 3) if seconds else before.median_seconds,
            "evidence": kept,
            **({"trusted": False} if failures else {}),
        }
    )


def _in_a_row(
    before: LearnedResolution,
    new: Collection[Trial],
    evidence: Sequence[Trial],
    revised: Collection[tuple[str, str]],
) -> int:
    if not all(trial.helped for trial in new):
        return 0
    count = before.in_a_row + len(new)
    return min(count, successes_last(evidence)) if revised else count


def successes_last(evidence: Sequence[Trial]) -> int:
    """Successes after the last failure, in the order in which they were told."""
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
