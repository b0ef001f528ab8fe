"""A run as Markdown that an engineer on call understands in ten seconds.

First line: what was wrong → what was done → what waits for a person. Then, for each
incident, the facts in tables. Everything from outside goes through the redactor and
`report_text.cell`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from flows.comparison.drift import Drift
from flows.guard import Verdict
from flows.reporting.text import (
    Redact,
    cell,
    fault_seconds,
    headline,
    moment,
    planner,
    seconds,
    short_name,
    waits,
)
from flows.reporting.values import IncidentReport, RunReport
from infrastructure.operations import OperationOutcome

_LOG_LINES = 5  # the end of the log, where the reason usually stands
_FACTS = 8
_ROWS = 50  # of one table; a fleet-wide fault must not make a page of megabytes

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

    parts = [_title(report, redact, put), "", *_run_facts(report, put)]
    for incident in report.incidents:
        parts += ["", *_incident(incident, redact, put)]
    parts += _section("Refused desired state", _problems(report, put))
    parts += _section("Errors", [f"- {put(error, 500)}" for error in report.errors])
    failures = [
        f"- {put(f.environment)}: {put(f.source)}: {put(f.error, 300)}" for f in report.failures
    ]
    parts += _section("Unreachable, so unknown", failures)
    return "\n".join(parts) + "\n"


def _title(report: RunReport, redact: Redact, put: Put) -> str:
    waiting = [text for incident in report.incidents if (text := waits(incident))]
    tail = "a person is needed" if waiting else "nothing waits for a person"
    if len(report.incidents) == 1:
        return f"# {cell(headline(report.incidents[0], redact))} → {tail}"
    if report.incidents:
        results: dict[str, int] = {}
        for incident in report.incidents:
            results[incident.result.value] = results.get(incident.result.value, 0) + 1
        counts = ", ".join(f"{count} {result}" for result, count in results.items())
        return f"# {len(report.incidents)} incidents: {counts} → {tail}"
    if report.desired.refused_revision:
        return "# Desired state refused: the last good revision stays in force"
    if report.errors:
        return f"# Error: {put(report.errors[0], 120)}"
    return f"# {put(report.result.value)}: no incident → {tail}"


def _run_facts(report: RunReport, put: Put) -> list[str]:
    took = (report.finished_at - report.started_at).total_seconds()
    rows = [
        ("Run", f"{put(report.run_id)}, {moment(report.started_at)}, {seconds(took)}"),
        ("Desired", put(report.desired.revision)),
        ("Mode", put(report.mode)),
    ]
    if report.desired.stale:
        rows.append(("Stale", put(report.desired.stale, 300)))
    if report.intent_commit:
        rows.append(("Intent", put(report.intent_commit[:12])))
    todo = [
        f"{put(short_name(incident.incident.root))}: {put(text, 300)}"
        for incident in report.incidents
        if (text := waits(incident))
    ]
    rows += [("**Waits for you**", text) for text in todo]
    return _table(("", ""), rows)


def _incident(report: IncidentReport, redact: Redact, put: Put) -> Iterator[str]:
    yield f"## {cell(headline(report, redact))}"
    yield ""
    if report.summary:
        yield from (f"Summary: {put(report.summary, 500)}", "")
    yield from _drifts(report.incident.drifts, put)
    yield ""
    plan = report.plan
    yield f"**Planned by {put(planner(plan))}** because {put(plan.planner_reason, 300)}."
    yield f"Diagnosis: {put(plan.diagnosis, 500)} (confidence {plan.confidence:.0%})"
    yield ""
    yield from _operations(report, put)
    if report.verification is not None:
        checks = [
            (put(c.target), put(c.name), c.state.value, put(c.detail))
            for c in report.verification.checks
        ]
        took = seconds(report.verification.seconds)
        yield f"**Verified: {report.verification.result.value}** after {took}."
        yield ""
        yield from _table(("Target", "Check", "State", "Detail"), checks)
        yield ""
    yield from _times(report)
    yield from _cost(report, put)
    yield from _evidence(report, put)


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
        rows.append(
            (put(step.operation), put(step.target), _verdict(verdict, put), *_end(outcome, put))
        )
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


def _verdict(verdict: Verdict, put: Put) -> str:
    return f"{verdict.decision.value} ({put(verdict.rule)}: {put(verdict.reason)})"


def _end(outcome: OperationOutcome | None, put: Put) -> tuple[str, str, str]:
    if outcome is None:
        return "not run", "", ""
    words = outcome.status.value
    if not outcome.error and not outcome.changed:
        words += ", nothing to change"
    if outcome.error:
        words += f": {put(outcome.error, 300)}"
    if outcome.remedy:
        words += f" ({put(outcome.remedy, 300)})"
    ids = ", ".join(put(native[:12]) for native in outcome.native_ids[:8])
    return words, seconds(outcome.seconds), ids


def _times(report: IncidentReport) -> Iterator[str]:
    took = fault_seconds(report)
    if took is not None:
        known = [d.since for d in report.incident.drifts if d.since is not None]
        start = f"the fault at {moment(min(known))}" if known else "the first operation"
        yield f"From {start} to verified recovery: **{seconds(took)}**."
        yield ""


def _cost(report: IncidentReport, put: Put) -> Iterator[str]:
    usage = report.plan.usage
    if usage is not None:
        price = "unpriced" if usage.dollars is None else f"{usage.dollars:.6f} US dollars"
        yield (
            f"Asked {put(usage.model)} (prompt {put(usage.prompt_version)}): {usage.requests}"
            f" requests, {usage.prompt_tokens} + {usage.output_tokens} tokens, {price},"
            f" {seconds(usage.seconds)}."
        )
        yield ""


def _evidence(report: IncidentReport, put: Put) -> Iterator[str]:
    """What the plan rests on; the end of each log."""
    evidence = report.evidence
    facts = [*report.plan.evidence, *evidence.facts]
    patterns = [f"log pattern {name}" for name in evidence.patterns]
    lines = [f"- {put(fact, 300)}" for fact in [*patterns, *dict.fromkeys(facts)][:_FACTS]]
    for target, log in evidence.logs.items():
        lines += [f"- {put(target)} said: {put(line)}" for line in _tail(log)]
    if lines:
        yield from ("Evidence:", "", *lines, "")


def _tail(log: str) -> list[str]:
    return [line for line in log.splitlines() if line.strip()][-_LOG_LINES:]


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
