"""From incidents to cases: what is left alone, what is planned, what the guard says.

Stages 3 and 4 for every incident of a run. An incident that has not changed since it
was last told, or that may not be tried now, costs nothing here: no evidence, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.execute import changing, runnable
from flows.guard import (
    PASSING_RULES,
    Decision,
    GuardInput,
    Verdict,
    attempts_gate,
    judge,
)
from flows.listener import Listener
from flows.observe import Observation
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from flows.planners.evidence import collect_evidence
from flows.planners.order import plan_incident
from flows.report import IncidentResult
from flows.reporting.status import Attempts, LastIncident
from flows.world import World
from infrastructure.observed import NativeObject
from infrastructure.service import Mode


@dataclass(frozen=True, slots=True)
class Case:
    """An incident with its plan and verdicts. `steps` are those that will run."""

    incident: Incident
    evidence: Evidence
    plan: Plan
    verdicts: tuple[Verdict, ...]
    steps: tuple[Verdict, ...]

    @property
    def changes(self) -> bool:
        """Whether something would be done to the world."""
        return bool(changing(self.steps))


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """An incident about which nothing new can be done or told now."""

    incident: Incident
    result: IncidentResult
    reason: str


def open_cases(
    world: World, comparison: Comparison, seen: Observation, listener: Listener
) -> tuple[tuple[Case, ...], tuple[LeftAlone, ...]]:
    """Plan and judge every incident, in dependency order."""
    held = {t: s.held for t, s in comparison.states.items() if s.held is not None}
    guard = world.guard_input(natives(seen), held=held, breaker=comparison.breaker)
    left = [
        alone
        for incident in comparison.incidents
        if (alone := _left_alone(world, incident, comparison)) is not None
    ]
    apart = {alone.incident.fingerprint for alone in left}
    cases: list[Case] = []
    todo = [i for i in comparison.incidents if i.fingerprint not in apart]
    for incident, (evidence, first) in zip(todo, _plans(world, todo, guard, seen), strict=True):
        plan, verdicts = first, judge(first, incident, guard)
        if _talked_into(plan, verdicts):
            plan = _without_model(world, incident, evidence, verdicts)
            verdicts = judge(plan, incident, guard)
        listener.planned(incident, plan)
        listener.judged(incident, verdicts)
        case = Case(incident, evidence, plan, verdicts, runnable(verdicts))
        cases.append(case)
        guard = _used(guard, case)  # in order: what one incident uses, the next has not
    return tuple(cases), tuple(left)


def _talked_into(plan: Plan, verdicts: Sequence[Verdict]) -> bool:
    """Whether a model's plan has a step that may never run, whoever talked it into that."""
    stopped = [v for v in verdicts if v.decision is not Decision.ALLOWED]
    lasting = [v for v in stopped if v.rule not in PASSING_RULES]
    return plan.planner is PlannerKind.LLM and bool(lasting)


def _without_model(
    world: World, incident: Incident, evidence: Evidence, verdicts: Sequence[Verdict]
) -> Plan:
    """The next planner's plan: one forbidden step must not end healing."""
    stopped = next(v for v in verdicts if v.decision is not Decision.ALLOWED)
    others = [p for p in world.planners if p.kind is not PlannerKind.LLM]
    plan = plan_incident(incident, evidence, others, None)
    reason = f"the LLM's plan was refused: {stopped.step.operation}: {stopped.reason}"
    return replace(plan, planner_reason=f"{reason}; {plan.planner_reason}")


def _plans(
    world: World, incidents: Sequence[Incident], guard: GuardInput, seen: Observation
) -> list[tuple[Evidence, Plan]]:
    """Evidence and plan of each, side by side: a slow model holds up only its own incident."""

    def one(incident: Incident) -> tuple[Evidence, Plan]:
        evidence = _evidence(world, incident, seen)
        spent = _spent(world, incident, guard)
        last = _last(world, incident)
        return evidence, spent or plan_incident(incident, evidence, world.planners, last)

    if len(incidents) <= 1:
        return [one(incident) for incident in incidents]
    workers = world.config.platform.reconcile.concurrent_incidents
    with ThreadPoolExecutor(workers, thread_name_prefix="plan") as pool:
        return list(pool.map(one, incidents))


