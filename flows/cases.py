"""From incidents to cases: what is left alone, what is planned, what the guard says.

Stages 3 and 4 for every incident of a run. An incident that has not changed since it
was last told, or that may not be tried now, costs nothing here: no evidence, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from flows.approvals.ladder import earned
from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.dossier import collect_evidence
from flows.escalation import escalation, with_suspect
from flows.execute import changing, runnable
from flows.guard import (
    PASSING_RULES,
    Decision,
    GuardInput,
    Verdict,
    attempts_gate,
    judge,
    waits_for,
)
from flows.guarding.flapping import flaps
from flows.guarding.reach import engine_access
from flows.learning.incident_class import class_name, class_of
from flows.learning.relapse import RelapseWindow, by_itself
from flows.learning.similar import SimilarClasses
from flows.listener import Listener
from flows.observe import Observation
from flows.plan import Declined, Evidence, Plan, PlannerKind
from flows.planners.order import plan_incident
from flows.report import IncidentResult
from flows.reporting.status import LastIncident
from flows.world import World
from infrastructure.observed import NativeObject, empty
from infrastructure.service import Mode


@dataclass(frozen=True, slots=True)
class Case:
    """An incident with its plan and verdicts. `steps` are those that will run.

    `undo`: what may take a step back, by the step's position.
    """

    incident: Incident
    evidence: Evidence
    plan: Plan
    verdicts: tuple[Verdict, ...]
    steps: tuple[Verdict, ...]
    undo: Mapping[int, Verdict] = field(default_factory=empty)

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
    world: World,
    comparison: Comparison,
    seen: Observation,
    listener: Listener,
    *,
    observed_too: bool = False,
) -> tuple[tuple[Case, ...], tuple[LeftAlone, ...]]:
    """Plan and judge every incident, in dependency order.

    Args:
        world: what the run knows.
        comparison: with the incidents.
        seen: what they rest on.
        listener: is told of each plan and its verdicts.
        observed_too: plan for targets that are only observed, for a person who wants to know;
            the guard denies every step all the same.
    """
    if not comparison.incidents:
        return (), ()
    guard = guard_of(world, comparison, seen)
    left = [
        alone
        for incident in comparison.incidents
        if (alone := _left_alone(world, incident, comparison, guard, observed_too)) is not None
    ]
    apart = {alone.incident.fingerprint for alone in left}
    cases: list[Case] = []
    todo = [i for i in comparison.incidents if i.fingerprint not in apart]
    for incident, (evidence, first) in zip(todo, _plans(world, todo, guard, seen), strict=True):
        plan, verdicts = _judged(world, incident, evidence, first, guard)
        listener.planned(incident, plan)
        listener.judged(incident, verdicts)
        case = Case(incident, evidence, plan, verdicts, runnable(verdicts))
        cases.append(case)
        guard = _used(guard, case)  # in order: what one incident uses, the next has not
    return tuple(cases), tuple(left)


def guard_of(world: World, comparison: Comparison, seen: Observation) -> GuardInput:
    """What verdicts rest on, before any step of this run has been allowed."""
    return world.guard_input(
        natives(seen),
        held={t: s.held for t, s in comparison.states.items() if s.held is not None},
        breaker=comparison.breaker,
        engine_access=engine_access(seen, world.config.platform.guard.engine_access),
    )


def _judged(
    world: World, incident: Incident, evidence: Evidence, first: Plan, guard: GuardInput
) -> tuple[Plan, tuple[Verdict, ...]]:
    """The first plan that is not forbidden, with its verdicts.

    One that may run alone goes before one that a person has to allow; people are asked about
    the best planner's.
    """
    judged = partial(_verdicts, world, incident, evidence, guard)
    plan, verdicts = first, judged(first)
    if not _denied(verdicts) and world.approvals.asks(plan, incident):
        return plan, verdicts
    refused: tuple[PlannerKind, ...] = ()
    askable: tuple[Plan, tuple[Verdict, ...]] | None = None
    while _talked_into(plan, verdicts) or _unsure(world, plan):
        if askable is None and plan.steps and not _denied(verdicts):
            askable = (plan, verdicts)
        refused = (*refused, plan.planner)
        plan = _without(refused, world, incident, evidence, before=(plan, verdicts))
        verdicts = judged(plan)
    return (plan, verdicts) if askable is None or changing(runnable(verdicts)) else askable


def _verdicts(
    world: World, incident: Incident, evidence: Evidence, guard: GuardInput, plan: Plan
) -> tuple[Verdict, ...]:
    """The guard's answers, with what people have said about this plan and others like it."""
    approved = world.approvals.of_plan(plan, incident)
    trusted = _trusted(world, incident, evidence, plan, now=guard.now)
    return judge(plan, incident, replace(guard, approved=approved, trusted=trusted))


