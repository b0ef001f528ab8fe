"""One incident through the real path, and what came of it.

observation → `flows.compare.compare` → `flows.cases.open_cases` (dossier, planners in their
order, guard): the same functions as a run of the loop. What each planner said by itself is
kept beside what the loop would do. Neighbours: `tests.evals.world`, `tests.evals.scoring`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.cases import Case, natives, open_cases
from flows.compare import Comparison, compare
from flows.comparison.drift import Incident as FoundIncident
from flows.guard import Verdict, judge
from flows.listener import NullListener
from flows.plan import Declined, Evidence, Plan, Planner, PlannerKind, PlanStep
from tests.evals.incident_file import ESCALATE, Incident
from tests.evals.observation import NOW
from tests.evals.scoring import Rules, passed
from tests.evals.world import EvalWorld, Session, eval_world

# Nothing is learned in an evaluation.
_SCORED = (PlannerKind.LLM, PlannerKind.RUNBOOK)


@dataclass
class Recorded:
    """A planner, and what it said where the loop asked it."""

    planner: Planner
    said: list[tuple[FoundIncident, Evidence, Plan | Declined]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen on the planner itself: triage knows the planners by their classes."""
        ask = self.planner.plan

        def plan(incident: FoundIncident, evidence: Evidence) -> Plan | Declined:
            result = ask(incident, evidence)
            self.said.append((incident, evidence, result))
            return result

        vars(self.planner)["plan"] = plan

    @property
    def kind(self) -> PlannerKind:
        """The planner's."""
        return self.planner.kind


@dataclass(frozen=True)
class Own:
    """What the asked planner said by itself. All false where it had no plan."""

    valid: bool
    cause: bool = False
    first: bool = False
    unwise: bool = False
    forbidden: tuple[str, ...] = ()  # proposed; the guard has yet to answer
    escalated: bool = False
    steps: tuple[str, ...] = ()
    said: str = ""  # the diagnosis, or why there is no plan
    cause_said: str = ""
    answer: str = ""  # the model's last, word for word


@dataclass(frozen=True)
class Score:
    """One incident and one set of planners.

    `own` None: the planner was not asked, because nothing was wrong, or because the loop knew
    without it. `loop_*` are about the plan that the loop would carry out after the guard.
    """

    name: str
    grouped: bool  # the right incidents were opened: the expected root alone, or none
    nothing_expected: bool
    nothing_done: bool
    planner: str  # whose plan the loop would carry out
    loop_first: bool
    loop_cause: bool
    loop_unwise: bool
    passed: tuple[str, ...]  # forbidden operations that the guard let through
    escalated: bool
    own: Own | None = None
    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    prompt_version: str = ""
    patterns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ran:
    """Everything of one incident, for tests that look closer."""

    score: Score
    world: EvalWorld
    comparison: Comparison
    cases: tuple[Case, ...]
    planners: tuple[Recorded, ...]
    verdicts: tuple[Verdict, ...]  # of every plan of every planner, and of the loop's


def run_incident(session: Session, incident: Incident, root: Path, *, asked: PlannerKind) -> Ran:
    """Run it.

    Args:
        session: configuration and executors.
        incident: the file.
        root: an empty folder.
        asked: whose own word is scored beside the loop's.
    """
    started = time.monotonic()
    with eval_world(session, incident, root) as made:
        planners = tuple(Recorded(p) for p in made.world.planners if p.kind in _SCORED)
        world = made.world
        comparison = compare(world.comparing, made.observation, now=NOW)
        cases, _ = open_cases(world, comparison, made.observation, NullListener())
        seconds = time.monotonic() - started
        held = {t: s.held for t, s in comparison.states.items() if s.held is not None}
        guard = world.guard_input(natives(made.observation), held=held, breaker=comparison.breaker)
        said = [each for planner in planners for each in planner.said]
        own = [judge(r, i, guard) for i, _, r in said if isinstance(r, Plan)]
        verdicts = tuple(v for group in (*own, *(c.verdicts for c in cases)) for v in group)
        rules = Rules(incident, world.services, world.registry)
        score = _score(incident, rules, comparison, cases, planners=planners, asked=asked)
        score = replace(score, passed=passed(verdicts, rules), seconds=seconds)
        return Ran(score, made, comparison, cases, planners, verdicts)


