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
from flows.plan import PlannerKind
from flows.reporting.asked import cost_lines, planning_lines
from flows.reporting.sentences import (
    counted,
    ending,
    headline,
    only_tells,
    planner,
    planner_reason,
    remains,
    verdict_words,
    waits,
    worst_first,
)
from flows.reporting.text import (
    Redact,
    begins_known,
    cell,
    fault_seconds,
    moment,
    seconds,
    short_name,
)
from flows.reporting.values import IncidentReport, IncidentResult, RunReport
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationOutcome

_LOG_LINES = 5  # the end of the log, where the reason usually stands
_FACTS = 8
_ROWS = 50  # of one table; a fleet-wide fault must not make a page of megabytes
_NEXT_TARGETS = 3
_ID = 12  # characters of a digest or an engine's id that people compare
_RUN_ID = 8  # its end, as in the report's file name

_STAMP = re.compile(r"^\[?\d{4}-?\d\d-?\d\d[T ]?\d\d:?\d\d\S*\s*")
_TELLING = re.compile(
    r"error|fatal|critical|panic|exception|fail|killed|refused|denied|abort|unable|"
    r"out of memory|no space|cannot|can't|invalid|unhealthy|exit",
    re.IGNORECASE,
)
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_SHELL_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,99}")

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
    for incident in incidents:
        if len(incidents) > 1:
            parts += ["", f"## {_whole(headline(incident, redact))}"]
        parts += ["", *_incident(incident, put)]
    parts += [""] if parts[-1] else []
    parts += _run_facts(report, put)
    about = "Refused desired state" if report.desired.refused_revision else "Desired state"
    parts += _section(about, _problems(report, put))
    parts += _section("Errors", [f"- {put(error, 500)}" for error in report.errors])
    failures = [
        f"- {put(f.environment)}: {put(f.source)}: {put(f.error, 300)}" for f in report.failures
    ]
    parts += _section("Unreachable, so unknown", failures)
    parts += _section("Next", _next(report))
    return "\n".join(parts) + "\n"


def _title(report: RunReport, redact: Redact, put: Put) -> str:
    tail = put(ending(report), 300)
    if report.incidents:
        only = report.incidents[0] if len(report.incidents) == 1 else None
        text = headline(only, redact) if only else redact(counted(report.incidents))
        return f"# {_whole(text)} → {tail}"
    if report.desired.refused_revision:
        return "# Desired state refused: the last good revision stays in force"
    if report.errors:
        return f"# Error: {put(report.errors[0], 300)}"
    return f"# {put(report.result.value.replace('_', ' '))}: no incident → {tail}"


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


def _incident(report: IncidentReport, put: Put) -> Iterator[str]:
    yield from _first_lines(report, put)
    yield from _drifts(report.incident.drifts, put)
    yield ""
    yield from _planned(report, put)
    yield from _operations(report, put)
    yield from _verified(report, put)
    yield from _times(report)
    yield from _cost(report, put)
    yield from _evidence(report, put)


def _first_lines(report: IncidentReport, put: Put) -> Iterator[str]:
    """What a person on call needs before any table."""
    name = put(short_name(report.incident.root))
    if said := _said(report.evidence.logs.get(report.incident.root, "")):
        yield from (f"It said: {put(said, 300)}", "")
    if todo := waits(report):
        yield from (f"**Waits for you:** {name}: {put(todo, 500)}", "")
    elif left := remains(report):
        yield from (f"**Still broken:** {name}: {put(left, 500)}", "")
    told = (IncidentResult.RECOVERED, IncidentResult.HELD, IncidentResult.ESCALATED)
    if report.summary and report.result not in told:
        yield from (f"Summary: {put(report.summary, 500)}", "")


def _planned(report: IncidentReport, put: Put) -> Iterator[str]:
    plan = report.plan
    yield f"Plan: {put(planner(plan))} ({put(planner_reason(plan), 300)})"
    yield ""
    guessed = plan.planner is PlannerKind.LLM
    sure = f" (the model's own estimate: {plan.confidence * 100:.0f} %)" if guessed else ""
    yield f"Diagnosis: {put(plan.diagnosis, 500)}{sure}"
    yield ""


