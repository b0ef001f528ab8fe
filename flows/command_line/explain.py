"""`uici explain TARGET`: why a target is as it is, and what happens next, in plain words.

It looks as `uici plan` does, without a model, and adds what Git remembers: what was tried,
what waits for a person, what changed lately. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flows.cases import Case
from flows.command_line import approve, output
from flows.command_line.preview import Preview, preview
from flows.comparison.drift import Drift, HealthStatus, Sync
from flows.dossier.git_news import change_of, suspects
from flows.escalation import ESCALATE
from flows.guard import PASSING_RULES
from flows.guarding.verdict import Decision, Verdict
from flows.listener import RunRequest
from flows.plan import GitChange, News, PlannerKind
from flows.reporting.next_steps import remedy_for
from flows.reporting.proposal_note import ProposalState
from flows.reporting.sentences import planner, planner_reason
from flows.reporting.status import Condition, ConditionType, PastIncident, TargetStatus
from flows.reporting.text import plain
from flows.repository.contract import DesiredChange
from flows.runtime import Runtime
from flows.world import policies
from infrastructure.errors import PermanentError
from infrastructure.quantities import format_duration

_PAST = 3  # incidents that are told of
_CHANGES = 3  # commits that are told of
_DRIFTS = 8
_LINE = 600  # characters; a commit's subject may be of any length
_SHA = 10  # digits of a commit


@dataclass(frozen=True, slots=True)
class Explanation:
    """Sentences, in the order in which they are read; all of them redacted."""

    target: str
    state: str
    now: tuple[str, ...]
    before: tuple[str, ...]
    next: tuple[str, ...]
    waiting: tuple[str, ...]
    limits: tuple[str, ...]


def explain(name: str, runtime: Runtime, run_id: str) -> Explanation:
    """Look at a target and say what there is to say.

    Args:
        name: inventory id, or a name that is unique.
        runtime: of the process.
        run_id: under which it looks; nothing is kept of it.

    Raises:
        PermanentError: there is no such target, or there are several.
        TemporaryError: no desired state could be read.
    """
    desired = runtime.desired()
    statuses = runtime.git.statuses()
    target = _one(output.chosen({*desired.services, *statuses}, None, [name]), name)
    place = target.partition("/")[0]
    seen = preview(
        RunRequest((place,), None, None, run_id), runtime, unasked="uici explain asks no model"
    )
    teller = _Teller(target, seen, statuses.get(target), runtime)

    def redact(line: str) -> str:
        return plain(runtime.redactor.text(line), _LINE)  # redacted before it is cut

    return Explanation(
        target,
        redact(teller.state()),
        *(
            tuple(redact(line) for line in lines)
            for lines in (
                teller.now(),
                teller.before(),
                teller.next(),
                teller.waiting(),
                teller.limits(),
            )
        ),
    )


def _one(found: list[str], name: str) -> str:
    if len(found) != 1:
        raise PermanentError(f"{name} is the name of several targets: {', '.join(found)}")
    return found[0]


class _Teller:
    """Everything that is known of one target, as sentences."""

    def __init__(
        self, target: str, seen: Preview, status: TargetStatus | None, runtime: Runtime
    ) -> None:
        self._target = target
        self._seen = seen
        self._status = status
        self._runtime = runtime
        self._clock = runtime.clock.now()
        self._service = seen.desired.services.get(target)

    def state(self) -> str:
        """The headline."""
        found = self._seen.comparison.states.get(self._target)
        if found is None:
            return f"{self._target} is not in desired state any more"
        since = self._since(found.health)
        synced = "" if found.sync is Sync.SYNCED else f", {found.sync.value}"
        return f"{self._target} is {found.health.value}{synced}{since}: {found.message}"

    def _since(self, health: HealthStatus) -> str:
        since = self._status.since if self._status is not None else None
        if self._status is None or since is None or self._status.health != health.value:
            return ""  # no run has told of it yet
        return f" for {_ago(self._clock - since)}"

    def now(self) -> Iterator[str]:
        """What differs from Git now, and what is right of it."""
        desired = self._seen.desired
        image = f", image {self._service.spec.image}" if self._service is not None else ""
        yield f"Git says {desired.revision}{image}"
        if desired.stale:
            yield f"that may be old: {desired.stale}"
        if desired.refused_revision:
            yield f"that is the last good one: {desired.refused_revision} is refused"
        drifts = [d for d in self._seen.comparison.drifts if d.target == self._target]
        pending = [d for d in self._seen.comparison.pending if d.target == self._target]
        for drift in (*drifts, *pending)[:_DRIFTS]:
            grace = " (within its grace: not acted upon yet)" if drift in pending else ""
            yield f"{_words(drift)}{grace}"
        if not drifts and not pending:
            dark = self._unseen()
            yield "what differs from Git can't be known" if dark else "nothing differs from Git"
        for failure in self._seen.failures:
            yield f"not seen: {failure.source} of {failure.environment}: {failure.error}"

    def before(self) -> Iterator[str]:
        """What changed and what was tried, newest first."""
        told = [
            (change.at, f"commit {change.sha[:_SHA]} by {change.author}: {change.subject}")
            for change in self._changes()
        ]
        status = self._status
        told += [
            (past.at, _past_words(past)) for past in (status.history[-_PAST:] if status else ())
        ]
        for at, words in sorted(told, key=lambda each: each[0], reverse=True):
            yield f"{_ago(self._clock - at)} ago {words}"
        if status is None:
            yield "no run has told of it yet"
            return
        if (failed := self._last_try()) is not None:
            yield f"the last try: {failed}"
        if status.attempts is not None:
            tries = status.attempts.count
            yield "one try has not helped" if tries == 1 else f"{tries} tries have not helped"

    def _changes(self) -> tuple[DesiredChange, ...]:
        """Commits that have touched its file lately, the newest first."""
        since = self._clock - self._runtime.config.platform.git.retention.reports
        git = self._runtime.git
        mine = [self._target]
        return git.changes(self._seen.desired, mine, limit=_CHANGES, since=since, judged=mine)

    def _last_try(self) -> str | None:
        """What came of it, while the fault lasts."""
        status = self._status
        if status is None or status.attempts is None or status.last_incident is None:
            return None
        return status.last_incident.summary or None

    def next(self) -> Iterator[str]:
        """What the next run does about it."""
        interval = self._runtime.config.platform.reconcile.interval
        when = f"the next run, every {format_duration(interval)}"
        state = self._seen.comparison.states.get(self._target)
        if state is None:
            yield "it is an orphan: reported, and removed only by uici run prune"
        elif state.held is not None:
            yield f"nothing while it lasts: {state.held}"
        elif case := self._case():
            if case.incident.root != self._target:
                yield f"it suffers from {case.incident.root}, which is repaired first"
            if (mode := _mode_denial(case)) is not None:
                yield f"nothing: {mode.reason}; else it {_planned(case)}"
            else:
                yield f"{when}, {_planned(case)}"
            yield from (_verdict_words(verdict) for verdict in case.verdicts if verdict != mode)
        elif left := next((a for a in self._seen.left if self._about(a.incident.targets)), None):
            yield f"nothing now: {left.reason}"
        elif self._unseen():
            yield "nothing is done about what can't be seen: uici doctor"
        elif state.health is HealthStatus.PROGRESSING:
            yield f"{when}, looks again"
        else:
            yield "nothing to do"

    def waiting(self) -> Iterator[str]:
        """What waits for a person."""
        reported = self._runtime.git.reported()
        asked = approve.unsettled(self._runtime, self._seen.desired, reported.approvals)
        for each in asked:
            if each.request.target == self._target:
                yield approve.short(each, self._clock)
        if problems := self._seen.desired.problems:
            more = f" (+{len(problems) - 1} more)" if len(problems) > 1 else ""
            yield f"the newest commit of Git is refused, mend it: {problems[0]}{more}"
        yield from self._needed()
        for note in reported.proposals.values():
            if note.target == self._target and note.state is ProposalState.OPEN:
                where = note.pull_request or note.branch
                yield f"proposed: {note.field} {note.old} → {note.new}: {where}"

    def _needed(self) -> Iterator[str]:
        """What only a person can do, whether or not anybody was told of it."""
        failed, case = self._last_try(), self._case()
        ways = f"{self._in_git(case)}, or mend it by hand or by {self._by_hand(case)}"
        if self._condition(ConditionType.STALLED) is not None:
            last = self._status.last_incident if self._status is not None else None
            known = last.diagnosis.rstrip(".") if last is not None else ""
            if failed and failed.rstrip(".") not in known:
                known = f"{known}; the last try: {failed}" if known else failed
            why = f" ({known})" if known else ""
            yield f"it is stalled{why}: uici report tells what was tried; {ways}"
        elif (
            case is not None
            and case.verdicts
            and all(v.step.operation == ESCALATE for v in case.verdicts)
        ):
            yield f"UICI has nothing to try ({case.plan.diagnosis.rstrip('.')}): {ways}"
        elif failed:
            yield f"its last try did not help ({failed}): if that needs a person, {ways}"
        if case is not None:
            yield from _forbidden(case)
        if self._unseen():
            yield "it can't be seen, so nobody keeps it alive: uici doctor tells what to mend"

    def _in_git(self, case: Case | None) -> str:
        """What a commit could do about it: the one that the dossier names, if there is one."""
        known = case.evidence.git_change if case is not None else self._stalled_by()
        if known is None or not known.commit:
            return "change its desired state"
        by = f" by {known.author}" if known.author else ""
        return f"revert {known.to_revert}{by} or change its desired state"

    def _stalled_by(self) -> GitChange | None:
        """Where nothing is planned any more: by what the status tells alone."""
        status, service = self._status, self._service
        if status is None or service is None:
            return None
        broke = status.broke_with(service.spec_digest)
        changes = self._changes() if broke or status.behind(service.spec_digest) else ()
        found = suspects(changes, self._target, status.not_well_since if broke else None)
        return change_of(found, News.BROKE if broke else News.AHEAD) if found else None

    def _by_hand(self, case: Case | None) -> str:
        """The command that does what would be done, or mends what is wrong now."""
        steps = [v.step.operation for v in case.verdicts] if case is not None else []
        drifts = [d for d in self._seen.comparison.drifts if d.target == self._target]
        operation = next((name for name in steps if name != ESCALATE), remedy_for(drifts))
        return f"uici run {operation} {self._target}"

    def limits(self) -> Iterator[str]:
        """How far UICI may go here."""
        if self._service is None:
            return
        services = {self._target: self._service}
        request = RunRequest(None, None, None, "")
        policy = policies(self._runtime.config, services, request)[self._target]
        yield (
            f"mode {policy.mode.value}; alone up to risk {policy.allow_up_to.value}, with a"
            f" person's word up to {policy.approve_up_to.value}; a person is told after"
            f" {policy.max_attempts} tries, or before where nothing is left to try"
        )
        for freeze in policy.freezes:
            end = freeze.end.isoformat() if freeze.end is not None else "for good"
            yield f"frozen from {freeze.start.isoformat()} until {end}: {freeze.reason}"

    def _unseen(self) -> bool:
        state = self._seen.comparison.states.get(self._target)
        return state is not None and state.health is HealthStatus.UNKNOWN

    def _case(self) -> Case | None:
        return next((c for c in self._seen.cases if self._about(c.incident.targets)), None)

    def _about(self, targets: tuple[str, ...]) -> bool:
        return self._target in targets

    def _condition(self, kind: ConditionType) -> Condition | None:
        conditions = self._status.conditions if self._status is not None else ()
        return next((c for c in conditions if c.type is kind), None)


def _mode_denial(case: Case) -> Verdict | None:
    """What a step is denied by where the target is only observed."""
    return next((verdict for verdict in case.verdicts if verdict.rule == "mode"), None)


def _forbidden(case: Case) -> Iterator[str]:
    """What UICI may not do here whenever it looks."""
    if (mode := _mode_denial(case)) is not None:
        yield (
            f"{mode.reason}, so it is for you to mend; UICI may once policy.mode in its"
            " configuration, and spec.remediation.mode in Git where given, say enforce"
        )
    for verdict in case.verdicts:
        if verdict.decision is Decision.DENIED and verdict.rule not in PASSING_RULES:
            doing = verdict.step.operation
            yield f"UICI will never {doing} here by itself: {verdict.reason}"


def _words(drift: Drift) -> str:
    since = f", since {drift.since:%Y-%m-%d %H:%M:%SZ}" if drift.since else ""
    return f"{drift.kind.value}: {drift.message}{since}"


def _past_words(past: PastIncident) -> str:
    steps = ", ".join(step.operation for step in past.steps) or "nothing done"
    took = f", {past.seconds:.0f} s after its run began" if past.seconds is not None else ""
    by = f", approved by {past.approved_by}" if past.approved_by else ""
    return f"{'/'.join(past.kinds)}: {steps} ({past.planner}{by}): {past.result}{took}"


def _planned(case: Case) -> str:
    plan = case.plan
    if plan.planner is PlannerKind.NONE:
        return f"has no plan ({planner_reason(plan)}): {plan.diagnosis}"
    return f"plans by {planner(plan)} ({planner_reason(plan)}): {plan.diagnosis}"


def _verdict_words(verdict: Verdict) -> str:
    step = verdict.step
    doing = " ".join([step.operation, *(f"{k}={v}" for k, v in step.parameters.items())])
    match verdict.decision:
        case Decision.ALLOWED:
            return f"does {doing}: {verdict.reason}"
        case Decision.NEEDS_APPROVAL:
            return f"asks a person before {doing}: {verdict.reason}"
        case Decision.DENIED:
            return f"does not {doing}: {verdict.reason}"


def _ago(span: timedelta) -> str:
    """Two units at most: 3 min, 2 h 5 min, 4 d."""
    seconds = max(0, int(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def as_data(explained: Explanation) -> dict[str, Any]:
    """`uici explain --json`."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Explanation",
        "target": explained.target,
        "state": explained.state,
        "now": list(explained.now),
        "before": list(explained.before),
        "next": list(explained.next),
        "waiting": list(explained.waiting),
        "limits": list(explained.limits),
    }


def show(explained: Explanation) -> None:
    """For people."""
    output.print_sections(
        explained.state,
        {
            "Now": explained.now,
            "Before": explained.before,
            "Next": explained.next,
            "Waits for you": explained.waiting or ("nothing",),
            "Limits": explained.limits,
        },
        ours=("Next", "Waits for you"),
    )
