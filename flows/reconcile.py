"""One run of the loop, from Git to Git. Wiring only: each stage is a module of its own.

Plain Python without Prefect: `flows.prefect_edge.flow` calls it at the edge, the command line
and the tests directly. A run needs no memory but Git: it re-reads the world, and a
trigger only says "look now".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from flows.act import Acting, act, admit
from flows.approvals.news import ApprovalNews
from flows.approvals.settling import Settling, settle
from flows.approvals.wiring import asker_of, bring_branches, first_to_use, uses_of
from flows.cases import Case, LeftAlone, guard_of, open_cases
from flows.compare import Comparison, compare, confirm, unconfirmed_for
from flows.comparison.drift import HealthStatus
from flows.lasting_alerts import outlived, standing
from flows.learning.lessons import Teacher
from flows.listener import Listener, RunRequest, RunStoppedError
from flows.observe import Observation
from flows.other_runs import first_to_begin, interrupted
from flows.plan import Plan, PlannerKind
from flows.proposals.wiring import propose_after
from flows.report import IncidentReport, IncidentResult, RunReport, RunResult
from flows.reporting.conditions import (
    RunFacts,
    agent_status,
    next_status,
    with_attempt,
    with_history,
)
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.reporting.status import PastIncident, TargetStatus
from flows.reporting.values import Stage
from flows.repository.contract import CommitResult, DesiredState, Durability
from flows.runtime import Runtime
from flows.undo import with_undo
from flows.verify import CheckState
from flows.world import Clock, World, engine_hosts
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import UiciError
from infrastructure.pause import pauses_in

_log = structlog.get_logger("uici")


def reconcile(request: RunRequest, runtime: Runtime, listener: Listener) -> RunReport:
    """Observe, compare, plan, guard, execute, verify, report. Returns what happened.

    Raises:
        InvalidInputError: the request names an environment or target that is not there.
        TemporaryError: no desired state could be read, now or ever before.
        RunStoppedError: it was asked to end before it had done everything. What it had
            done by then is reported and committed.
    """
    listener.run_started(request)
    started = runtime.clock.now()
    with runtime.one_run_at_a_time():
        laps = Laps(runtime.clock)
        world = runtime.open_world(request)
        laps.end(Stage.READ)
        sight = look(world)
        runtime.first_seen.note(
            sight.comparison, declared=world.desired.services, now=world.clock.now()
        )
        listener.drifts_found(sight.comparison)
        laps.end(Stage.LOOK)
        cases, left = open_cases(world, sight.comparison, sight.seen, listener)
        stage = acting(world, listener, sight, world.desired.stale)
        ready, held = admit(cases, left, stage)
        if ready:
            guard = guard_of(world, sight.comparison, sight.seen)
            ready = with_undo(ready, world, stage.before, guard)
        laps.end(Stage.DECIDE)
        intent = commit_intent(runtime, world, sight, ready, listener=listener)
        laps.end(Stage.INTENT)
        done = act(intent.cases, replace(stage, hold=held_back(intent.unpushed)))
        laps.end(Stage.ACT)
        done = (*done, *held, *intent.spent)
        ending = Ending(started, intent, done, left, dict(laps.seconds))
        report = close(runtime, world, sight, ending)
        bring_branches(runtime, world, report)
        if not report.stopped and report.result is not RunResult.ERROR:
            propose_after(runtime, world, report.statuses)
        laps.end(Stage.REPORT)
        report = replace(report, stage_seconds=laps.seconds)
        listener.run_finished(report)
        if not report.stopped:  # what has happened is told by now: pages can take their time
            publish_pages(runtime, now=world.clock.now())
    if report.stopped:
        raise RunStoppedError(report.stopped)
    return report


class Laps:
    """How long each stage of a run took."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.now()
        self.seconds: dict[Stage, float] = {}

    def end(self, stage: Stage) -> None:
        """What has passed since the last call was this stage. A clock set back counts as 0."""
        now = self._clock.now()
        self.seconds[stage] = max(0.0, (now - self._last).total_seconds())
        self._last = now


@dataclass(frozen=True, slots=True)
class Sight:
    """Stages 1 and 2: what was seen, and what it means. `seen` is the first, whole look."""

    seen: Observation
    comparison: Comparison


def look(world: World) -> Sight:
    """Observe and compare; what rests on a moment only is looked at a second time."""
    seen = world.look(world.selected)
    now = world.clock.now()
    comparison = compare(world.comparing, seen, now=now)
    confirm_after = world.config.platform.compare.grace.confirm_after
    waits = {i: unconfirmed_for(i, confirm_after, now) for i in comparison.incidents}
    doubtful = {target for i, wait in waits.items() if wait for target in i.targets}
    if not doubtful:
        return Sight(seen, comparison)
    world.clock.sleep(max(waits.values()).total_seconds())
    again = world.look_again(sorted(doubtful))
    second = compare(
        replace(world.comparing, selected=tuple(sorted(doubtful))), again, now=world.clock.now()
    )
    return Sight(_newest(seen, again), confirm(comparison, second))