def _drifts(drifts: Sequence[Drift], put: Put) -> list[str]:
    rows = [
        (
            put(d.instance or d.target),
            d.kind.value,
            put(d.field),
            put(d.desired),
            put(d.observed or d.message),
            moment(d.since),
        )
        for d in drifts
    ]
    return _table(("Target", "Drift", "Field", "Desired", "Observed", "Since"), rows)


def _operations(report: IncidentReport, put: Put) -> Iterator[str]:
    outcomes = list(report.execution.outcomes) if report.execution else []
    rows = []
    for verdict in report.verdicts:
        step = verdict.step
        same = (o for o in outcomes if _carries_out(o, verdict))
        outcome = next(same, None)
        if outcome is not None:
            outcomes.remove(outcome)
        words = put(verdict_words(verdict), 300)
        rows.append((put(step.operation), put(step.target), words, *_end(outcome, put)))
    for outcome in outcomes:  # what ran beside the plan, such as an escalation
        call = outcome.call
        rows.append((put(call.operation), put(call.target), "", *_end(outcome, put)))
    if rows:
        head = ("Operation", "Target", "Verdict", "Result", "Time", "Objects")
        yield from _table(head, rows)
        yield ""


def _carries_out(outcome: OperationOutcome, verdict: Verdict) -> bool:
    return (outcome.call.operation, outcome.call.target) == (
        verdict.step.operation,
        verdict.step.target,
    )


def _end(outcome: OperationOutcome | None, put: Put) -> tuple[str, str, str]:
    if outcome is None:
        return "not run", "", ""
    words = outcome.status.value.replace("_", " ")
    if not outcome.error and not outcome.changed:
        words += ", nothing to change"
    if outcome.error:
        words += f": {put(outcome.error, 300)}"
    if outcome.remedy:
        words += f" ({put(outcome.remedy, 300)})"
    return words, seconds(outcome.seconds), _objects(outcome, put)


def _objects(outcome: OperationOutcome, put: Put) -> str:
    ids = [put(native[:_ID]) for native in outcome.native_ids[:8]]
    replaced = outcome.call.operation == "recreate" and len(outcome.native_ids) == 2  # old and new
    return (" → " if replaced else ", ").join(ids)


def _verified(report: IncidentReport, put: Put) -> Iterator[str]:
    verification = report.verification
    if verification is None:
        return
    checks = [
        (put(c.target), put(c.name), c.state.value, put(c.detail)) for c in verification.checks
    ]
    result = verification.result.value.replace("_", " ")
    yield f"**Verified: {result}** after {seconds(verification.seconds)}."
    yield ""
    yield from _table(("Target", "Check", "State", "Detail"), checks)
    yield ""


def _times(report: IncidentReport) -> Iterator[str]:
    took = fault_seconds(report)
    if took is None:
        return
    if begins_known(report):
        known = [d.since for d in report.incident.drifts if d.since is not None]
        start = f"the fault at {moment(min(known))} (by the engine or an alert)"
        yield f"From {start} to verified recovery: **{seconds(took)}**."
    else:
        yield f"From the first operation to verified recovery: **{seconds(took)}**."
        yield "Nothing tells when the fault began."
    yield ""


def _cost(report: IncidentReport, put: Put) -> Iterator[str]:
    for line in cost_lines(report.plan, put):
        yield from (line, "")
    yield from planning_lines(report.plan, put)


# ── evidence ────────────────────────────────────────────────────────────────────


def _evidence(report: IncidentReport, put: Put) -> Iterator[str]:
    """What the plan rests on, and the end of each log; folded away where that is shown."""
    evidence = report.evidence
    # A runbook's evidence is the drifts, and these stand in their table.
    own = () if report.plan.planner is PlannerKind.RUNBOOK else report.plan.evidence
    facts = [*(f"log pattern {name}" for name in evidence.patterns), *own, *evidence.facts]
    lines = [f"- {put(fact, 300)}" for fact in [*dict.fromkeys(facts)][:_FACTS]]
    for target, log in evidence.logs.items():
        lines += [f"- {put(target)} said: {put(line, 300)}" for line in _tail(log)]
    if lines:
        yield from ("<details><summary>Evidence</summary>", "", *lines, "", "</details>")


