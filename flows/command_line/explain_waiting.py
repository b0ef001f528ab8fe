"""What waits for a person at one target: the last part of `uici explain`.

Neighbours: `explain` (what goes before), `explain_facts`.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.cases import Case
from flows.command_line import approve
from flows.command_line.explain_facts import Facts, mode_denial
from flows.command_line.sentence import Command, Sentence, sentence
from flows.dossier.git_news import change_of, suspects
from flows.escalation import ESCALATE
from flows.guard import PASSING_RULES
from flows.guarding.verdict import Decision
from flows.plan import GitChange, News
from flows.reporting.next_steps import remedy_for
from flows.reporting.proposal_note import ProposalState
from flows.reporting.status import ConditionType


def waiting(facts: Facts) -> Iterator[Sentence]:
    """What waits for a person."""
    reported = facts.runtime.git.reported()
    asked = approve.unsettled(facts.runtime, facts.seen.desired, reported.approvals)
    for each in asked:
        if each.request.target == facts.target:
            yield approve.short(each, facts.now)
    if problems := facts.seen.desired.problems:
        more = f" (+{len(problems) - 1} more)" if len(problems) > 1 else ""
        refused = facts.seen.desired.refused_revision is not None
        what = "the newest commit of Git is refused, mend it: " if refused else ""
        yield sentence(f"{what}{problems[0]}{more}")
    yield from _needed(facts)
    for note in reported.proposals.values():
        if note.target == facts.target and note.state is ProposalState.OPEN:
            where = note.pull_request or note.branch
            yield sentence(f"proposed: {note.field} {note.old} → {note.new}: {where}")


def _needed(facts: Facts) -> Iterator[Sentence]:
    """What only a person can do, whether or not anybody was told of it."""
    case = facts.case
    if facts.condition(ConditionType.STALLED) is not None:
        tells = sentence(
            f"it is stalled{_known(facts)}: ", Command("report"), " tells what was tried"
        )
        yield tells if facts.unseen else sentence(tells, "; ", _ways(facts))
    elif case is not None and _only_tells(case):
        diagnosis = case.plan.diagnosis.rstrip(".")
        yield sentence(f"UICI has nothing to try ({diagnosis}): ", _ways(facts))
    elif (failed := facts.last_try) and not facts.unseen:
        why = f"its last try did not help ({failed}): if that needs a person, "
        yield sentence(why, _ways(facts))
    if case is not None:
        yield from map(sentence, _forbidden(case))
    if facts.unseen:
        dark = "it can't be seen, so nobody keeps it alive: "
        yield sentence(dark, Command("doctor"), " tells what to mend")


def _known(facts: Facts) -> str:
    """What was held to be wrong when people were told, and what came of trying."""
    last, failed = (facts.status.last_incident if facts.status else None), facts.last_try
    known = last.diagnosis.rstrip(".") if last is not None else ""
    if failed and failed.rstrip(".") not in known:
        known = f"{known}; the last try: {failed}" if known else failed
    return f" ({known})" if known else ""


def _ways(facts: Facts) -> Sentence:
    """What a person can do: by a commit, by hand, by a command that has not failed already."""
    operation, in_git = _operation(facts), _in_git(facts)
    if facts.case is not None and any(each.hindered for each in facts.case.plan.declined):
        return sentence(f"see to that, or {in_git}")
    command = Command(f"run {operation} {facts.target}")
    if operation not in _in_vain(facts):
        return sentence(f"{in_git}, or mend it by hand or by ", command)
    tried = f"{operation} was tried on this spec without success"
    return sentence(
        f"{in_git}, or mend the cause by hand; {tried}, so only when the cause is mended: ",
        command,
    )


def _in_vain(facts: Facts) -> frozenset[str]:
    """Operations that were tried on this very spec, and did not help."""
    attempts = facts.status.attempts if facts.status is not None else None
    service = facts.service
    if attempts is None or service is None or attempts.spec_digest != service.spec_digest:
        return frozenset()
    return frozenset(
        step.operation
        for plan in attempts.tried
        for step in plan.steps
        if step.target in (None, facts.target)
    )


def _in_git(facts: Facts) -> str:
    """What a commit could do about it: the one that the dossier names, if there is one."""
    case = facts.case
    known = case.evidence.git_change if case is not None else _stalled_by(facts)
    if known is None or not known.commit:
        return "change its desired state"
    by = f" by {known.author}" if known.author else ""
    return f"revert {known.to_revert}{by} or change its desired state"


def _stalled_by(facts: Facts) -> GitChange | None:
    """Where nothing is planned any more: by what the status tells alone."""
    status, service = facts.status, facts.service
    if status is None or service is None:
        return None
    broke = status.broke_with(service.spec_digest)
    changes = facts.changes() if broke or status.behind(service.spec_digest) else ()
    found = suspects(changes, facts.target, status.not_well_since if broke else None)
    return change_of(found, News.BROKE if broke else News.AHEAD) if found else None


def _operation(facts: Facts) -> str:
    """The one that does what would be done, or mends what is wrong now."""
    case = facts.case
    steps = [v.step.operation for v in case.verdicts] if case is not None else []
    drifts = [d for d in facts.seen.comparison.drifts if d.target == facts.target]
    return next((name for name in steps if name != ESCALATE), remedy_for(drifts))


def _only_tells(case: Case) -> bool:
    return bool(case.verdicts) and all(v.step.operation == ESCALATE for v in case.verdicts)


def _forbidden(case: Case) -> Iterator[str]:
    """What UICI may not do here whenever it looks."""
    if (mode := mode_denial(case)) is not None:
        yield (
            f"{mode.reason}, so it is for you to mend; UICI may once policy.mode in its"
            " configuration, and spec.remediation.mode in Git where given, say enforce"
        )
    for verdict in case.verdicts:
        if verdict.decision is Decision.DENIED and verdict.rule not in PASSING_RULES:
            doing = verdict.step.operation
            yield f"UICI will never {doing} here by itself: {verdict.reason}"