def _trusted(
    world: World, incident: Incident, evidence: Evidence, plan: Plan, *, now: datetime
) -> Mapping[str, str]:
    """Why people need not be asked about a plan any more, by its digest; empty: they are."""
    executor = world.executors.get(incident.environment, "unknown")
    named = class_name(class_of(incident, evidence, executor))
    after = world.approvals.settings.trust_after
    window = RelapseWindow(world.config.platform.learning.relapse_within, now)
    status, spec = world.statuses.get(incident.root), world.services[incident.root].spec_digest
    history = status.history if status is not None and by_itself(incident) else ()
    why = earned(
        plan,
        named,
        world.statuses.values(),
        after=after,
        within=window.within,
        relapsed=window.of(history, incident_class=named, spec_digest=spec),
    )
    return {} if why is None else {plan.digest: why}


def _denied(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.decision is Decision.DENIED for verdict in verdicts)


def _talked_into(plan: Plan, verdicts: Sequence[Verdict]) -> bool:
    """Whether a plan has a step that may never run, whoever talked its planner into that.

    A model reads what attackers write; a file of `knowledge/` may be written by anyone.
    """
    stopped = [v for v in verdicts if v.decision is not Decision.ALLOWED]
    lasting = [v for v in stopped if v.rule not in PASSING_RULES]
    return plan.planner in (PlannerKind.LLM, PlannerKind.LEARNED) and bool(lasting)


def _unsure(world: World, plan: Plan) -> bool:
    """Whether a model says that nothing is wrong, and is not sure: no step, so no verdict."""
    return not plan.steps and plan.confidence < world.config.platform.guard.min_confidence


def _without(
    refused: Sequence[PlannerKind],
    world: World,
    incident: Incident,
    evidence: Evidence,
    *,
    before: tuple[Plan, Sequence[Verdict]],
) -> Plan:
    """The next planner's plan: one forbidden step must not end healing."""
    spurned, verdicts = before
    stopped = next((v for v in verdicts if v.decision is not Decision.ALLOWED), None)
    why = f"it sees nothing to do, and is only {spurned.confidence:.0%} sure"
    if stopped is not None:
        why = f"{stopped.step.operation}: {stopped.reason}"
    others = [p for p in world.planners if p.kind not in refused]
    last = _last(world, incident) if PlannerKind.LLM not in refused else None
    plan = plan_incident(incident, evidence, others, last, tried=world.tried)
    whose = "the LLM's plan" if refused[-1] is PlannerKind.LLM else "the learned plan"
    reason = f"{whose} was refused: {why}"
    declined = Declined(
        spurned.planner, reason, spurned.usage, phases=spurned.phases, exchanges=spurned.exchanges
    )
    return replace(
        plan,
        planner_reason=f"{reason}; {plan.planner_reason}",
        declined=(*spurned.declined, declined, *plan.declined),
    )


def _plans(
    world: World, incidents: Sequence[Incident], guard: GuardInput, seen: Observation
) -> list[tuple[Evidence, Plan]]:
    """Evidence and plan of each, side by side: a slow model holds up only its own incident."""

    def one(incident: Incident) -> tuple[Evidence, Plan]:
        evidence = _evidence(world, incident, seen)
        last = _last(world, incident)
        known = _telling(world, incident, guard) or _unanswered(world, incident)
        if known is None and (shown := _shown(world, incident, evidence, guard)) is not None:
            return evidence, shown
        plan = known or plan_incident(incident, evidence, world.planners, last, tried=world.tried)
        return evidence, with_suspect(plan, evidence)

    if len(incidents) <= 1:
        return [one(incident) for incident in incidents]
    workers = world.config.platform.reconcile.concurrent_incidents
    with ThreadPoolExecutor(workers, thread_name_prefix="plan") as pool:
        return list(pool.map(one, incidents))


def _unanswered(world: World, incident: Incident) -> Plan | None:
    """To tell people, once, that nobody has decided in time."""
    expired = world.approvals.expired(incident)
    return None if expired is None else _only_telling(incident, expired)


def _shown(world: World, incident: Incident, evidence: Evidence, guard: GuardInput) -> Plan | None:
    """The plan that people were shown. It is read from a file: it runs by their word or not."""
    kept = world.approvals.kept_plan(incident, _last(world, incident))
    if kept is None or world.tried.about(incident, evidence).same(incident.root, kept):
        return None
    verdicts = _verdicts(world, incident, evidence, guard, kept)
    approved = any(verdict.approval for verdict in verdicts)
    return None if changing(runnable(verdicts)) and not approved else kept


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


