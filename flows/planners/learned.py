"""LearnedPlanner: a class that has proved itself is planned without a model.

The first in the order of planners. Its knowledge comes from files that anyone with the
right to push may write: it has no more power than any other planner, and the guard judges
its plans. Neighbours: `flows.learning`, `flows.planners.order`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flows.comparison.drift import Incident
from flows.learning.binding import mistakes, rendered
from flows.learning.incident_class import class_name, class_of
from flows.learning.learn import Standing, standing
from flows.learning.shelf import Shelf
from flows.plan import (
    Declined,
    Evidence,
    Phase,
    PhaseRecord,
    Plan,
    PlannerKind,
    PlanStep,
)
from flows.planners.tried import NOTHING_TRIED, TriedPlans, deeds, told
from infrastructure.errors import UiciError
from infrastructure.knowledge import Knowledge, LearnedResolution
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, Risk
from infrastructure.service import Service

_MAX_REASON = 200


def _can(_: OperationCall) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class LearnedPlanner:
    """Plans by the gentlest trusted resolution that fits and was not tried in vain.

    What needs more force helps more often, and would be learned first of all: so one of less
    risk goes before it as long as it has helped at least as often as not, and the trusted one could
    be planned now. Where it fails, that one has its turn in the next run.

    `executors`: type of each environment's executor; `trust_after`: learning.trustAfter;
    `give_way_after`: learning.giveWayAfter; `refusal`: why a target can't do what its
    environment can.
    """

    shelf: Shelf
    services: Mapping[str, Service]
    executors: Mapping[str, str]
    registry: OperationRegistry
    capabilities: Callable[[str], frozenset[str]]
    trust_after: int
    give_way_after: int
    refusal: Callable[[OperationCall], str | None] = _can
    tried: TriedPlans = NOTHING_TRIED

    kind = PlannerKind.LEARNED

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | Declined:
        """A Plan without asking anybody, or why there is none. Never raises."""
        made = self._plan(incident, evidence)
        return made if isinstance(made, Plan) else Declined(self.kind, made)

    def _plan(self, incident: Incident, evidence: Evidence) -> Plan | str:
        service = self.services.get(incident.root)
        executor = self.executors.get(incident.environment)
        if service is None or executor is None:
            return f"{incident.root} is not in desired state"
        when = class_of(incident, evidence, executor)
        name = class_name(when)
        known = self.shelf.get(name)
        if known is None:
            damaged = (
                "its file is damaged" if name in self.shelf.files else "nothing was learned yet"
            )
            return f"{name}: {damaged}"
        if known.when != when:
            self.shelf.ignore(name, "its conditions are those of another class")
            return f"{name}: its file is about another class"
        reasons = [] if known.resolutions else ["nothing was learned yet"]
        tried = self.tried.about(incident, evidence)
        for resolution in sorted(known.resolutions, key=lambda r: (not r.trusted, self._risk(r))):
            plan = self._by(known, resolution, incident, service, tried=tried)
            if isinstance(plan, Plan):
                return plan
            reasons.append(plan)
        return f"{name}: {'; '.join(reasons)}"

    def _by(
        self,
        known: Knowledge,
        resolution: LearnedResolution,
        incident: Incident,
        service: Service,
        *,
        tried: TriedPlans,
    ) -> Plan | str:
        word = ", ".join(step.operation for step in resolution.steps)
        state = standing(known, resolution, self.trust_after)
        stronger = None
        if state is Standing.ON_TRIAL:
            behind = self._stronger(known, resolution)
            plans = (self._by(known, o, incident, service, tried=tried) for o in behind)
            usable = (o for o, made in zip(behind, plans, strict=True) if isinstance(made, Plan))
            stronger = next(usable, None)
        if state is not Standing.TRUSTED and stronger is None:
            return f"{word} is {state.value}: {counts(resolution)}"
        try:
            wrong = next(mistakes(resolution, self.registry), None)
            steps = () if wrong else rendered(resolution, service, self.registry)
        except UiciError as exc:
            wrong = str(exc)
        if wrong:
            why = f"{word} can't be used: {wrong[:_MAX_REASON]}"
            self.shelf.ignore(known.class_, why)
            return why
        if (refused := self._refused(steps, incident.environment)) is not None:
            return f"{word} can't be done: {refused}"
        if self._does(steps) in self._forbidden(known, service):
            return f"{word} is {Standing.DISABLED.value}: a person has disabled what it does"
        plan = _planned(known, resolution, incident, steps, before=stronger)
        return self._in_vain(word, plan, incident.root, tried) or plan

    def _stronger(self, known: Knowledge, resolution: LearnedResolution) -> list[LearnedResolution]:
        """Those that have proved themselves and are not needed yet: this one may suffice."""
        if resolution.successes < max(resolution.failures, self.trust_after):
            return []
        return [
            other
            for other in known.resolutions
            if standing(known, other, self.trust_after) is Standing.TRUSTED
            and not other.trusted
            and self._risk(other) > self._risk(resolution)
        ]

    def _risk(self, resolution: LearnedResolution) -> int:
        """Of its riskiest step. People edit the files: an operation may be unknown."""
        names = self.registry.names()
        return max(
            self.registry.get(s.operation).risk.rank if s.operation in names else len(Risk)
            for s in resolution.steps
        )

    def _in_vain(self, word: str, plan: Plan, root: str, tried: TriedPlans) -> str | None:
        """Why the plan is not to be carried out once more."""
        past = tried.same(root, plan)
        if past is not None:
            return f"{told(past)} was tried and did not help"
        times = tried.ended_open(root, plan)
        if times >= self.give_way_after:
            return f"{word} gives way: it ended {times} times without anybody seeing how"
        return None

    def _does(self, steps: tuple[PlanStep, ...]) -> tuple[str, ...]:
        return deeds(((s.operation, s.target, s.parameters) for s in steps), self.registry)

    def _forbidden(self, known: Knowledge, service: Service) -> set[tuple[str, ...]]:
        """What the disabled entries do, however a person has written it."""
        found = set()
        for resolution in known.resolutions:
            if resolution.disabled:
                with contextlib.suppress(UiciError):
                    found.add(self._does(rendered(resolution, service, self.registry)))
        return found

    def _refused(self, steps: tuple[PlanStep, ...], environment: str) -> str | None:
        able = self.capabilities(environment)
        for step in steps:
            if step.operation not in able:
                return f"{environment} can't do {step.operation}"
            if (reason := self.refusal(step.call)) is not None:
                return reason
        return None


def _planned(
    known: Knowledge,
    resolution: LearnedResolution,
    incident: Incident,
    steps: tuple[PlanStep, ...],
    *,
    before: LearnedResolution | None,
) -> Plan:
    said = f"known class {known.class_}: {counts(resolution)}"
    if before is not None:
        word = ", ".join(step.operation for step in before.steps)
        said += f"; risks less than {word}, which {counts(before)}"
    return Plan(
        fingerprint=incident.fingerprint,
        planner=PlannerKind.LEARNED,
        planner_reason=f"{said}; no model was asked",
        diagnosis=f"In such incidents {', '.join(s.operation for s in steps)} has helped before.",
        confidence=1.0,
        evidence=(said,),
        steps=steps,
        learned=known.class_,
        phases=(PhaseRecord(Phase.TRIAGE, "learned", f"{said}; nothing to gain from a model"),),
    )


def counts(resolution: LearnedResolution) -> str:
    """`worked 4 times of 4, median 6 s`."""
    tries = resolution.successes + resolution.failures
    times = "time" if resolution.successes == 1 else "times"
    text = f"worked {resolution.successes} {times} of {tries}"
    if resolution.median_seconds is not None:
        text += f", median {resolution.median_seconds:.1f} s"
    return text + (" (trusted by a person)" if resolution.trusted else "")