def natives(seen: Observation) -> Mapping[str, tuple[NativeObject, ...]]:
    """Engine objects of every observed target, and what keeps them, for self-exclusion."""
    return {
        target: (
            *(instance.native for instance in service.instances),
            *((service.workload.native,) if service.workload is not None else ()),
        )
        for environment in seen.environments.values()
        if environment.engine is not None
        for target, service in environment.engine.services.items()
    }


def _left_alone(world: World, incident: Incident, comparison: Comparison) -> LeftAlone | None:
    service, policy = world.services[incident.root], world.policies[incident.root]
    last = _last(world, incident)
    unchanged = last is not None and last.fingerprint == incident.fingerprint
    if (doubt := comparison.breaker.get(incident.environment)) is not None:
        return LeftAlone(incident, IncidentResult.HELD, doubt)
    if policy.mode is Mode.OBSERVE:
        return LeftAlone(incident, IncidentResult.HELD, "the target is only observed")
    if last is not None and unchanged and _only_a_person_helps(last, policy.mode):
        reason = f"told at {last.at.isoformat(timespec='seconds')}, unchanged since"
        return LeftAlone(incident, IncidentResult(last.result), reason)
    if policy.max_attempts == 0:
        return LeftAlone(incident, IncidentResult.HELD, "no attempts are allowed")
    attempts = _attempts(world, incident)
    gate = attempts_gate(service, policy, attempts, world.clock.now())
    if gate is not None and (attempts is None or attempts.count < policy.max_attempts):
        return LeftAlone(incident, IncidentResult.WAITING, gate)
    return None


def _only_a_person_helps(last: LastIncident, mode: Mode) -> bool:
    """Whether the last result changes by a person and not by time: then it is told once."""
    waits = last.result in (IncidentResult.WAITING.value, IncidentResult.ESCALATED.value)
    return waits or (last.result == IncidentResult.HELD.value and mode is Mode.PROPOSE)


def _spent(world: World, incident: Incident, guard: GuardInput) -> Plan | None:
    """The plan for a target whose attempts are used up: tell a person, once."""
    gate = attempts_gate(
        world.services[incident.root],
        world.policies[incident.root],
        guard.attempts.get(incident.root),
        guard.now,
    )
    if gate is None:
        return None
    last = _last(world, incident)
    known = last is not None and last.fingerprint == incident.fingerprint and last.summary
    return escalation(incident, f"{gate}; the last one: {known}" if known else gate)


def escalation(incident: Incident, reason: str) -> Plan:
    """A plan that only tells a person."""
    summary = f"{incident.root}: {incident.drifts[0].message}; {reason}"
    step = PlanStep(
        operation="escalate_to_human",
        target=incident.root,
        parameters={"summary": summary[:_SUMMARY_LENGTH], "severity": "critical"},
        why=reason,
    )
    return Plan(
        fingerprint=incident.fingerprint,
        planner=PlannerKind.NONE,
        planner_reason=reason,
        diagnosis=incident.drifts[0].message,
        confidence=0.0,
        evidence=(),
        steps=(step,),
    )


# What operations.yml allows for the summary of escalate_to_human.
_SUMMARY_LENGTH = 500


def _evidence(world: World, incident: Incident, seen: Observation) -> Evidence:
    return collect_evidence(
        incident,
        services=world.services,
        observation=seen,
        run_read=lambda call: world.guarded.read(call, deadline=world.deadline),
        patterns=world.config.runbooks.patterns,
        redactor=world.redactor,
        limits=world.config.platform.evidence,
    )


def _used(guard: GuardInput, case: Case) -> GuardInput:
    """The blast radius is shared by the whole run: later incidents have what is left."""
    steps = changing(case.steps)
    return replace(
        guard,
        used_targets=guard.used_targets | {verdict.step.target for verdict in steps},
        used_steps=guard.used_steps + len(steps),
    )


def _last(world: World, incident: Incident) -> LastIncident | None:
    status = world.statuses.get(incident.root)
    return status.last_incident if status else None


def _attempts(world: World, incident: Incident) -> Attempts | None:
    status = world.statuses.get(incident.root)
    return status.attempts if status else None
