"""Two agents, or an agent and a person, have written the same file of `knowledge/`.

Commits that were not pushed in time are made again on the newer tip; a file of knowledge is
then merged and not overwritten, so that a failure that the other has seen still ends trust,
and what a person has deleted, a file or a resolution, stays so. Used by
`flows.repository.reports_branch`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from flows.learning.learn import (
    best_first,
    remedy_key,
    successes_last,
    trial_key,
    with_trials,
)
from flows.learning.shelf import class_of_path, knowledge_text, parse_knowledge
from infrastructure.errors import InvalidInputError
from infrastructure.knowledge import MAX_TRIALS, Knowledge, LearnedResolution, Trial

_NEVER = datetime.min.replace(tzinfo=UTC)


def is_knowledge(path: str) -> bool:
    """Whether a path of the reports branch has to be merged."""
    return class_of_path(path) is not None


def merged_file(path: str, ours: bytes, theirs: bytes, base: bytes | None = None) -> bytes:
    """The file with both sides' trials; theirs where either can't be read.

    Args:
        path: on the reports branch.
        ours: with what was learned here.
        theirs: as it stands on the newer tip.
        base: what ours was made of; None: the file was not there.
    """
    if theirs == base:
        return ours
    name = class_of_path(path) or ""
    try:
        mine, tip = parse_knowledge(ours, name), parse_knowledge(theirs, name)
    except InvalidInputError:
        return theirs
    both = merged(mine, tip, _before(base, name))
    return theirs if both == tip else knowledge_text(both)


def merged(ours: Knowledge, theirs: Knowledge, base: Knowledge | None = None) -> Knowledge:
    """Both agents' trials, on what `theirs` (the newer tip) says.

    Counts only ever grow by trials that `theirs` has not seen; a failure on either side
    ends trust. What a person has done in `theirs` (a resolution taken out or disabled,
    counts set back) stays: of ours comes only what is new since `base`.

    Args:
        ours: with what was learned here.
        theirs: as it stands on the newer tip.
        base: what both started from; None: neither had the file.
    """
    if ours.when != theirs.when:
        return theirs
    if base is not None and base.when != ours.when:
        base = None
    mine = {remedy_key(r.steps): r for r in ours.resolutions}
    stood = {remedy_key(r.steps): r for r in base.resolutions} if base is not None else {}
    both = []
    for resolution in theirs.resolutions:
        key = remedy_key(resolution.steps)
        other = mine.get(key)
        both.append(resolution if other is None else _merged(other, resolution, stood.get(key)))
    there = {remedy_key(r.steps) for r in theirs.resolutions}
    news = [each for key, each in mine.items() if key not in there and key not in stood]
    return theirs.model_copy(update={"resolutions": best_first([*both, *news])})


def _merged(
    ours: LearnedResolution, theirs: LearnedResolution, base: LearnedResolution | None
) -> LearnedResolution:
    after = with_trials(theirs, _since(ours, theirs, base))
    if after is theirs and base is not None:
        return theirs
    row = after.in_a_row
    if after is not theirs and not all(trial.helped for trial in after.evidence):
        # Which came first, their failure or our successes, is for the clocks to say: no more
        # in a row than by these.
        row = min(row, successes_last(sorted(after.evidence, key=lambda t: (t.at, not t.helped))))
    failures = after.failures
    if base is None and ours.failures > failures:  # of a trial that the evidence has dropped
        failures, row = ours.failures, min(ours.in_a_row, row)
    return after.model_copy(update={"failures": failures, "in_a_row": row})


def _since(
    ours: LearnedResolution, theirs: LearnedResolution, base: LearnedResolution | None
) -> list[Trial]:
    """Our trials that `theirs` may lack."""
    if base is not None:
        stood = set(base.evidence)
        return [trial for trial in ours.evidence if trial not in stood]
    # Trials as old as those that a full window has dropped may have been counted.
    full = len(theirs.evidence) >= MAX_TRIALS
    oldest = min(trial.at for trial in theirs.evidence) if full else _NEVER
    known = {trial_key(trial) for trial in theirs.evidence}
    return [t for t in ours.evidence if t.at > oldest or trial_key(t) in known]


def _before(content: bytes | None, name: str) -> Knowledge | None:
    try:
        return None if content is None else parse_knowledge(content, name)
    except InvalidInputError:
        return None