def _newest(first: Observation, second: Observation) -> Observation:
    """The first look with the second's instances: plans and verification rest on these."""
    environments = dict(first.environments)
    for name, later in second.environments.items():
        earlier = environments[name]
        if earlier.engine is not None and later.engine is not None:
            services = {**earlier.engine.services, **later.engine.services}
            environments[name] = replace(earlier, engine=replace(earlier.engine, services=services))
    return replace(first, environments=environments)


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be done, as far as Git knows of it.

    `cases` are those that may go on; `held` the ones that may not, because their intent
    could not be written at all; `spent` tells of those that somebody else has begun, or whose
    approval somebody else has used. `used` are the approvals that this run has taken.
    `theirs` are targets whose status another run has written meanwhile.
    """

    cases: tuple[Case, ...]
    held: tuple[Case, ...] = ()
    spent: tuple[IncidentReport, ...] = ()
    used: frozenset[str] = frozenset()
    theirs: frozenset[str] = frozenset()
    statuses: Mapping[str, TargetStatus] | None = None
    commit: CommitResult | None = None
    error: str = ""

    @property
    def unpushed(self) -> str | None:
        """Why the intent is on the agent's own disk only."""
        local = self.commit is not None and self.commit.durability is Durability.LOCAL
        return self.commit.error if self.commit is not None and local else None


def commit_intent(
    runtime: Runtime, world: World, sight: Sight, cases: Sequence[Case], *, listener: Listener
) -> Intent:
    """No action without a commit: plans, verdicts and counted attempts go to Git first."""
    changing = [case for case in cases if case.changes]
    if not changing:
        return Intent(tuple(cases))
    now = world.clock.now()
    teacher = _teacher(world, now)
    statuses = {
        case.incident.root: with_attempt(
            sight.comparison.states[case.incident.root],
            world.statuses.get(case.incident.root),
            world.policies[case.incident.root],
            _facts(world, now),
            history=teacher.remembered(
                _history(world.statuses.get(case.incident.root)),
                teacher.past(case.incident, case.evidence, case.plan, now),
            ),
            counts=case.plan.planner is not PlannerKind.PERSON,
        )
        for case in changing
    }
    uses = {path: use for case in changing for path, use in uses_of(world, case, now).items()}
    try:
        commit = runtime.git.commit_intent(
            run_id=world.request.run_id,
            desired=world.desired,
            cases=[(case.incident, _undone_by(case), case.verdicts) for case in changing],
            statuses=statuses,
            now=now,
            uses=uses,
            by=world.installation,
            until=world.deadline,
            seen=world.statuses,
        )
    except UiciError as exc:
        others = tuple(case for case in cases if not case.changes)
        return Intent(others, tuple(changing), error=f"the intent could not be committed: {exc}")
    listener.intent_committed(commit)
    if commit.durability is Durability.PUSHED:
        runtime.git.refresh()  # a pause that came meanwhile holds before the first step
    begun = first_to_begin(runtime.git, commit, cases, world)
    if begun.second:
        _withdraw(runtime, world, begun.second)
    mine, spent = first_to_use(runtime.git, commit, begun.cases, uses)
    used = frozenset(use.request for use in uses.values())
    return Intent(
        mine,
        spent=(*begun.second, *spent),
        used=used,
        statuses=statuses,
        commit=commit,
        theirs=begun.theirs,
    )


def _withdraw(runtime: Runtime, world: World, second: Sequence[IncidentReport]) -> None:
    """What somebody else was faster with is no attempt of ours, also if this run dies."""
    roots = [report.incident.root for report in second]
    try:
        runtime.git.withdraw(world.request.run_id, world.desired, roots, world.clock.now())
    except UiciError as exc:  # the run's end takes it away
        _log.warning("intent_not_withdrawn", reason=str(exc))


def _facts(world: World, now: datetime) -> RunFacts:
    flapping = world.config.platform.guard.flapping
    return RunFacts(world.request.run_id, world.desired.revision, now, flapping)


def _undone_by(case: Case) -> Plan:
    """The plan as its intent tells it: with what will take it back, if it does not help."""
    undo = [case.undo[position].step for position in sorted(case.undo, reverse=True)]
    return replace(case.plan, rollback=tuple(undo))


