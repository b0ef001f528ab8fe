"""What `plan`, `status`, `run` and reports look like in a terminal, and as JSON data.

Text from outside is never markup here: it is printed through `escape`, and reports are
cleaned when they are rendered.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape as as_text
from rich.table import Table

from flows.cases import Case
from flows.command_line.hints import here, in_others_words, in_report, outside_fences
from flows.command_line.preview import Preview
from flows.comparison.drift import Drift, HealthStatus, TargetState
from flows.reporting.asked import run_cost, usage_to_dict, usages
from flows.reporting.status import ConditionType, LastIncident, TargetStatus
from flows.reporting.values import IncidentResult
from flows.repository.contract import DesiredState
from infrastructure.errors import PermanentError, Problem
from infrastructure.operations import OperationOutcome

_NAMED = 10  # of many targets
_RESULT = 100  # characters by which what came of a try is known again


def new_console() -> Console:
    """Wide where nobody watches, so that lines are whole for grep."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def escape(text: object) -> str:
    """Text from outside, fit for a console: no markup, nothing that a terminal acts upon."""
    return as_text("".join(c if c.isprintable() or c == "\n" else " " for c in str(text)))


def new_table(*headings: str) -> Table:
    """An empty table as all commands show them."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_preview(seen: Preview, redact: Callable[[str], str]) -> None:
    """`uici plan`. `redact` cuts secrets out of what containers and files say."""
    seen = _redacted(seen, redact)
    console = new_console()
    _print_desired(console, seen.desired)
    for failure in seen.failures:
        source = f"{failure.source} of {failure.environment}"
        console.print(f"[yellow]unknown[/]  {source}: {escape(failure.error)}")
    _print_unknown(console, seen)
    drifts = (*seen.comparison.drifts, *seen.comparison.pending)
    if not drifts:
        _print_in_sync(console, seen)
        return
    console.print(_drift_table(drifts, set(seen.comparison.pending)))
    for case in seen.cases:
        _print_case(console, case)
    plans = [case.plan for case in seen.cases]
    if usages(plans):
        told = f"{run_cost(plans)} (--no-llm: ask no model)"
        console.print(f"\nmodel    {escape(told)}")
    for left in seen.left:
        console.print(
            f"\n{escape(left.incident.root)}: nothing now: {escape(in_others_words(left.reason))}"
        )
    for environment, told in seen.strays.items():
        console.print(f"\norphans of {escape(environment)}: {escape(here(told))}")
    for target, state in seen.comparison.states.items():
        if state.held is not None:
            console.print(f"\n{escape(target)}: left alone: {escape(in_others_words(state.held))}")


def _print_in_sync(console: Console, seen: Preview) -> None:
    """Of what was seen; what is not the newest commit's, or nothing at all, is not in sync."""
    every = len(seen.comparison.states)
    known = every - len(unseen(seen))
    if not every:
        console.print("[yellow]nothing[/]  no service is declared, so none was looked at")
    elif known and seen.of_newest:
        console.print(f"[green]in sync[/]  {known} of {every} targets")
    elif known:
        older = "with an older commit, not the newest"
        console.print(f"[yellow]in sync[/]  {known} of {every} targets {older}")


def _redacted(seen: Preview, redact: Callable[[str], str]) -> Preview:
    def clean(drift: Drift) -> Drift:
        return replace(
            drift,
            desired=redact(drift.desired),
            observed=redact(drift.observed),
            message=redact(drift.message),
        )

    comparison = replace(
        seen.comparison,
        drifts=tuple(clean(drift) for drift in seen.comparison.drifts),
        pending=tuple(clean(drift) for drift in seen.comparison.pending),
        states={
            target: replace(state, message=redact(state.message))
            for target, state in seen.comparison.states.items()
        },
    )
    return replace(seen, comparison=comparison)


def unseen(seen: Preview) -> list[TargetState]:
    """Targets of which nothing can be said: they are never in sync."""
    states = seen.comparison.states.values()
    return [state for state in states if state.health is HealthStatus.UNKNOWN]


