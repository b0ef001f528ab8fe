"""What is known of incidents like this one, in sentences for whoever plans. Pure.

The class itself first, then its nearest relatives. Names and counts only: the free text in
the files is not told, since whoever can push there could speak to a model through it.
Neighbours: `flows.dossier` asks, `flows.learning.shelf` has the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.comparison.drift import Incident
from flows.learning.incident_class import class_by_patterns, class_name
from flows.learning.learn import Standing, standing
from flows.learning.shelf import Shelf
from infrastructure.knowledge import ClassConditions, Knowledge, LearnedResolution

_RESOLUTIONS = 3  # told of one class


@dataclass(frozen=True, slots=True)
class SimilarClasses:
    """A lookup: call it with an incident and the patterns found about its root.

    `executors`: type of each environment's executor; `limit`: sentences at most
    (evidence.similar); `trust_after`: learning.trustAfter.
    """

    shelf: Shelf
    executors: Mapping[str, str]
    limit: int
    trust_after: int

    def __call__(self, incident: Incident, patterns: Sequence[str]) -> Sequence[str]:
        """What worked and what did not, the most alike first. Never raises."""
        executor = self.executors.get(incident.environment)
        if executor is None or not self.shelf.files or not self.limit:
            return ()
        when = class_by_patterns(incident, patterns, executor)
        own = self.shelf.get(class_name(when))
        alike = [own] if own is not None and own.when == when else []
        others = (k for k in self.shelf.all().values() if k not in alike)
        ranked = sorted(
            ((_likeness(when, known.when), known.class_, known) for known in others),
            key=lambda each: (-each[0], each[1]),
        )
        alike += [known for likeness, _, known in ranked if likeness > 0]
        told = (line for known in alike if (line := self._sentence(known)))
        return tuple(line for line, _ in zip(told, range(self.limit), strict=False))

    def _sentence(self, known: Knowledge) -> str:
        parts = [
            _fared(resolution)
            for resolution in known.resolutions[:_RESOLUTIONS]
            if standing(known, resolution, self.trust_after) is not Standing.DISABLED
            and resolution.successes + resolution.failures > 0
        ]
        return f"learned of {known.class_}, of any service: {'; '.join(parts)}" if parts else ""


def _likeness(one: ClassConditions, other: ClassConditions) -> int:
    """0: of another sort. The same kinds of drift count most, then patterns, then fields."""
    kinds = set(one.kinds) & set(other.kinds)
    if not kinds:
        return 0
    patterns = set(one.patterns) & set(other.patterns)
    fields = set(one.fields) & set(other.fields)
    same_place = one.executor == other.executor
    return 4 * len(kinds) + 3 * len(patterns) + len(fields) + same_place


def _fared(resolution: LearnedResolution) -> str:
    """`restart helped 3 times of 4, median 6.0 s`."""
    tries = resolution.successes + resolution.failures
    word = ", ".join(step.operation for step in resolution.steps)
    if not resolution.successes:
        return f"{word} did not help ({tries} {'time' if tries == 1 else 'times'})"
    text = f"{word} helped {resolution.successes} of {tries} times"
    if resolution.median_seconds is not None:
        text += f", median {resolution.median_seconds:.1f} s"
    return text