def _teacher(world: World, started: datetime) -> Teacher:
    """What a run that began then remembers and teaches."""
    return Teacher(
        settings=world.config.platform.learning,
        registry=world.registry,
        services=world.services,
        executors=world.executors,
        run_id=world.request.run_id,
        started=started,
        statuses=world.statuses,
    )


def _history(status: TargetStatus | None) -> tuple[PastIncident, ...]:
    return status.history if status is not None else ()


def acting(world: World, listener: Listener, sight: Sight, unpushed: str | None) -> Acting:
    """What stages 5 and 6 work with. `unpushed`: why the remote has no intent."""
    before = {
        target: service.instances
        for environment in sight.seen.environments.values()
        if environment.engine is not None
        for target, service in environment.engine.services.items()
    }
    return Acting(
        world=world,
        listener=listener,
        before=before,
        hold=held_back(unpushed),
        up_to=world.config.platform.git.local_commit_suffices_up_to,
    )


def held_back(unpushed: str | None) -> str | None:
    """What keeps disruptive steps from running while the intent is on our own disk only."""
    return f"the Git remote can't be reached: {unpushed}" if unpushed else None


@dataclass(frozen=True, slots=True)
class Ending:
    """Everything that the report is made of, beside the sight."""

    started: datetime
    intent: Intent
    reports: tuple[IncidentReport, ...]
    left: tuple[LeftAlone, ...]
    took: Mapping[Stage, float] = field(default_factory=dict)  # stages before it, in seconds


def _mode(world: World) -> str:
    """As asked for, else as the targets are configured: `as configured: enforce, observe`."""
    if world.request.mode:
        return world.request.mode.value
    modes = sorted({world.policies[target].mode.value for target in world.selected})
    return f"as configured: {', '.join(modes)}" if modes else "as configured"


def close(runtime: Runtime, world: World, sight: Sight, ending: Ending) -> RunReport:
    """Stage 7: statuses, the report, its commit. Nothing changed: no commit."""
    now = world.clock.now()
    facts = _facts(world, now)
    teacher = _teacher(world, ending.started)
    reports, approvals = _asked(world, sight, ending, now)
    seen_at = sight.seen.taken_at
    ending = replace(ending, reports=tuple(replace(r, seen_at=seen_at) for r in reports))
    statuses = _statuses(world, sight.comparison, ending, facts, teacher=teacher)
    statuses = {t: s for t, s in statuses.items() if t not in ending.intent.theirs}
    report = RunReport(
        run_id=facts.run_id,
        started_at=ending.started,
        finished_at=now,
        mode=_mode(world),
        desired=_with_remarks(world) if ending.reports else world.desired,
        comparison=sight.comparison,
        failures=tuple(f for e in sight.seen.environments.values() for f in e.failures),
        incidents=ending.reports,
        statuses=statuses,
        result=_run_result(world, sight, ending),
        errors=((ending.intent.error,) if ending.intent.error else ()) + world.desired.lost,
        intent_commit=ending.intent.commit.sha if ending.intent.commit else None,
        stopped=next((r.stopped for r in ending.reports if r.stopped), ""),
        lessons=teacher.lessons(ending.reports, now),
        paused=pauses_in(world.pauses, world.environments, now),
        approvals=approvals,
        held_off={t: why for t, why in world.held_off.items() if t in sight.comparison.states},
        left_alone={t: alone.reason for alone in ending.left for t in alone.incident.targets},
        proposals=open_proposals(world),
        stage_seconds=ending.took,
        engine_hosts=engine_hosts(world.config),
    )
    _tell_people(runtime, sight.comparison)
    _keep_told(runtime, world, report, sight.seen)
    seen = (world.statuses, ending.intent.statuses or {})
    return _committed(runtime, world, report, now, seen=seen)


def _asked(
    world: World, sight: Sight, ending: Ending, now: datetime
) -> tuple[tuple[IncidentReport, ...], ApprovalNews]:
    """Who has to be asked, and which requests have ended with this run."""
    seen = Settling(
        reports=ending.reports,
        incidents=sight.comparison.incidents,
        states=sight.comparison.states,
        services=world.services,
        now=now,
        used=ending.intent.used,
    )
    return settle(world.approvals, asker_of(world), seen)


def open_proposals(world: World) -> tuple[ProposalNote, ...]:
    """Those that wait for a person, about this run's targets."""
    notes = sorted(world.proposals.values(), key=lambda note: note.branch)
    chosen = set(world.selected)
    return tuple(n for n in notes if n.state is ProposalState.OPEN and n.target in chosen)


def _with_remarks(world: World) -> DesiredState:
    """With what is wrong with the files of `knowledge/`: a person's to mend, and no error."""
    world.knowledge.all()
    problems = (*world.desired.problems, *world.knowledge.problems())
    return replace(world.desired, problems=problems)