def _print_unknown(console: Console, seen: Preview) -> None:
    dark = unseen(seen)
    if not dark:
        return
    named = ", ".join(state.target for state in dark[:_NAMED])
    more = f" and {len(dark) - _NAMED} more" if len(dark) > _NAMED else ""
    console.print(
        f"[yellow]UNKNOWN[/]  {len(dark)} of {len(seen.comparison.states)} targets could not be "
        f"looked at: {escape(named)}{more}: {escape(dark[0].message)}: "
        + escape(here("uici doctor"))
    )


def _print_desired(console: Console, desired: DesiredState) -> None:
    console.print(f"desired  {desired.revision}")
    if desired.stale:
        console.print(f"[yellow]stale[/]    {escape(desired.stale)}")
    if desired.refused_revision:
        console.print(f"[red]refused[/]  {desired.refused_revision}")
    for problem in desired.problems:
        console.print(f"         {escape(str(problem))}")


def _drift_table(drifts: Iterable[Drift], pending: set[Drift]) -> Table:
    table = new_table("target", "drift", "field", "Git says", "is")
    for drift in drifts:
        kind = drift.kind.value + (" (grace)" if drift in pending else "")
        cells = (drift.target, kind, drift.field, drift.desired, drift.observed)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _print_case(console: Console, case: Case) -> None:
    plan = case.plan
    console.print(
        f"\n[bold]{escape(case.incident.root)}[/]: {escape(plan.diagnosis)} "
        f"({plan.planner.value}: {escape(plan.planner_reason)})"
    )
    table = new_table("would", "with", "verdict", "because")
    for verdict in case.verdicts:
        step = verdict.step
        with_ = " ".join(f"{k}={v}" for k, v in step.parameters.items())
        cells = (step.operation, with_, verdict.decision.value, in_others_words(verdict.reason))
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


