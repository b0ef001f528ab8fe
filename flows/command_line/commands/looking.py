"""Commands that change nothing: what differs, how things stand, why, and what can be done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.commands.completing import targets
from flows.command_line.commands.opening import load, new_run_id, opened, requested
from flows.command_line.commands.options import (
    DRIFT,
    ERROR,
    OK,
    ConfigOption,
    EnvironmentOption,
    JsonOption,
    OneTarget,
    StateOption,
    TargetOption,
    WatchOption,
)
from flows.command_line.terminal import print_json

if TYPE_CHECKING:
    from flows.command_line.preview import Preview
    from flows.command_line.watch import Show


def plan(
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    environment: EnvironmentOption = None,
    target: TargetOption = None,
    no_llm: Annotated[
        bool, typer.Option("--no-llm", help="Ask no model: show what is planned without it.")
    ] = False,
    branch: Annotated[
        str | None,
        typer.Option("--branch", metavar="NAME", help="As if this branch were in force."),
    ] = None,
    watch: WatchOption = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A comment for a pull request.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what differs from Git and what would be done. Changes nothing.

    It plans as a run does, the model included, and shows what that cost; the run asks again.

    Exit code 0: in sync, 2: drift, 1: error, something could not be seen, or the newest
    commit is refused.
    """
    from flows.command_line import plan_view  # noqa: PLC0415 - see flows.cli
    from flows.command_line.preview import preview  # noqa: PLC0415 - as above
    from flows.command_line.progress import busy  # noqa: PLC0415 - as above

    with opened(config, state, branch) as session:
        runtime, redact = session.runtime, session.runtime.redactor
        request = requested(environment, target)
        if watch is not None:
            # A model is paid for each answer: only a single look asks it.
            def look() -> Show:
                seen = preview(request, runtime, unasked="--watch")
                return lambda: plan_view.print_preview(seen, redact.text)

            _watch(look, watch, alone=not (as_json or markdown))
        with busy("looking at every target"):
            seen = preview(request, runtime, unasked="--no-llm" if no_llm else "")
        if as_json:
            print_json(redact.data(plan_view.preview_data(seen)))
        elif markdown:
            from flows.command_line.pull_request import comment  # noqa: PLC0415 - as above

            sys.stdout.write(comment(seen, runtime.registry, redact.text))
        else:
            plan_view.print_preview(seen, redact.text)
    raise typer.Exit(_preview_code(seen))


def status(
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    environment: EnvironmentOption = None,
    target: TargetOption = None,
    watch: WatchOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest status of every target, as committed to Git. Asks no engine."""
    from flows.command_line.progress import busy  # noqa: PLC0415 - see flows.cli
    from flows.command_line.status_view import status_view  # noqa: PLC0415 - as above

    with opened(config, state) as session:
        if watch is not None:
            _watch(
                lambda: status_view(session.runtime, environment, target).show,
                watch,
                alone=not as_json,
            )
        with busy("reading the newest statuses"):
            found = status_view(session.runtime, environment, target)
        if as_json:
            print_json(found.data())
        else:
            found.show()


def explain(
    target: OneTarget,
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why a target is as it is, and what happens next. Changes nothing, asks no model."""
    from flows.command_line import explain as explaining  # noqa: PLC0415 - see flows.cli

    with opened(config, state) as session:
        explained = explaining.explain(target, session.runtime, new_run_id())
        if as_json:
            print_json(explaining.as_data(explained))
        else:
            explaining.show(explained)


def report(
    run: Annotated[
        str,
        typer.Argument(help="Run id, its last 8 characters, HHMMSS, or a name from --list."),
    ] = "",
    *,
    listed: Annotated[
        bool, typer.Option("--list", help="The newest reports: time, what happened.")
    ] = False,
    day: Annotated[
        str, typer.Option("--day", metavar="YYYY-MM-DD", help="List those of a day, UTC.")
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            help="List those about a target.",
            autocompletion=targets,
        ),
    ] = "",
    publish: Annotated[
        bool, typer.Option("--publish", help="Write the reports branch's pages now.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """What happened: the newest report, that of a run, or a list of them."""
    from flows.command_line import output, publishing, report_view  # noqa: PLC0415 - see flows.cli
    from flows.command_line.progress import busy  # noqa: PLC0415 - as above

    many = bool(listed or day or target)
    if run and (many or publish):
        raise typer.BadParameter("a run has one report: leave the options out, or the run")
    with opened(config, state) as session:
        git = session.runtime.git
        if publish:
            with busy("writing pages"):
                done = publishing.publish(session.runtime)
            publishing.show(done, as_json=as_json)
            return
        with busy("reading reports"):
            git.desired()  # brings the newest reports along
            runs = report_view.listed_runs(git, day=day, target=target) if many else []
            found = None if many else git.report(run)
        if found is None:
            if as_json:
                print_json(report_view.as_data(runs))
            else:
                report_view.show(runs)
        elif as_json:
            report_view.print_stored(found)
        else:
            output.print_markdown(found.markdown)
            if not run:
                report_view.say_what_is_newer(found, session.runtime)


def knowledge(
    name: Annotated[
        str, typer.Argument(metavar="[CLASS]", help="All about one class of incidents.")
    ] = "",
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """What was learned, what helped, and whether it is trusted."""
    from flows.command_line import knowledge as learned  # noqa: PLC0415 - see flows.cli

    with opened(config, state) as session:
        runtime = session.runtime
        runtime.git.desired()  # brings the newest knowledge along
        files, trust = (
            runtime.git.reported().knowledge,
            runtime.config.platform.learning.trust_after,
        )
        told = learned.knowledge_data(files, name, trust, runtime.registry)
        data = runtime.redactor.data(told)
        if as_json:
            print_json(data)
        else:
            learned.show(data, one=bool(name))


def operations(
    config: ConfigOption = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Only what it can.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The universal operations: risk, parameters, and where."""
    from flows.command_line import operations as catalogue  # noqa: PLC0415 - see flows.cli

    listed = catalogue.listing(load(config, stateless=True), environment)
    if as_json:
        print_json(listed.data)
    else:
        catalogue.show(listed)


def rbac(
    *,
    environment: Annotated[
        str | None,
        typer.Option(
            "--environment", "-e", metavar="NAME", help="Which, if there are several clusters."
        ),
    ] = None,
    account: Annotated[
        str, typer.Option(metavar="NAMESPACE/NAME", help="The agent's service account.")
    ],
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Print the Kubernetes roles that the operations need.

    For kubectl apply: of the enabled operations, on the kinds that desired state uses and those
    that the connection names.
    """
    from flows.command_line import rbac as roles  # noqa: PLC0415 - see flows.cli
    from flows.command_line.import_files import the_environment  # noqa: PLC0415 - as above

    loaded = load(config, state)
    roles.show(loaded, the_environment(loaded, environment, "kubernetes"), account)


def _watch(look: Callable[[], Show], every: float, *, alone: bool) -> None:
    from flows.command_line.watch import watch  # noqa: PLC0415 - see flows.cli

    if not alone:
        raise typer.BadParameter("--watch is for people: without --json and --markdown")
    watch(look, every=every)


def _preview_code(seen: Preview) -> int:
    """An older commit in the newest's place says nothing about what was asked."""
    from flows.command_line.plan_view import unseen  # noqa: PLC0415 - see flows.cli

    if seen.desired.refused_revision is not None:
        return ERROR
    if seen.differs:
        return DRIFT
    return OK if seen.of_newest and not unseen(seen) else ERROR