def _left_alone(
    world: World,
    incident: Incident,
    comparison: Comparison,
    guard: GuardInput,
    observed_too: bool,
) -> LeftAlone | None:
    service, policy = world.services[incident.root], world.policies[incident.root]
    last = _last(world, incident)
    unchanged = last is not None and last.fingerprint == incident.fingerprint
    place = incident.environment
    others = (world.held_off[t] for t in incident.targets if t in world.held_off)
    stopped = guard.paused.get(place) or comparison.breaker.get(place) or next(others, None)
    if stopped is None and policy.mode is Mode.OBSERVE and not observed_too:
        stopped = "the target is only observed"
    if (stopped := stopped or world.approvals.rejected(incident)) is not None:
        return LeftAlone(incident, IncidentResult.HELD, stopped)
    told = last is not None and unchanged and _only_a_person_helps(last, policy.mode)
    if last is not None and last.flapping:  # over when it rests, told once whatever fails
        told = flapping_now(world, incident.root, guard.now) is not None
    if last is not None and unchanged and (why := _nothing_to_do(world, last, guard.now)):
        return LeftAlone(incident, IncidentResult.NOTHING_TO_DO, why)
    gate = attempts_gate(service, policy, guard.attempts.get(incident.root), guard.now)
    if last is not None and told and (gate or not world.approvals.calls(incident, last)):
        how = _how_told(world, incident, last)
        what = f": {known}" if (known := (last.summary or last.diagnosis).rstrip(".")) else ""
        reason = f"{how} at {last.at.isoformat(timespec='seconds')}, unchanged since{what}"
        return LeftAlone(incident, IncidentResult(last.result), reason)
    if policy.max_attempts == 0:
        return LeftAlone(incident, IncidentResult.HELD, "no attempts are allowed")
    gate = waits_for(service, policy, guard)
    if gate is not None:
        return LeftAlone(incident, IncidentResult.WAITING, gate)
    return None


def _how_told(world: World, incident: Incident, last: LastIncident) -> str:
    """Without an Alertmanager nobody is told but by who reads the report."""
    if last.result == IncidentResult.WAITING.value:
        return "a person was asked"
    sent = world.config.environments.environments[incident.environment].alertmanager
    return "people were told" if sent else "it was told in the report only, which nobody is sent,"


def _nothing_to_do(world: World, last: LastIncident, now: datetime) -> str | None:
    """Why an unchanged incident is left alone: a model has said that it is none, lately."""
    until = last.at + world.config.platform.llm.nothing_to_do_for
    if last.result != IncidentResult.NOTHING_TO_DO or not last.at <= now < until:
        return None  # its time is over, or it is of a clock that has been set back since
    return f"{last.summary}; it is asked again at {until.isoformat(timespec='seconds')}"


def _only_a_person_helps(last: LastIncident, mode: Mode) -> bool:
    """Whether the last result changes by a person and not by time: then it is told once."""
    waits = last.result in (IncidentResult.WAITING.value, IncidentResult.ESCALATED.value)
    return waits or (last.result == IncidentResult.HELD.value and mode is Mode.PROPOSE)


def _telling(world: World, incident: Incident, guard: GuardInput) -> Plan | None:
    """The plan for a target that nothing more is tried on."""
    return _spent(world, incident, guard) or _flapping(world, incident, guard)


def _flapping(world: World, incident: Incident, guard: GuardInput) -> Plan | None:
    """The plan for a target that recovers and fails again: tell a person, once."""
    why = flapping_now(world, incident.root, guard.now)
    return None if why is None else _only_telling(incident, why)


def flapping_now(world: World, target: str, now: datetime) -> str | None:
    """Why a target that has failed is not repaired once more."""
    status = world.statuses.get(target)
    settings = world.config.platform.guard.flapping
    digest = world.services[target].spec_digest
    return flaps(status.history, digest, settings, now) if status is not None else None


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
    if not known:
        return _only_telling(incident, gate)
    return _only_telling(incident, f"{gate}; the last one: {known}", known)


def _only_telling(incident: Incident, reason: str, tried: str = "") -> Plan:
    """`tried`: what came of the last try, which says more than the drift."""
    wrong = incident.drifts[0].message
    return escalation(
        incident,
        reason,
        summary=f"{incident.root}: {wrong}; {reason}",
        severity="critical",
        diagnosis=tried or wrong,
        why=reason,
    )


def _evidence(world: World, incident: Incident, seen: Observation) -> Evidence:
    return collect_evidence(
        incident,
        services=world.services,
        observation=seen,
        run_read=lambda call: world.guarded.read(call, deadline=world.deadline),
        patterns=world.config.runbooks.patterns,
        redactor=world.redactor,
        limits=world.config.platform.evidence,
        statuses=world.statuses,
        read_changes=world.read_changes,
        concurrency=world.config.environments.environments[incident.environment].concurrency,
        learned=SimilarClasses(
            world.knowledge,
            world.executors,
            limit=world.config.platform.evidence.similar,
            trust_after=world.config.platform.learning.trust_after,
        ),
    )


def _used(guard: GuardInput, case: Case) -> GuardInput:
    """The blast radius is shared by the whole run: later incidents have what is left."""
    steps = changing(case.steps)
    return replace(
        guard,
        used_targets=guard.used_targets | {verdict.step.target for verdict in steps},
        used_steps=guard.used_steps + len(steps),
        used_steps_in={
            **guard.used_steps_in,
            (place := case.incident.environment): guard.used_steps_in.get(place, 0) + len(steps),
        },
    )


def _last(world: World, incident: Incident) -> LastIncident | None:
    status = world.statuses.get(incident.root)
    return status.last_incident if status else None
