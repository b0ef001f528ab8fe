"""`uici plan` in a terminal, and as JSON data: what differs, and what would be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.cases import Case
from flows.command_line.desired_view import desired_data, print_desired
from flows.command_line.hints import here, in_others_words
from flows.command_line.output import escape, new_console, new_table
from flows.command_line.preview import Preview
from flows.comparison.drift import Drift, HealthStatus, TargetState
from flows.reporting.asked import run_cost, usage_to_dict, usages

_NAMED = 10  # of many targets


def print_preview(seen: Preview, redact: Callable[[str], str]) -> None:
    """`uici plan`. `redact` cuts secrets out of what containers and files say."""
    seen = _redacted(seen, redact)
    console = new_console()
    print_desired(console, seen.desired, redact)
    for failure in seen.failures:
        source = f"{failure.source} of {failure.environment}"
        console.print(f"[yellow]unknown[/]  {escape(source)}: {escape(failure.error)}")
    _print_unknown(console, seen)
    _print_settling(console, seen)
    _print_uncompared(console, seen)
    if seen.nothing_in_force:
        console.print("[yellow]nothing[/]  is in force, so nothing was compared")
        return
    drifts = (*seen.comparison.drifts, *seen.comparison.pending)
    if not drifts:
        _print_in_sync(console, seen)
        return
    console.print(_drift_table(drifts, set(seen.comparison.pending)))
    _print_grace(console, seen)
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
    known = every - len(unseen(seen)) - len(_settling(seen))
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


def _settling(seen: Preview) -> list[TargetState]:
    """Targets that nothing differs at, and that are not known to be well yet."""
    waits = {drift.target for drift in seen.comparison.pending}
    states = seen.comparison.states.values()
    return [s for s in states if s.health is HealthStatus.PROGRESSING and s.target not in waits]


def _print_settling(console: Console, seen: Preview) -> None:
    for state in _settling(seen)[:_NAMED]:
        console.print(
            f"[yellow]settling[/] {escape(state.target)}: {escape(in_others_words(state.message))}"
        )


def _print_uncompared(console: Console, seen: Preview) -> None:
    for target, state in seen.comparison.states.items():
        for told in state.uncompared:
            console.print(f"[yellow]UNKNOWN[/]  {escape(target)}: {escape(told)}")


def _print_grace(console: Console, seen: Preview) -> None:
    """What fails and is not acted upon yet, and until when: the exit code tells of it, too."""
    for drift in seen.comparison.pending:
        words = seen.grace.words(drift, seen.comparison.states.get(drift.target))
        told = f"{drift.kind.value}, not acted upon yet: {words}"
        console.print(f"\n{escape(drift.target)}: {escape(told)}")


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
        "desired": desired_data(seen.desired),
        "inSync": _in_sync(seen),
        "drifts": [_drift_data(drift) for drift in seen.comparison.drifts],
        "pending": [
            {**_drift_data(drift), "graceUntil": _moment(seen.grace.until(drift))}
            for drift in seen.comparison.pending
        ],
        "states": {
            target: {
                "sync": state.sync.value,
                "health": state.health.value,
                "reason": state.reason,
                "message": state.message,
                "held": state.held,
                "uncompared": list(state.uncompared),
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


def _drift_data(drift: Drift) -> dict[str, Any]:
    return {
        "target": drift.target,
        "kind": drift.kind.value,
        "field": drift.field,
        "desired": drift.desired,
        "observed": drift.observed,
        "message": drift.message,
        "instance": drift.instance,
        "since": _moment(drift.since),
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
