"""What `plan`, `status`, `run` and reports look like in a terminal, and as JSON data.

Text from outside is never markup here: it is printed through `escape`, and reports are
cleaned when they are rendered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from flows.cases import Case
from flows.command_line.preview import Preview
from flows.comparison.drift import Drift
from flows.reporting.status import ConditionType, TargetStatus
from flows.repository.contract import DesiredState
from infrastructure.errors import Problem
from infrastructure.operations import OperationOutcome


def _console() -> Console:
    """Wide where nobody watches, so that lines are whole for grep."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_preview(seen: Preview) -> None:
    """`uici plan`."""
    console = _console()
    _print_desired(console, seen.desired)
    for failure in seen.failures:
        source = f"{failure.source} of {failure.environment}"
        console.print(f"[yellow]unknown[/]  {source}: {escape(failure.error)}")
    drifts = (*seen.comparison.drifts, *seen.comparison.pending)
    if not drifts:
        unknown = [s for s in seen.comparison.states.values() if s.health.value == "Unknown"]
        known = len(seen.comparison.states) - len(unknown)
        console.print(f"[green]in sync[/]  {known} of {len(seen.comparison.states)} targets")
        for state in unknown:
            console.print(f"[yellow]unknown[/]  {escape(state.target)}: {escape(state.message)}")
        return
    console.print(_drift_table(drifts, set(seen.comparison.pending)))
    for case in seen.cases:
        _print_case(console, case)
    for left in seen.left:
        console.print(f"\n{escape(left.incident.root)}: nothing now: {escape(left.reason)}")
    for target, state in seen.comparison.states.items():
        if state.held is not None:
            console.print(f"\n{escape(target)}: left alone: {escape(state.held)}")


def _print_desired(console: Console, desired: DesiredState) -> None:
    console.print(f"desired  {desired.revision}")
    if desired.stale:
        console.print(f"[yellow]stale[/]    {escape(desired.stale)}")
    if desired.refused_revision:
        console.print(f"[red]refused[/]  {desired.refused_revision}")
    for problem in desired.problems:
        console.print(f"         {escape(str(problem))}")


def _drift_table(drifts: Iterable[Drift], pending: set[Drift]) -> Table:
    table = _table("target", "drift", "field", "Git says", "is")
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
    table = _table("would", "with", "verdict", "because")
    for verdict in case.verdicts:
        step = verdict.step
        with_ = " ".join(f"{k}={v}" for k, v in step.parameters.items())
        cells = (step.operation, with_, verdict.decision.value, verdict.reason)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


def preview_data(seen: Preview) -> dict[str, Any]:
    """`uici plan --json`."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Preview",
        "desired": _desired_data(seen.desired),
        "inSync": not seen.differs,
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
        "failures": [
            {"environment": f.environment, "source": f.source, "error": f.error}
            for f in seen.failures
        ],
    }


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
    statuses: Mapping[str, TargetStatus],
    environments: list[str] | None,
    targets: list[str] | None,
) -> dict[str, TargetStatus]:
    """The statuses that were asked for, sorted by target."""
    return {
        target: status
        for target, status in sorted(statuses.items())
        if (not environments or target.partition("/")[0] in environments)
        and (not targets or target in targets or target.partition("/")[2] in targets)
    }


def print_status(desired: DesiredState, statuses: Mapping[str, TargetStatus]) -> None:
    """`uici status`."""
    console = _console()
    _print_desired(console, desired)
    table = _table("target", "sync", "health", "since", "attempts", "reason")
    colours = {"Healthy": "green", "Missing": "red", "Degraded": "red"}
    for target, status in statuses.items():
        ready = next(c for c in status.conditions if c.type is ConditionType.READY)
        colour = colours.get(status.health, "yellow")
        table.add_row(
            escape(target),
            status.sync,
            f"[{colour}]{status.health}[/]",
            ready.last_transition_time.isoformat(timespec="seconds"),
            str(status.attempts.count) if status.attempts else "",
            escape(f"{ready.reason}: {ready.message}"),
        )
    for target in sorted(desired.services.keys() - statuses.keys()):
        table.add_row(
            escape(target), "", "[yellow]not seen yet[/]", "", "", "no run has told of it"
        )
    console.print(table)


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
    console = _console()
    if data["error"]:
        remedy = f" ({data['remedy']})" if data["remedy"] else ""
        console.print(f"[red]{data['status']}[/]  {escape(data['error'] + remedy)}")
    output = data["output"]
    if isinstance(output, str):
        console.print(escape(output))
    elif output is not None:
        console.print_json(data=output)


def print_markdown(text: str) -> None:
    """A report: rendered for a terminal, as it is for a pipe."""
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        sys.stdout.write(text)