def _tell_people(runtime: Runtime, comparison: Comparison) -> None:
    """The agent's own alerts and an open breaker: nothing is done about them but this.

    Told in every run while it lasts: it is one alert, and it ends by itself.
    """
    told = {name: f"nothing is done: {why}" for name, why in comparison.breaker.items()}
    try:
        if comparison.own_alerts:
            runtime.people.tell_own(comparison.own_alerts)
        for environment, summary in told.items():
            runtime.people.tell_environment(environment, summary)
    except UiciError as exc:
        _log.warning("escalation_failed", reason=str(exc))


def _keep_told(runtime: Runtime, world: World, report: RunReport, seen: Observation) -> None:
    """Escalations last as long as their cause, and no longer."""
    told = standing(world.statuses, report.statuses, world.services, report.incidents)
    if len(world.selected) == len(world.services):
        over = outlived(seen, report.comparison, world.identity.agent)
        told = replace(told, over=(*told.over, *over))
    try:
        runtime.people.keep_told(told)
    except UiciError as exc:
        _log.warning("escalation_not_renewed", reason=str(exc))


def _committed(
    runtime: Runtime,
    world: World,
    report: RunReport,
    now: datetime,
    *,
    seen: Sequence[Mapping[str, TargetStatus]],
) -> RunReport:
    try:
        # A run that died left its intent open; this one has looked at the world since.
        open_now = [i for i in runtime.git.open_intents() if i in world.reported.intents]
        dead = interrupted(open_now, world, report.comparison.states)
        report = replace(report, interrupted=tuple(dead.values()))
        closes = [intent for intent in open_now if intent.path in dead]
        result = runtime.git.commit_report(report, now=now, closes=closes, seen=seen)
        if result is None:
            runtime.git.push_pending()
            runtime.git.heartbeat(now)
    except UiciError as exc:
        error = f"the report could not be committed: {exc}"
        return replace(report, result=RunResult.ERROR, errors=(*report.errors, error))
    return replace(report, report_commit=result.sha if result else None)


def publish_pages(runtime: Runtime, *, now: datetime) -> None:
    """The pages for people, when they are due. They tell again what is committed already."""
    pages = runtime.config.platform.reports.pages
    if pages is None:
        return
    try:
        runtime.git.publish_due(pages, now)
    except UiciError as exc:
        _log.warning("pages_not_published", reason=str(exc))


def _statuses(
    world: World, comparison: Comparison, ending: Ending, facts: RunFacts, *, teacher: Teacher
) -> dict[str, TargetStatus]:
    """The newest status of every selected target, and the agent's own line."""
    by_root = {report.incident.root: report for report in ending.reports}
    # An attempt that was held back after its intent was written was none.
    begun = {root for root, report in by_root.items() if report.execution is not None}
    counted = {t: s for t, s in (ending.intent.statuses or {}).items() if t in begun}
    remembered = {**world.statuses, **counted}
    statuses = {
        target: next_status(state, remembered.get(target), by_root.get(target), facts)
        for target, state in comparison.states.items()
    }
    for root, report in by_root.items():
        past = teacher.worked_on(report, facts.now)
        if past is not None and root in statuses:
            history = teacher.remembered(statuses[root].history, past)
            statuses[root] = with_history(statuses[root], history)
    agent = world.identity.agent
    own = agent_status(agent, comparison.own_alerts, remembered.get(f"agent/{agent}"), facts)
    if own is not None:
        statuses[own.target] = own
    return statuses


def _run_result(world: World, sight: Sight, ending: Ending) -> RunResult:
    if ending.intent.error:
        return RunResult.ERROR
    drifting = (
        ending.left
        or any(report.result is not IncidentResult.RECOVERED for report in ending.reports)
        or sight.comparison.pending
        or any(state.health is HealthStatus.UNKNOWN for state in sight.comparison.states.values())
        or _drift_is_left(sight.comparison, ending.reports)
        or world.desired.refused_revision is not None
        or world.desired.stale is not None  # Git may say something else by now
    )
    return RunResult.DRIFT_REMAINS if drifting else RunResult.CONVERGED


def _drift_is_left(comparison: Comparison, reports: Sequence[IncidentReport]) -> bool:
    """Whether a drift was seen on a target that was not verified to be well since."""
    well = {r.incident.root for r in reports if r.result is IncidentResult.RECOVERED}
    well |= {
        check.target
        for report in reports
        if report.verification is not None and report.incident.root in well
        for check in report.verification.checks
        if check.name == "dependent" and check.state is CheckState.PASSED
    }
    return any(d.kind is not DriftKind.ORPHAN and d.target not in well for d in comparison.drifts)