def _folded(log: str) -> Iterator[tuple[str, int]]:
    """Lines that say something; those that repeat, but for their time, once with their count."""
    said, last, count = "", "", 0
    for line in log.splitlines():
        words = _STAMP.sub("", line.strip()).strip()
        if not words:
            continue
        if words == said:
            last, count = line.strip(), count + 1
            continue
        if count:
            yield last, count
        said, last, count = words, line.strip(), 1
    if count:
        yield last, count


def _times_told(line: str, count: int) -> str:
    return f"{line} ({count} times)" if count > 1 else line


def _tail(log: str) -> list[str]:
    return [_times_told(line, count) for line, count in _folded(log)][-_LOG_LINES:]


def _said(log: str) -> str:
    """The service's own word on what is wrong: the last line that reads like an error."""
    telling = [_times_told(line, n) for line, n in _folded(log) if _TELLING.search(line)]
    return telling[-1] if telling else ""


# ── what to run next ────────────────────────────────────────────────────────────


def _next(report: RunReport) -> Iterator[str]:
    """Commands that a person would run now."""
    incidents = worst_first(report.incidents)
    lines = [line for i in incidents[:_NEXT_TARGETS] for line in _commands(report, i)]
    if report.failures:
        lines.append("- `uici doctor`")
    yield from dict.fromkeys(lines)
    kinds = {drift.kind for incident in incidents for drift in incident.incident.drifts}
    if DriftKind.CONFIG_DRIFT in kinds:
        yield (
            "- To keep what was changed by hand, change it in Git; to stop UICI here, set"
            " spec.suspend in Git or silence it in Alertmanager."
        )


def _commands(report: RunReport, told: IncidentReport) -> Iterator[str]:
    target = told.incident.root
    containers = _containers(report, told)
    for name in containers:
        yield f"- `docker logs --since 15m {name}`"
        yield f"- `docker inspect {name}`"
    if _SHELL_WORD.fullmatch(target):
        if not containers and any(
            drift.kind is not DriftKind.MISSING for drift in told.incident.drifts
        ):
            yield f"- `uici run get_logs {target}`"
        yield f"- `uici status -t {target}`"
        if told.result is IncidentResult.ESCALATED or only_tells(told):
            yield (
                f"- When the cause is mended: `uici run OPERATION {target}` tries at once; after"
                " a recovery, or a change of its spec in Git, attempts count anew."
            )


def _containers(report: RunReport, told: IncidentReport) -> list[str]:
    """Names for the docker command; none where the engine's objects are no containers."""
    place = told.incident.environment
    same = [i for i in report.incidents if i.incident.environment == place]
    ids = [
        native
        for incident in same
        if incident.execution
        for outcome in incident.execution.outcomes
        for native in outcome.native_ids
    ]
    if not ids or not all(_CONTAINER_ID.fullmatch(native) for native in ids):
        return []
    root = told.incident.root
    drifting = [d.instance for d in told.incident.drifts if d.target == root and d.instance]
    acted = told.execution.outcomes if told.execution else ()
    made = [native[:_ID] for outcome in acted for native in outcome.native_ids[-1:]]
    found = [n for n in dict.fromkeys(drifting or made) if _SHELL_WORD.fullmatch(n)]
    return found[:_NEXT_TARGETS]


# ── the rest of the page ────────────────────────────────────────────────────────


def _problems(report: RunReport, put: Put) -> list[str]:
    desired = report.desired
    lines = [f"- {put(problem, 500)}" for problem in desired.problems[:_ROWS]]
    if desired.refused_revision:
        refused, force = put(desired.refused_revision), put(desired.revision)
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