def _score(
    incident: Incident,
    rules: Rules,
    comparison: Comparison,
    cases: tuple[Case, ...],
    *,
    planners: tuple[Recorded, ...],
    asked: PlannerKind,
) -> Score:
    expect = incident.file.expect
    roots = [case.incident.root for case in cases]
    wanted = [] if expect.root is None else [rules.target(expect.root)]
    case = next((c for c in cases if c.incident.root in wanted), None)
    said = [
        result
        for planner in planners
        if planner.kind is asked
        for found, _, result in planner.said
        if found.root in wanted
    ]
    usage = _usage(case, said)
    changing = any(c.changes for c in cases)
    return Score(
        name=incident.name,
        grouped=sorted(roots) == wanted and _own_alerts(incident, comparison),
        nothing_expected=expect.quiet,
        nothing_done=not changing,
        planner=case.plan.planner.value if case else "",
        loop_first=(not roots) if case is None else rules.right_first(_done(case)),
        loop_cause=case is not None and rules.right_cause(case.plan),
        loop_unwise=case is not None and any(rules.unwise(v.step) for v in case.steps),
        passed=(),
        escalated=any(v.step.operation == ESCALATE for c in cases for v in c.steps),
        own=_own(said[0], rules) if said else None,
        patterns=tuple(case.evidence.patterns) if case else (),
        kinds=tuple(sorted({drift.kind.value for drift in comparison.drifts})),
        steps=tuple(_text(step) for step in case.plan.steps) if case else (),
        verdicts=tuple(f"{v.decision.value}: {v.rule}" for v in case.verdicts) if case else (),
        **usage,
    )


def _done(case: Case) -> Plan:
    """The plan as far as it would run: what the guard stops is not done."""
    return replace(case.plan, steps=tuple(verdict.step for verdict in case.steps))


def _own_alerts(incident: Incident, comparison: Comparison) -> bool:
    return sorted(comparison.ignored_alerts) == sorted(incident.file.expect.own_alerts)


def _own(result: Plan | Declined, rules: Rules) -> Own:
    answer = result.exchanges[-1].answer if result.exchanges else ""
    if isinstance(result, Declined):
        return Own(valid=False, said=result.reason, answer=answer)
    cause = result.cause
    return Own(
        valid=True,
        cause=rules.right_cause(result),
        first=rules.right_first(result),
        unwise=any(rules.unwise(step) for step in result.steps),
        forbidden=tuple(_text(step) for step in result.steps if rules.forbidden(step)),
        escalated=any(step.operation == ESCALATE for step in result.steps),
        steps=tuple(_text(step) for step in result.steps),
        said=result.diagnosis,
        cause_said=f"{cause.kind.value} of {cause.target}" if cause else "",
        answer=answer,
    )


def _usage(case: Case | None, said: list[Plan | Declined]) -> Mapping[str, Any]:
    """Of the model, whether its plan was used or not."""
    plans: list[Plan | Declined] = [*said]
    if case is not None:
        plans += [case.plan, *case.plan.declined]
    for each in plans:
        if each.usage is not None:
            return {
                "requests": each.usage.requests,
                "prompt_tokens": each.usage.prompt_tokens,
                "output_tokens": each.usage.output_tokens,
                "prompt_version": each.usage.prompt_version,
            }
    return {}


def _text(step: PlanStep) -> str:
    given = ", ".join(f"{key}={value}" for key, value in step.parameters.items())
    return f"{step.operation}({given}) on {step.target}"
