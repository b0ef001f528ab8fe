"""Commands that change services or write to Git: a run, one operation, proposals, the loop."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.commands.completing import modes, operations
from flows.command_line.commands.opening import load, new_run_id, opened, requested
from flows.command_line.commands.options import (
    DRIFT,
    ERROR,
    INTERRUPTED,
    OK,
    ConfigOption,
    EnvironmentOption,
    JsonOption,
    OneTarget,
    StateOption,
    TargetOption,
    VerboseOption,
)
from flows.command_line.terminal import print_json

if TYPE_CHECKING:
    from flows.report import RunReport
    from infrastructure.redaction import Redactor


def reconcile(
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    environment: EnvironmentOption = None,
    target: TargetOption = None,
    mode: Annotated[
        str | None,
        typer.Option(help="At most this much: observe, propose or enforce.", autocompletion=modes),
    ] = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look once and repair what differs.

    It changes services, as far as their mode allows; uici plan only looks.

    Exit code 0: converged, 2: drift remains (waiting, stalled or escalated), 1: error, or no
    drift was found but something could not be seen.
    """
    from flows.command_line.run_progress import live_run  # noqa: PLC0415 - see flows.cli
    from flows.command_line.stopping import stopping  # noqa: PLC0415 - as above
    from flows.listener import RunStoppedError  # noqa: PLC0415 - as above
    from flows.log_listener import LogListener  # noqa: PLC0415 - as above
    from flows.reconcile import reconcile as run  # noqa: PLC0415 - as above

    request = requested(environment, target, mode)
    with opened(config, state, verbose=verbose) as session:
        with stopping() as end, live_run(session.runtime.config.platform.verify.deadline) as shown:
            try:
                report = run(request, session.runtime, end.listener(LogListener(), shown))
            except RunStoppedError:
                if end.report is None:  # nothing was done yet, so there is nothing to report
                    raise
                report = end.report
        _show(report, session.runtime.redactor, as_json=as_json)
    raise typer.Exit(INTERRUPTED if end.asked.is_set() else _exit_code(report))


def run_operation(
    operation: Annotated[
        str,
        typer.Argument(
            help="A universal operation: see uici operations.", autocompletion=operations
        ),
    ],
    target: OneTarget,
    *,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="Repeatable.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one operation on one target, through the guard.

    There is a commit before it. Where it needs a person, it is asked for: repeat the command
    once somebody has approved.

    Exit code 0: done and verified, 2: not allowed or not recovered, 1: error.
    """
    from flows.command_line import manual, output  # noqa: PLC0415 - see flows.cli
    from flows.command_line.run_progress import live_run  # noqa: PLC0415 - as above
    from flows.command_line.stopping import Stopping, stopping  # noqa: PLC0415 - as above
    from flows.log_listener import LogListener  # noqa: PLC0415 - as above

    with opened(config, state, verbose=verbose) as session:
        redactor = session.runtime.redactor
        asked = manual.Asked(operation, target, manual.parameters(param or []))
        deadline = session.runtime.config.platform.verify.deadline
        ends = stopping() if manual.changes(asked, session.runtime) else nullcontext(Stopping())
        with ends as end, live_run(deadline) as shown:
            told = end.listener(LogListener(), shown)
            done = manual.run(asked, session.runtime, told, run_id=new_run_id())
        if done.report is not None:
            _show(done.report, redactor, as_json=as_json)
            raise typer.Exit(INTERRUPTED if end.asked.is_set() else _exit_code(done.report))
        assert done.outcome is not None  # noqa: S101  # without a report there is an answer
        data = redactor.data(output.outcome_data(done.outcome))
        if as_json:
            print_json(data)
        else:
            output.print_outcome(data)
        raise typer.Exit(OK if done.succeeded else ERROR)


def propose(
    target: Annotated[
        str, typer.Argument(help="environment/name, or a name that is unique; empty: all.")
    ] = "",
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the diff; write nothing, ask no model.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose other desired state where the same drift recurs.

    As branches, and pull requests where a forge is set. Asks no engine.

    Exit code 0: done, 1: Git or the forge refused something.
    """
    from flows.command_line import propose as proposals  # noqa: PLC0415 - see flows.cli
    from flows.proposals.result import Writing  # noqa: PLC0415 - as above

    writing = Writing.DRY_RUN if dry_run else Writing.FOR_REAL
    with opened(config, state) as session:
        request = requested(None, [target] if target else None)
        found = proposals.run(request, session.runtime, writing)
        if as_json:
            print_json(proposals.as_data(found))
        else:
            proposals.show(found)
    raise typer.Exit(ERROR if proposals.failed(found) else OK)


def serve(config: ConfigOption = None, state: StateOption = None) -> None:
    """Run the loop on its schedule until asked to end.

    With the Prefect UI, /readyz and /metrics. Exit code 0: asked to end (SIGTERM, Ctrl-C),
    1: error.
    """
    from flows.serve import serve as run  # noqa: PLC0415 - see flows.cli

    raise typer.Exit(run(load(config, state)))


def _show(report: RunReport, redactor: Redactor, *, as_json: bool) -> None:
    from flows.command_line import output  # noqa: PLC0415 - see flows.cli
    from flows.report import render_markdown, report_to_dict  # noqa: PLC0415 - as above

    if as_json:
        print_json(redactor.data(report_to_dict(report, redactor.data)))
    else:
        output.print_markdown(render_markdown(report, redactor.text))


def _exit_code(report: RunReport) -> int:
    from flows.report import RunResult  # noqa: PLC0415 - see flows.cli

    codes = {RunResult.CONVERGED: OK, RunResult.DRIFT_REMAINS: DRIFT, RunResult.ERROR: ERROR}
    return ERROR if _only_unseen(report) else codes[report.result]


def _only_unseen(report: RunReport) -> bool:
    """Nothing is known to differ, and not everything could be seen: as in `uici plan`."""
    from flows.comparison.drift import HealthStatus  # noqa: PLC0415 - see flows.cli
    from infrastructure.drift_kinds import DriftKind  # noqa: PLC0415 - as above

    seen, desired = report.comparison, report.desired
    drifts = (*seen.drifts, *seen.pending)
    if any(drift.kind is not DriftKind.ORPHAN for drift in drifts) or report.incidents:
        return False
    if desired.refused_revision is not None or desired.stale is not None:
        return False
    return any(state.health is HealthStatus.UNKNOWN for state in seen.states.values())
