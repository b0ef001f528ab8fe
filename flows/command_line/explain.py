"""`uici explain TARGET`: why a target is as it is, and what happens next, in plain words.

It looks as `uici plan` does, without a model, and adds what Git remembers: what was tried,
what waits for a person, what changed lately. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows.cases import Case
from flows.command_line import output
from flows.command_line.choosing import chosen
from flows.command_line.explain_facts import Facts, mode_denial
from flows.command_line.explain_waiting import waiting
from flows.command_line.freshness import unread
from flows.command_line.moments import age
from flows.command_line.preview import preview
from flows.command_line.said_once import Said, said_once
from flows.command_line.sentence import Command, Sentence, sentence
from flows.comparison.drift import Drift, HealthStatus, Sync
from flows.escalation import ESCALATE
from flows.guarding.verdict import Decision, Verdict
from flows.listener import RunRequest
from flows.plan import PlannerKind
from flows.reporting.sentences import planner, planner_reason
from flows.reporting.status import ConditionType, PastIncident
from flows.reporting.text import plain
from flows.runtime import Runtime
from flows.world import policies
from infrastructure.errors import PermanentError
from infrastructure.quantities import format_duration

_PAST = 3  # incidents that are told of
_DRIFTS = 8
_LINE = 600  # characters; a commit's subject may be of any length
_SHA = 10  # digits of a commit
_TOLD = (ESCALATE, "summary")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Sentences, in the order in which they are read; all of them redacted."""

    target: str
    state: str
    now: tuple[Sentence, ...]
    before: tuple[Sentence, ...]
    next: tuple[Sentence, ...]
    waiting: tuple[Sentence, ...]
    limits: tuple[Sentence, ...]


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
    target = _one(chosen({*desired.services, *statuses}, None, [name]), name)
    place = target.partition("/")[0]
    seen = preview(
        RunRequest((place,), None, None, run_id), runtime, unasked="uici explain asks no model"
    )
    facts = Facts(target, seen, statuses.get(target), runtime, runtime.clock.now())
    teller = _Teller(facts)
    state, message = headline(facts)
    sections = said_once(
        (Said(message, "see the first line"), Said(facts.last_try, "see the last try")),
        message,
        [
            [*map(sentence, teller.now())],
            [*map(sentence, teller.before())],
            [*teller.next()],
            [*waiting(facts)],
            [*map(sentence, teller.limits())],
        ],
    )
    text = runtime.redactor.text

    def tidy(line: Sentence) -> Sentence:
        return line.of_words(text).cut(_LINE)  # redacted before it is cut

    first = plain(text(f"{state}: {message}" if message else state), _LINE)
    return Explanation(target, first, *(tuple(map(tidy, lines)) for lines in sections))


def _one(found: list[str], name: str) -> str:
    if len(found) != 1:
        raise PermanentError(f"{name} is the name of several targets: {', '.join(found)}")
    return found[0]


def headline(facts: Facts) -> tuple[str, str]:
    """How it is, each side of it with its own age; and what is wrong."""
    found = facts.seen.comparison.states.get(facts.target)
    if found is None:
        return f"{facts.target} is not in desired state any more", ""
    stands = [f"{found.health.value}{_health_age(facts, found.health)}"]
    said = found.health is HealthStatus.MISSING or found.sync.value == found.health.value
    if found.sync is not Sync.SYNCED and not said:
        stands.append(f"{found.sync.value}{_sync_age(facts, found.sync)}")
    return f"{facts.target} is {', '.join(stands)}", found.message


def _health_age(facts: Facts, health: HealthStatus) -> str:
    status = facts.status
    if status is None or status.health != health.value:
        return ""  # no run has told of it yet
    since = status.not_well_since or status.last_well
    if since is None:
        return ""
    # What Git dates is that it is not well: it may have been another way of that before.
    unwell = health in (HealthStatus.DEGRADED, HealthStatus.MISSING)
    if unwell:  # and its engine may know of an earlier moment than the run that saw it
        since = min((since, *(d.since for d in facts.drifts if d.since is not None)))
    return f"{', not well' if unwell else ''} for {age(facts.now - since)}"


def _sync_age(facts: Facts, sync: Sync) -> str:
    drifted = facts.condition(ConditionType.DRIFTED)
    if sync is not Sync.DRIFTED or drifted is None:
        return ""
    return f" for {age(facts.now - drifted.last_transition_time)}"