def preview_data(seen: Preview) -> dict[str, Any]:
    """`uici plan --json`."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Preview",
        "desired": _desired_data(seen.desired),
        "inSync": _in_sync(seen),
        "drifts": [_drift_data(drift) for drift in seen.comparison.drifts],
        "pending": [_drift_data(drift) for drift in seen.comparison.pending],
        "states": {
            target: {
                "sync": state.sync.value,
                "health": state.health.value,
                "reason": state.reason,
                "message": state.message,
                "held": state.held,
            }
            for target, state in seen.comparison.states.items()
        },
        "incidents": [
            {
                "root": case.incident.root,
                "targets": list(case.incident.targets),
                "fingerprint": case.incident.fingerprint,
                "planner": case.plan.planner.value,
                "plannerReason": case.plan.planner_reason,
                "diagnosis": case.plan.diagnosis,
                "planDigest": case.plan.digest,
                "usage": [usage_to_dict(usage) for usage in usages([case.plan])],
                "steps": [
                    {
                        "operation": v.step.operation,
                        "target": v.step.target,
                        "parameters": dict(v.step.parameters),
                        "why": v.step.why,
                        "decision": v.decision.value,
                        "rule": v.rule,
                        "reason": v.reason,
                    }
                    for v in case.verdicts
                ],
            }
            for case in seen.cases
        ],
        "leftAlone": [
            {"root": left.incident.root, "result": left.result.value, "reason": left.reason}
            for left in seen.left
        ],
        "orphans": dict(seen.strays),
        "failures": [
            {"environment": f.environment, "source": f.source, "error": f.error}
            for f in seen.failures
        ],
    }


def _in_sync(seen: Preview) -> bool | None:
    """None: not known, as of a commit that is not in force or a target that was not seen."""
    if seen.differs:
        return False
    known = seen.comparison.states and seen.of_newest and not unseen(seen)
    return True if known else None


def _desired_data(desired: DesiredState) -> dict[str, Any]:
    return {
        "revision": desired.revision,
        "services": len(desired.services),
        "stale": desired.stale,
        "refusedRevision": desired.refused_revision,
        "problems": [_problem_data(problem) for problem in desired.problems],
    }


def _problem_data(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def _drift_data(drift: Drift) -> dict[str, Any]:
    return {
        "target": drift.target,
        "kind": drift.kind.value,
        "field": drift.field,
        "desired": drift.desired,
        "observed": drift.observed,
        "message": drift.message,
        "instance": drift.instance,
        "since": drift.since.isoformat() if drift.since else None,
    }


def chosen(
    known: Collection[str], environments: list[str] | None, targets: list[str] | None
) -> list[str]:
    """The targets that were asked for, sorted.

    Args:
        known: those in desired state or with a status.
        environments: only these; None: all.
        targets: only these, by inventory id or name alone; None: all.

    Raises:
        PermanentError: one that was asked for is not known.
    """
    places = {target.partition("/")[0] for target in known}
    names = {*known, *(target.partition("/")[2] for target in known)}
    for asked, among, what, shown in (
        (environments, places, "no service is in an environment", places),
        (targets, names, "no target is", known),
    ):
        for name in asked or ():
            if name not in among:
                listed = ", ".join(sorted(shown)[:_NAMED]) or "none"
                raise PermanentError(f"{what} named {name} (known: {listed})")
    return [
        target
        for target in sorted(known)
        if (not environments or target.partition("/")[0] in environments)
        and (not targets or target in targets or target.partition("/")[2] in targets)
    ]


def print_status(
    desired: DesiredState,
    statuses: Mapping[str, TargetStatus],
    targets: Collection[str],
    *,
    now: datetime,
) -> None:
    """`uici status`: what needs a look first.

    Args:
        desired: desired state.
        statuses: what is known.
        targets: what is shown; one without a status has not been seen yet.
        now: decides which moments are of today.
    """
    console = new_console()
    _print_desired(console, desired)
    table = new_table("target", "sync", "health", "since", "attempts", "reason")
    table.columns[3].no_wrap = True
    for target in sorted(targets, key=lambda t: (_rank(statuses.get(t)), t)):
        status = statuses.get(target)
        if status is None:
            told = ("", "[yellow]not seen yet[/]", "", "", "no run has told of it")
            table.add_row(escape(target), *told)
            continue
        ready = next(c for c in status.conditions if c.type is ConditionType.READY)
        colour = _COLOURS.get(status.health, "yellow")
        table.add_row(
            escape(target),
            escape(status.sync),
            f"[{colour}]{escape(status.health)}[/]",
            _short(status.since or ready.last_transition_time, now),
            str(status.attempts.count) if status.attempts else "",
            escape(
                f"{_standing(status, now)}{ready.reason}: {in_others_words(ready.message)}"
                f"{_cause(status)}"
            ),
        )
    console.print(table)


def _standing(status: TargetStatus, now: datetime) -> str:
    """Where UICI's own tries stand, if there were any that did not help."""
    if any(c.type is ConditionType.STALLED for c in status.conditions):
        return f"Stalled, a person must look ({here('uici report')}); "
    last = status.last_incident
    if last is not None and last.result == IncidentResult.NOTHING_TO_DO:
        return "left alone, the model sees nothing to do; "
    if status.attempts is not None and now < status.attempts.not_before:
        return f"looked at again after {_short(status.attempts.not_before, now)}; "
    return ""


def _cause(status: TargetStatus) -> str:
    """What was held to be wrong when it was last worked on, while it is still sick."""
    last = status.last_incident
    if last is None or not last.diagnosis or last.result == IncidentResult.RECOVERED.value:
        return ""
    if status.health == HealthStatus.UNKNOWN:  # it may be over, or another one
        return ""
    if _is_a_result(last, status):
        return f"; the last try: {last.diagnosis}"
    tried = last.summary if status.attempts is not None and last.summary != last.diagnosis else ""
    return f"; diagnosis: {last.diagnosis}" + (f"; the last try: {tried}" if tried else "")


def _is_a_result(last: LastIncident, status: TargetStatus) -> bool:
    """Whether the diagnosis only repeats what came of a try: then nobody knows the cause."""
    tried = status.attempts.tried if status.attempts is not None else ()
    results = (last.summary, *(past.result for past in tried))
    return any(result and last.diagnosis.startswith(result[:_RESULT]) for result in results)


