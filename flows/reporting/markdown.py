"""A run as Markdown that an engineer on call understands in ten seconds.

First line: what was wrong → what was done → what is left. Then what the service said,
what waits for a person, the facts of each incident in tables, and what to run next.
Everything from outside goes through the redactor and `flows.reporting.text.cell`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from flows.comparison.drift import Drift
from flows.guard import Verdict
from flows.plan import EngineDeed, News, PlannerKind
from flows.reporting.asked import cost_lines, planning_lines, run_cost
from flows.reporting.beginning import began, since
from flows.reporting.course import course_lines
from flows.reporting.dossier import folded_lines, top_lines
from flows.reporting.ending import besides_refused, ending
from flows.reporting.next_steps import next_lines
from flows.reporting.once import LEFT, TOP, Top, summary_of, top_of, without_plan
from flows.reporting.outputs import answer_lines
from flows.reporting.run_summary import quiet_name
from flows.reporting.sentences import (
    TELL,
    counted,
    error_words,
    headline,
    not_well,
    planner,
    planner_reason,
    remains,
    verdict_words,
    waits,
    worst_first,
)
from flows.reporting.status import TargetStatus
from flows.reporting.text import (
    Redact,
    cell,
    fault_seconds,
    first_words,
    moment,
    seconds,
    short_name,
)
from flows.reporting.values import IncidentReport, IncidentResult, RunReport
from flows.reporting.wrong import apart, by_hand
from flows.verify import CheckState
from infrastructure.cause_kinds import CauseKind
from infrastructure.operations import OperationOutcome

_ROWS = 50  # of one table; a fleet-wide fault must not make a page of megabytes
_ID = 12  # characters of a digest or an engine's id that people compare
_RUN_ID = 8  # its end, as in the report's file name
_CELL = 200  # characters of a value in a table
_ERROR = 140  # of an error in the title

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")

# How what is left begins, and stands in bold.
_LEFT = ("Still broken", "Broken now", "Still not as Git says", "Not done", "Left alone")

Put = Callable[..., str]


def as_it_is(text: str) -> str:
    """For a caller that redacts the result itself."""
    return text


def render_markdown(report: RunReport, redact: Redact = as_it_is) -> str:
    """The whole run.

    Args:
        report: what happened.
        redact: cuts secrets out of every text before it is laid out.
    """

    def put(text: object, limit: int = 200) -> str:
        return cell(redact(str(text)), limit)

    incidents = worst_first(report.incidents)
    parts = [_title(report, redact, put)]
    if incidents:
        parts += ["", f"Cost: {put(run_cost(i.plan for i in incidents))}"]
    for incident in incidents:
        if len(incidents) > 1:
            parts += ["", f"## {_whole(headline(incident, redact))}"]
        status = report.statuses.get(incident.incident.root)
        parts += ["", *_incident(incident, status, put, redact)]
        parts += course_lines(report, incident, put)
    parts += [""] if parts[-1] else []
    parts += _run_facts(report, put)
    about = "Refused desired state" if report.desired.refused_revision else "Desired state"
    parts += _section(about, _problems(report, put))
    parts += _section("Errors", [f"- {put(error, 500)}" for error in report.errors])
    failures = [
        f"- {put(f.environment)}: {put(f.source)}: {put(f.error, 300)}" for f in report.failures
    ]
    parts += _section("Unreachable, so unknown", failures)
    parts += _section("Interrupted runs", _interrupted(report, put))
    theirs = [f"- {put(target)}: {put(why, 300)}" for target, why in report.held_off.items()]
    parts += _section("Held off", theirs[:_ROWS])
    parts += _section("Next", next_lines(report, put))
    return "\n".join(parts) + "\n"


def _title(report: RunReport, redact: Redact, put: Put) -> str:
    tail = put(ending(report), 300)
    if report.incidents:
        only = report.incidents[0] if len(report.incidents) == 1 else None
        text = headline(only, redact) if only else redact(counted(report.incidents))
        # It says already that a person is needed.
        told = only is not None and only.result is IncidentResult.ESCALATED
        return f"# {_whole(text)}" if told else f"# {_whole(text)} → {tail}"
    if report.desired.refused_revision:
        left = put(besides_refused(report), 300)
        beside = f"; {put(quiet_name(report))} → {left}" if left else ""
        return f"# Desired state refused: the last good revision stays in force{beside}"
    if report.errors:
        return f"# Error: {put(first_words(redact(report.errors[0]), _ERROR))}"
    return f"# {put(quiet_name(report))} → {tail}"


def _interrupted(report: RunReport, put: Put) -> Iterator[str]:
    """Runs that died: what they meant to do, and how it stands."""
    for run in report.interrupted[:_ROWS]:
        began = f", begun {moment(run.at)}" if run.at else ""
        planned = ", ".join(run.planned) or "what it meant to do can't be read"
        yield f"- {put(run.run_id)}{began}: it may have done: {put(planned, 300)}"
        yield from (f"  - found: {put(found, 300)}" for found in run.found[:_ROWS])


def _whole(text: str) -> str:
    return cell(text, len(text) + 1)


def _run_facts(report: RunReport, put: Put) -> list[str]:
    took = (report.finished_at - report.started_at).total_seconds()
    run = put(report.run_id[-_RUN_ID:].strip("-"))
    rows = [
        ("Run", f"{run}, {moment(report.started_at)}, {seconds(took)}"),
        ("Desired", put(_DIGEST.sub(r"\1", report.desired.revision))),
        ("Mode", put(report.mode)),
    ]
    if report.desired.stale:
        rows.append(("Stale", put(report.desired.stale, 300)))
    if report.intent_commit:
        rows.append(("Intent", put(report.intent_commit[:_ID])))
    return _table(("Run facts", ""), rows)


# ── one incident ────────────────────────────────────────────────────────────────


def _incident(
    report: IncidentReport, status: TargetStatus | None, put: Put, redact: Redact
) -> Iterator[str]:
    top = top_of(report, redact)
    yield from _first_lines(report, status, put)
    yield from _drifts(report, put, redact)
    yield ""
    yield from _planned(report, put, top)
    yield from _operations(report, put, top)
    yield from answer_lines(report, redact)
    yield from _verified(report, put, top)
    yield from _times(report, put)
    yield from _cost(report, put)
    yield from folded_lines(report, put, without_plan(report, top)[1])


def _first_lines(report: IncidentReport, status: TargetStatus | None, put: Put) -> Iterator[str]:
    """What a person on call needs before any table."""
    name = put(short_name(report.incident.root))
    if todo := waits(report):
        yield from (f"**Waits for you:** {name}: {put(todo, TOP)}", "")
    elif left := remains(report):
        label = next((n for n in _LEFT if left.lower().startswith(n.lower())), "Left alone")
        why = left[len(label) :] if left.lower().startswith(label.lower()) else left
        why = why.lstrip(",;: ")
        yield from (f"**{label}:** {name}: {put(why + _until(report, status), LEFT)}", "")
    for other, how in not_well(report).items():
        first = f"{name}, which it needs, was repaired first; the next run looks at it"
        yield from (f"**Not well yet:** {put(other)}: {put(how, 300)}; {first}", "")
    if summary := summary_of(report):
        yield from (f"Summary: {put(summary, TOP)}", "")
    for line in top_lines(report, put):
        yield from (line, "")


def _until(report: IncidentReport, status: TargetStatus | None) -> str:
    """When a back-off ends."""
    if report.result is not IncidentResult.FAILED or by_hand(report):
        return ""
    if status is None or status.attempts is None:
        return ""
    return f" (back-off until {moment(status.attempts.not_before)})"


def _planned(report: IncidentReport, put: Put, top: Top) -> Iterator[str]:
    plan = report.plan
    guessed = plan.planner is PlannerKind.LLM
    sure = f" (the model's own estimate: {plan.confidence * 100:.0f} %)" if guessed else ""
    label = "The model says" if guessed else "Diagnosis"
    if guessed or not top.again(plan.diagnosis):
        yield from (f"{label}: {put(top.short(plan.diagnosis), 500)}{sure}", "")
    if plan.cause is not None:
        label = "Cause, the model says" if guessed else _cause_label(report)
        who = f": {put(deed.told)}" if (deed := _deed(report)) is not None else ""
        yield from (f"{label}: {plan.cause.kind.value} at {put(plan.cause.target)}{who}", "")
    if plan.planner is PlannerKind.NONE:
        few, fold = without_plan(report, top)
        why = f": {put(few)}" if few else "; why: under Evidence" if fold else ""
        yield from (f"Plan: none{why}", "")
    else:
        yield from (f"Plan: {put(planner(plan))} ({put(planner_reason(plan), 300)})", "")


def _cause_label(report: IncidentReport) -> str:
    """That all was well until a commit is no proof."""
    change, cause = report.evidence.git_change, report.plan.cause
    guessed = change is not None and change.news is not News.AHEAD
    of_git = cause is not None and cause.kind is CauseKind.CHANGED_IN_GIT
    return "Probable cause" if guessed and of_git else "Cause"


def _deed(report: IncidentReport) -> EngineDeed | None:
    """Who ended it, where the cause names that it ended and no more."""
    cause = report.plan.cause
    ended = cause is not None and cause.kind in (CauseKind.REMOVED, CauseKind.STOPPED)
    return report.evidence.ended_by if ended else None


def _drifts(report: IncidentReport, put: Put, redact: Redact) -> list[str]:
    rows = []
    for d in report.incident.drifts:
        wanted, seen = apart(redact(d.desired), redact(d.observed or d.message), _CELL)
        known = since(report, d)
        told = put(known.told) if known is not None else ""
        rows.append((put(_place(d)), d.kind.value, put(d.field), put(wanted), put(seen), told))
    return _table(("Target", "Drift", "Field", "Desired", "Observed", "Since"), rows)


def _place(drift: Drift) -> str:
    """The target, and which of its instances where that is not the same."""
    other = drift.instance and drift.instance != short_name(drift.target)
    return f"{drift.target} ({drift.instance})" if other else drift.target


def _operations(report: IncidentReport, put: Put, top: Top) -> Iterator[str]:
    outcomes = list(report.execution.outcomes) if report.execution else []
    rows = []
    for verdict in report.verdicts:
        step = verdict.step
        same = (o for o in outcomes if _carries_out(o, verdict))
        outcome = next(same, None)
        if outcome is not None:
            outcomes.remove(outcome)
        words = put(verdict_words(verdict), 300)
        end = _end(outcome, put, report.not_sent, top)
        rows.append((put(step.operation), put(step.target), words, *end))
    # What ran beside the plan, such as an escalation, and what took steps back.
    for outcome in (*outcomes, *report.undone):
        call, end = outcome.call, _end(outcome, put, report.not_sent, top)
        words = "takes back" if outcome in report.undone else ""
        rows.append((put(call.operation), put(call.target), words, *end))
    if rows:
        head = ("Operation", "Target", "Verdict", "Result", "Time", "Objects")
        yield from _table(head, rows)
        yield ""


def _carries_out(outcome: OperationOutcome, verdict: Verdict) -> bool:
    return (outcome.call.operation, outcome.call.target) == (
        verdict.step.operation,
        verdict.step.target,
    )


def _end(
    outcome: OperationOutcome | None, put: Put, not_sent: str, top: Top
) -> tuple[str, str, str]:
    if outcome is None:
        return "not run", "", ""
    if not_sent and outcome.call.operation == TELL and not outcome.error:
        return f"not sent: {put(not_sent)}", seconds(outcome.seconds), ""
    words = outcome.status.value.replace("_", " ")
    if not outcome.error and not outcome.changed:
        words += ", nothing to change"
    if outcome.error:
        words += f": {put(top.short(error_words(outcome)), 500)}"
    if outcome.remedy and not top.again(outcome.remedy):
        words += f" ({put(outcome.remedy, 300)})"
    return words, seconds(outcome.seconds), _objects(outcome, put)


def _objects(outcome: OperationOutcome, put: Put) -> str:
    ids = [put(native[:_ID]) for native in outcome.native_ids[:8]]
    replaced = outcome.call.operation == "recreate" and len(outcome.native_ids) == 2  # old and new
    return (" → " if replaced else ", ").join(ids)


def _verified(report: IncidentReport, put: Put, top: Top) -> Iterator[str]:
    verification = report.verification
    if verification is None:
        return
    checks = [
        (put(c.target), put(c.name), _STATES.get(c.state, c.state.value), put(top.short(c.detail)))
        for c in verification.checks
    ]
    result = verification.result.value.replace("_", " ")
    yield f"**Verified: {result}**; looking at it took {seconds(verification.seconds)}."
    yield ""
    yield from _table(("Target", "Check", "State", "Detail"), checks)
    yield ""
    if any(c.state is CheckState.PENDING and c.name != "dependent" for c in verification.checks):
        yield "What is left to the next run was no part of this fault, or takes longer to show it."
        yield ""


_STATES = {CheckState.PENDING: "left to the next run"}


def _times(report: IncidentReport, put: Put) -> Iterator[str]:
    took = fault_seconds(report)
    if took is None:
        return
    start = began(report)
    if start is not None:
        whence = f"the fault at {moment(start.at)} ({start.by})"
    else:
        whence = f"the first sight at {moment(report.seen_at)}"
        whence = whence if report.seen_at is not None else "the first operation"
    yield f"From {whence} to verified recovery: **{seconds(took)}**."
    if start is None:
        yield _undated(report, put)
    yield ""


def _undated(report: IncidentReport, put: Put) -> str:
    """Why it counts from no fault. A commit may have waited for its merge, or for a run."""
    change = report.evidence.git_change
    if change is None or change.news is not News.AHEAD:
        return "Nothing tells when the fault began."
    return f"What {put(change.by)} waited for before that is not counted."


def _cost(report: IncidentReport, put: Put) -> Iterator[str]:
    for line in cost_lines(report.plan, put):
        yield from (line, "")
    yield from planning_lines(report.plan, put)


# ── the rest of the page ────────────────────────────────────────────────────────


def _problems(report: RunReport, put: Put) -> list[str]:
    desired = report.desired
    lines = [f"- {put(problem, 500)}" for problem in desired.problems[:_ROWS]]
    if desired.refused_revision:
        refused, force = put(desired.refused), put(desired.revision)
        lines.insert(0, f"- {refused} is refused; in force: {force}")
    if len(desired.problems) > _ROWS:
        lines.append(f"- and {len(desired.problems) - _ROWS} more")
    return lines


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = list(lines)
    return ["", f"## {title}", "", *body] if body else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows[:_ROWS]]
    if len(rows) > _ROWS:
        rest = [f"and {len(rows) - _ROWS} more", *[""] * (len(head) - 1)]
        lines.append(f"| {' | '.join(rest)} |")
    return lines