class _Teller:
    """How a target is, how it came to be so, and what comes next, as sentences."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def now(self) -> Iterator[str]:
        """What differs from Git now, and what is right of it."""
        desired = self._facts.seen.desired
        image = (
            f", image {self._facts.service.spec.image}" if self._facts.service is not None else ""
        )
        yield f"Git says {desired.revision}{image}"
        if desired.stale:
            yield f"that may be old: {desired.stale}"
        if desired.refused_revision:
            yield f"that is the last good one: {desired.refused} is refused"
        drifts = self._facts.drifts
        pending = [d for d in self._facts.seen.comparison.pending if d.target == self._facts.target]
        for drift in (*drifts, *pending)[:_DRIFTS]:
            yield f"{_words(drift)}{self._grace(drift) if drift in pending else ''}"
        if not drifts and not pending:
            dark = self._facts.unseen
            yield "what differs from Git can't be known" if dark else "nothing differs from Git"
        yield from self._uncompared()
        for failure in self._facts.seen.failures:
            yield f"not seen: {failure.source} of {failure.environment}: {failure.error}"

    def _uncompared(self) -> tuple[str, ...]:
        state = self._facts.seen.comparison.states.get(self._facts.target)
        return () if state is None else state.uncompared

    def _grace(self, drift: Drift) -> str:
        words = self._facts.seen.grace.words(
            drift, self._facts.seen.comparison.states.get(self._facts.target)
        )
        return f" ({words}: not acted upon yet)"

    def before(self) -> Iterator[str]:
        """What changed and what was tried, newest first."""
        told = [
            (change.at, f"commit {change.sha[:_SHA]} by {change.author}: {change.subject}")
            for change in self._facts.changes()
        ]
        status = self._facts.status
        told += [
            (past.at, _past_words(past)) for past in (status.history[-_PAST:] if status else ())
        ]
        for at, words in sorted(told, key=lambda each: each[0], reverse=True):
            yield f"{age(self._facts.now - at)} ago {words}"
        if status is None:
            reported = self._facts.runtime.git.reported()
            yield unread([self._facts.target], reported).get(
                self._facts.target, "no run has told of it yet"
            )
            return
        if failed := self._facts.last_try:
            yield f"the last try: {failed}"
        if status.attempts is not None:
            tries = status.attempts.count
            yield "one try has not helped" if tries == 1 else f"{tries} tries have not helped"

    def next(self) -> Iterator[Sentence]:
        """What the next run does about it."""
        interval = self._facts.runtime.config.platform.reconcile.interval
        when = f"the next run, every {format_duration(interval)}"
        state = self._facts.seen.comparison.states.get(self._facts.target)
        if state is None:
            yield sentence("it is an orphan: reported, and removed only by ", Command("run prune"))
        elif state.held is not None:
            yield sentence(f"nothing while it lasts: {state.held}")
        elif case := self._facts.case:
            yield from map(sentence, self._next_of(case, when))
        elif left := next(
            (a for a in self._facts.seen.left if self._facts.about(a.incident.targets)), None
        ):
            yield sentence(f"nothing now: {left.reason}")
        elif self._facts.unseen:
            yield sentence("nothing is done about what can't be seen: ", Command("doctor"))
        elif state.health is HealthStatus.PROGRESSING:
            yield sentence(f"{when}, looks again")
        else:
            yield sentence("nothing to do")

    def _next_of(self, case: Case, when: str) -> Iterator[str]:
        if case.incident.root != self._facts.target:
            yield f"it suffers from {case.incident.root}, which is repaired first"
        if (mode := mode_denial(case)) is not None:
            yield f"nothing: {mode.reason}; else it {_planned(case, self._facts.target)}"
        else:
            yield f"{when}, {_planned(case, self._facts.target)}"
        others = (v for v in case.verdicts if v != mode)
        yield from (_verdict_words(verdict, self._facts.target) for verdict in others)

    def limits(self) -> Iterator[str]:
        """How far UICI may go here."""
        if self._facts.service is None:
            return
        services = {self._facts.target: self._facts.service}
        request = RunRequest(None, None, None, "")
        policy = policies(self._facts.runtime.config, services, request)[self._facts.target]
        yield (
            f"mode {policy.mode.value}; alone up to risk {policy.allow_up_to.value}, with a"
            f" person's word up to {policy.approve_up_to.value}; a person is told after"
            f" {policy.max_attempts} tries, or before where nothing is left to try"
        )
        for freeze in policy.freezes:
            end = freeze.end.isoformat() if freeze.end is not None else "for good"
            yield f"frozen from {freeze.start.isoformat()} until {end}: {freeze.reason}"


def _words(drift: Drift) -> str:
    since = f", since {drift.since:%Y-%m-%d %H:%M:%SZ}" if drift.since else ""
    return f"{drift.kind.value}: {drift.message}{since}"


def _past_words(past: PastIncident) -> str:
    steps = ", ".join(step.operation for step in past.steps) or "nothing done"
    took = f", {past.seconds:.0f} s after its run began" if past.seconds is not None else ""
    by = f", approved by {past.approved_by}" if past.approved_by else ""
    kinds = f"{'/'.join(past.kinds)}: " if past.kinds else ""  # a person may ask where all is well
    return f"{kinds}{steps} ({past.planner}{by}): {past.result}{took}"


def _planned(case: Case, target: str) -> str:
    plan, root = case.plan, case.incident.root
    of = f"for {root} " if root != target else ""
    if plan.planner is PlannerKind.NONE:
        return f"has no plan {of}({planner_reason(plan)}): {plan.diagnosis}"
    return f"plans {of}by {planner(plan)} ({planner_reason(plan)}): {plan.diagnosis}"


def _verdict_words(verdict: Verdict, target: str) -> str:
    step = verdict.step
    on = f" on {step.target}" if step.target != target else ""
    # What people would be told stands in the lines before.
    given = ((k, v) for k, v in step.parameters.items() if (step.operation, k) != _TOLD)
    doing = " ".join([step.operation, *(f"{name}={value}" for name, value in given)]) + on
    match verdict.decision:
        case Decision.ALLOWED:
            return f"does {doing}: {verdict.reason}"
        case Decision.NEEDS_APPROVAL:
            return f"asks a person before {doing}: {verdict.reason}"
        case Decision.DENIED:
            return f"does not {doing}: {verdict.reason}"


def as_data(explained: Explanation) -> dict[str, Any]:
    """`uici explain --json`."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Explanation",
        "target": explained.target,
        "state": explained.state,
        "now": [*map(str, explained.now)],
        "before": [*map(str, explained.before)],
        "next": [*map(str, explained.next)],
        "waiting": [*map(str, explained.waiting)],
        "limits": [*map(str, explained.limits)],
    }


def show(explained: Explanation) -> None:
    """For people."""
    output.print_sections(
        explained.state,
        {
            "Now": explained.now,
            "Before": explained.before,
            "Next": explained.next,
            "Waits for you": explained.waiting or (sentence("nothing"),),
            "Limits": explained.limits,
        },
    )