_COLOURS = {"Healthy": "green", "Missing": "red", "Degraded": "red"}
_SICK_FIRST = ("Missing", "Degraded", "Unknown", "Progressing", "Suspended")


def _rank(status: TargetStatus | None) -> int:
    if status is None:
        return len(_SICK_FIRST)
    if status.health in _SICK_FIRST:
        return _SICK_FIRST.index(status.health)
    return len(_SICK_FIRST) + (1 if status.sync == "Synced" else 0)


def _short(at: datetime, now: datetime) -> str:
    """The time if it was today, else the date; UTC."""
    at, today = at.astimezone(UTC), now.astimezone(UTC).date()
    return f"{at:%H:%M:%SZ}" if at.date() == today else f"{at:%Y-%m-%d}"


def print_sections(
    headline: str, sections: Mapping[str, Iterable[str]], *, ours: Collection[str]
) -> None:
    """A headline, then headings with their lines; a section without lines is left out.

    Args:
        headline: printed first.
        sections: lines by heading.
        ours: headings of the lines that UICI has worded; others quote what is said elsewhere.
    """
    console = new_console()
    console.print(f"[bold]{escape(headline)}[/]")
    for heading, lines in sections.items():
        completed = here if heading in ours else in_others_words
        told = [f"  {escape(completed(line))}" for line in lines]
        if told:
            console.print(f"\n[bold]{heading}[/]")
            console.print("\n".join(told))


def status_data(desired: DesiredState, statuses: Mapping[str, TargetStatus]) -> dict[str, Any]:
    """`uici status --json`."""
    return {
        "apiVersion": "uici/v1",
        "kind": "StatusList",
        "desired": _desired_data(desired),
        "items": [s.model_dump(mode="json", by_alias=True) for s in statuses.values()],
    }


def outcome_data(outcome: OperationOutcome) -> dict[str, Any]:
    """What an operation that changes nothing has answered."""
    return {
        "operation": outcome.call.operation,
        "target": outcome.call.target,
        "status": outcome.status.value,
        "seconds": round(outcome.seconds, 3),
        "output": outcome.output,
        "error": outcome.error,
        "remedy": outcome.remedy,
    }


def print_outcome(data: Mapping[str, Any]) -> None:
    """`uici run` of a read."""
    console = new_console()
    if data["error"]:
        remedy = f" ({data['remedy']})" if data["remedy"] else ""
        console.print(f"[red]{data['status']}[/]  {escape(here(data['error'] + remedy))}")
    output = data["output"]
    if isinstance(output, str):
        console.print(escape(output))
    elif output is not None:
        quiet = json.dumps(output, ensure_ascii=False).isprintable()
        console.print_json(data=output, ensure_ascii=not quiet)


def print_markdown(text: str) -> None:
    """A report: rendered for a terminal, as it is for a pipe."""
    # Cleaned when it was rendered; but this one comes from a branch, and from whoever can push.
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    if sys.stdout.isatty():
        # A terminal folds nothing away: what can be folded has a heading.
        text = _FOLD.sub(r"**\1:**", text).replace("\n</details>\n", "\n")
        text = _KNOWLEDGE.sub(r"`uici knowledge \1`", text)
        Console().print(Markdown(in_report(text)))
    else:
        text = outside_fences(_KNOWLEDGE.sub(r"`uici knowledge \1`", text), _as_typed)
        sys.stdout.write(in_report(text))


def _as_typed(line: str) -> str:
    """Markdown that means the same, and that a person reads more easily than an entity."""
    return line.replace("&#96;", "\\`")


# Outside the reports branch its paths lead nowhere: a command says the same.
_KNOWLEDGE = re.compile(r"\[[^\]\n]*\]\([^)\s]*knowledge/([\w.-]+)\.yml\)")
_FOLD = re.compile(r"^<details><summary>(.*)</summary>$", re.MULTILINE)
