"""`uici`: the command line. Arguments in, exit codes out; the work is done elsewhere.

Exit codes are a promise: see each command. Every command imports what it needs when it
runs, so that `uici --help` costs nothing. A user's mistake is one line on stderr each,
with the next step; never a traceback.
"""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.command_line.import_commands import import_app

if TYPE_CHECKING:
    from flows.command_line.preview import Preview
    from flows.listener import RunRequest
    from flows.report import RunReport
    from infrastructure.config_loader import UniversalConfig
    from infrastructure.errors import UiciError


class _Commands(TyperGroup):
    """The commands; an operation in a command's place gets the way to run it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words name.

        Raises:
            PermanentError: the first word is an operation.
        """
        word = args[0] if args else ""
        if word and not word.startswith("-") and word not in self.commands:
            _refuse_operation(word, args[1:])
        return super().resolve_command(ctx, args)


class _OfTargets(TyperCommand):
    """A command about all targets or some, which are named by an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As usual.

        Raises:
            PermanentError: a target is named without its option.
        """
        from infrastructure.errors import PermanentError  # noqa: PLC0415 - see the module

        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            wanted = " ".join(f"-t {word}" for word in ctx.args)
            raise PermanentError(f"{self.name} takes no {' '.join(ctx.args)}: write {wanted}")
        return rest


app = typer.Typer(
    name="uici",
    cls=_Commands,
    help="Keep services as Git says they should be: observe, compare, plan, guard, execute, "
    "verify, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(import_app)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - see the module

        print(f"uici {version('uici')}")  # noqa: T201 - a command line speaks
        raise typer.Exit(OK)


@app.callback()
def everything(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Keep services as Git says: observe, compare, plan, guard, execute, verify, report."""


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="DIR", help="Configuration folder (default: the shipped)."),
]
StateOption = Annotated[
    str | None,
    typer.Option("--state", metavar="REPO", help="State repository, in place of git.remote."),
]
EnvironmentOption = Annotated[
    list[str] | None,
    typer.Option("--environment", "-e", metavar="NAME", help="Only this environment; repeatable."),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", metavar="NAME", help="Only this service; repeatable."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; logs on stderr.")
]

WatchOption = Annotated[
    float | None,
    typer.Option("--watch", "-w", metavar="SECONDS", min=0.5, help="Again every so often."),
]

OK, ERROR, DRIFT, INTERRUPTED = 0, 1, 2, 130
# Typer exports only this child of its parser's UsageError.
_USAGE_ERROR: Any = typer.BadParameter.__base__


def main() -> None:
    """The console script."""
    from infrastructure.errors import UiciError  # noqa: PLC0415 - see the module

    # Configuration and state are many values without cycles: by default the search for
    # cycles is a tenth of what a command on a thousand services costs.
    gc.set_threshold(20_000, 20, 20)
    signal.signal(signal.SIGTERM, _interrupt)  # what supervisors send: end as on Ctrl-C
    try:
        sys.exit(app(standalone_mode=False) or OK)
    except _USAGE_ERROR as exc:
        # The parser's own code for a mistyped word is 2, which here means drift.
        exc.show()
        sys.exit(ERROR)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except UiciError as exc:
        _complain(exc)
        sys.exit(ERROR)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(ERROR)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _printable(text: object) -> str:
    """Text from files and servers, without what a terminal would act upon."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def _complain(error: UiciError) -> None:
    from infrastructure.errors import InvalidInputError  # noqa: PLC0415 - see the module

    if "--json" in sys.argv:
        problems = error.problems if isinstance(error, InvalidInputError) else ()
        told = [str(problem) for problem in problems] or [str(error)]
        _print_json({"apiVersion": "uici/v1", "kind": "Error", "errors": told})
    if isinstance(error, InvalidInputError):
        for problem in error.problems:
            print(f"error: {_printable(problem)}", file=sys.stderr)  # noqa: T201 - a command line speaks
    else:
        remedy = getattr(error, "remedy", "")
        print(_printable(f"error: {error}" + (f" ({remedy})" if remedy else "")), file=sys.stderr)  # noqa: T201 - as above


def _refuse_operation(word: str, rest: list[str]) -> None:
    from infrastructure.errors import PermanentError, UiciError  # noqa: PLC0415 - see the module

    try:
        known = word in _load(None).operations.operations
    except UiciError:  # the shipped configuration is not what the person asked about
        known = False
    if known:
        wanted = " ".join(["uici run", word, *(rest or ["TARGET"])])
        raise PermanentError(f"{word} is an operation, not a command: {wanted}")


@app.command("init")
def initialize(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    mode: Annotated[
        str, typer.Option(help="What it may do at first: observe, propose or enforce.")
    ] = "observe",
) -> None:
    """Write configuration and a state repository for what runs on this machine."""
    from flows.command_line import init as beginning  # noqa: PLC0415 - see the module
    from infrastructure.service import Mode  # noqa: PLC0415 - see the module

    if mode not in list(Mode):
        raise typer.BadParameter(f"mode is one of {', '.join(Mode)}, not {mode}")
    made = beginning.init(folder, mode=Mode(mode), around=beginning.look_around())
    for line in beginning.sentences(made, folder, Mode(mode)):
        print(_printable(line))  # noqa: T201 - a command line speaks


@app.command()
def validate(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of Service files (default: the seed's).")
    ] = None,
    config: ConfigOption = None,
    annotate: Annotated[
        str | None,
        typer.Option("--annotate", metavar="FORGE", help="For a pull request: github or gitlab."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check configuration and a folder of desired state. Exit code 0: valid, 1: not."""
    from flows.command_line import validation  # noqa: PLC0415 - see the module

    style = _style(annotate)
    problems, count, remarks = validation.validate(path, config)
    if style is not None:
        from flows.command_line.pull_request import annotated, placed  # noqa: PLC0415 - as above

        print(annotated(style, placed(problems, path), placed(remarks, path)))  # noqa: T201 - a command line speaks
    elif as_json:
        _print_json(validation.as_data(problems, count, remarks))
    else:
        for remark in remarks:
            print(f"warning: {_printable(remark)}", file=sys.stderr)  # noqa: T201 - as below
        for problem in problems:
            print(f"error: {_printable(problem)}", file=sys.stderr)  # noqa: T201 - a command line speaks
        if not problems:
            print(f"valid: configuration and {count} services")  # noqa: T201 - as above
    raise typer.Exit(ERROR if problems else OK)


@app.command(cls=_OfTargets)
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
    from flows.command_line import output  # noqa: PLC0415 - see the module
    from flows.command_line.preview import preview  # noqa: PLC0415 - see the module

    with _loop(config, state, branch) as opened:
        request = _request(environment, target, None)
        if watch is not None:
            # A model is paid for each answer: only a single look asks it.
            def look() -> Any:
                seen = preview(request, opened.runtime, ask_model=False)
                return lambda: output.print_preview(seen, opened.runtime.redactor.text)

            _watch(look, watch, alone=not (as_json or markdown))
        seen = preview(request, opened.runtime, ask_model=not no_llm)
        if as_json:
            _print_json(opened.runtime.redactor.data(output.preview_data(seen)))
        elif markdown:
            from flows.command_line.pull_request import comment  # noqa: PLC0415 - as above

            print(comment(seen, opened.runtime.registry, opened.runtime.redactor.text), end="")  # noqa: T201 - a command line speaks
        else:
            output.print_preview(seen, opened.runtime.redactor.text)
    raise typer.Exit(_preview_code(seen))


@app.command(cls=_OfTargets)
def reconcile(
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    environment: EnvironmentOption = None,
    target: TargetOption = None,
    mode: Annotated[
        str | None, typer.Option(help="At most this much: observe, propose or enforce.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look once and repair what differs (changes services; uici plan only looks).

    Exit code 0: converged, 2: drift remains (waiting, stalled or escalated), 1: error, or no
    drift was found but something could not be seen.
    """
    from flows.log_listener import LogListener  # noqa: PLC0415 - see the module
    from flows.reconcile import reconcile as run  # noqa: PLC0415 - see the module

    request = _request(environment, target, mode)
    with _loop(config, state) as opened:
        report = run(request, opened.runtime, LogListener())
        _show_report(report, opened.runtime.redactor, as_json=as_json)
    raise typer.Exit(_exit_code(report))


@app.command(cls=_OfTargets)
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
    from flows.command_line.status_view import status_view  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        if watch is not None:
            _watch(
                lambda: status_view(opened.runtime, environment, target).show,
                watch,
                alone=not as_json,
            )
        found = status_view(opened.runtime, environment, target)
        if as_json:
            _print_json(found.data())
        else:
            found.show()


@app.command()
def explain(
    target: Annotated[str, typer.Argument(help="environment/name, or a name that is unique.")],
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why a target is as it is, and what happens next. Changes nothing, asks no model."""
    from flows.command_line import explain as explaining  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        explained = explaining.explain(target, opened.runtime, _run_id())
        if as_json:
            _print_json(explaining.as_data(explained))
        else:
            explaining.show(explained)


@app.command()
def report(
    run: Annotated[
        str,
        typer.Argument(help="Run id, its last 8 characters, HHMMSS, or a name from --list."),
    ] = "",
    *,
    listed: Annotated[
        bool, typer.Option("--list", help="The newest reports: time, what happened.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """What happened: the newest incident report, or that of a run."""
    from flows.command_line import output  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        git = opened.runtime.git
        git.desired()  # brings the newest reports along
        found = git.report("" if listed else run)
        if listed:
            reports = [git.report(path) for path in found.newest]
            if as_json:
                _print_json(output.reports_data(reports))
            else:
                output.print_reports(reports)
        elif as_json:
            print(found.json_text)  # noqa: T201 - a command line speaks
        else:
            output.print_markdown(found.markdown)


@app.command()
def knowledge(
    name: Annotated[
        str, typer.Argument(metavar="[CLASS]", help="All about one class of incidents.")
    ] = "",
    *,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """What was learned: classes of incidents, what helped, whether it is trusted."""
    from flows.command_line import knowledge as learned  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        git, settings = opened.runtime.git, opened.runtime.config.platform.learning
        git.desired()  # brings the newest knowledge along
        data = learned.knowledge_data(git.reported().knowledge, name, settings.trust_after)
        data = opened.runtime.redactor.data(data)
        if as_json:
            _print_json(data)
        else:
            learned.show(data, one=bool(name))


@app.command()
def operations(
    config: ConfigOption = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Only what it can.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The universal operations: risk, parameters, and where each can be done."""
    from flows.command_line import operations as catalogue  # noqa: PLC0415 - see the module

    listed = catalogue.listing(_load(config, stateless=True), environment)
    if as_json:
        _print_json(listed.data)
    else:
        catalogue.show(listed)


@app.command()
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
    """Print the Kubernetes roles that the enabled operations take, for kubectl apply.

    On the kinds that desired state uses, and those that the connection names.
    """
    from flows.command_line import rbac as roles  # noqa: PLC0415 - see the module
    from flows.command_line.import_files import the_environment  # noqa: PLC0415 - as above

    loaded = _load(config, state)
    roles.show(loaded, the_environment(loaded, environment, "kubernetes"), account)


@app.command("run")
def run_operation(
    operation: Annotated[str, typer.Argument(help="A universal operation: see uici operations.")],
    target: Annotated[str, typer.Argument(help="environment/name, or a name that is unique.")],
    *,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="Repeatable.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one operation on one target, through the guard, with a commit before it.

    Exit code 0: done and verified, 2: not allowed or not recovered, 1: error.
    """
    from flows.command_line import manual, output  # noqa: PLC0415 - see the module
    from flows.log_listener import LogListener  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        asked = manual.Asked(operation, target, manual.parameters(param or []))
        done = manual.run(asked, opened.runtime, LogListener(), run_id=_run_id())
        if done.report is not None:
            _show_report(done.report, opened.runtime.redactor, as_json=as_json)
            raise typer.Exit(_exit_code(done.report))
        assert done.outcome is not None  # noqa: S101  # without a report there is an answer
        data = opened.runtime.redactor.data(output.outcome_data(done.outcome))
        if as_json:
            _print_json(data)
        else:
            output.print_outcome(data)
        raise typer.Exit(OK if done.succeeded else ERROR)


@app.command()
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
    """Propose another desired state where the same drift recurs, as branches. Asks no engine.

    Exit code 0: done, 1: Git or the forge refused something.
    """
    from flows.command_line import propose as proposals  # noqa: PLC0415 - see the module
    from flows.proposals.result import Writing  # noqa: PLC0415 - see the module

    writing = Writing.DRY_RUN if dry_run else Writing.FOR_REAL
    with _loop(config, state) as opened:
        request = _request(None, [target] if target else None, None)
        found = proposals.run(request, opened.runtime, writing)
        if as_json:
            _print_json(proposals.as_data(found))
        else:
            proposals.show(found)
    raise typer.Exit(ERROR if proposals.failed(found) else OK)


@app.command()
def approve(
    request: Annotated[
        str, typer.Argument(metavar="[ID]", help="Of a request; empty: show what waits.")
    ] = "",
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who ask.")] = "",
    renew: Annotated[
        bool, typer.Option("--renew", help="Have it asked again; approves nothing.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what waits for a person, or approve exactly one plan, once.

    Exit code 0: done, 1: it can't be approved (any more): nothing was decided.
    """
    from flows.approvals.decision import Answer  # noqa: PLC0415 - see the module
    from flows.command_line import approve as approvals  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        if not request:
            if renew:
                approvals.require_id(request, "uici approve --renew")
            shown = approvals.listing(opened.runtime)
            if as_json:
                _print_json(approvals.as_data(shown))
            else:
                approvals.show(shown, opened.runtime.clock.now())
            return
        answer = Answer.RENEW if renew else Answer.APPROVE
        _decide(opened.runtime, request, approvals.said(answer, reason), as_json=as_json)


@app.command()
def reject(
    request: Annotated[str, typer.Argument(metavar="ID", help="Of a request: see uici approve.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who ask.")] = "",
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say no to a plan that waits; outweighs every yes that was not used yet."""
    from flows.approvals.decision import Answer  # noqa: PLC0415 - see the module
    from flows.command_line import approve as approvals  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        said = approvals.said(Answer.REJECT, reason)
        _decide(opened.runtime, request, said, as_json=as_json)


@app.command()
def pause(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for everybody who wonders.")],
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="2h, or 2026-12-01T06:00:00Z; else open."),
    ] = None,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Stop all actions, not observation: every agent on this state repository."""
    from flows.command_line import pause as switch  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        asked = switch.Asked(reason, until, environment or [])
        print(_printable(switch.pause(asked, opened.runtime)))  # noqa: T201 - a command line speaks


@app.command()
def resume(
    *,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """End what uici pause began."""
    from flows.command_line import pause as switch  # noqa: PLC0415 - see the module

    with _loop(config, state) as opened:
        print(_printable(switch.resume(opened.runtime, environment or [])))  # noqa: T201 - a command line speaks


@app.command()
def doctor(
    config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Check everything that UICI lives on, and say how to mend it. Exit code 0: all well."""
    from flows.command_line import doctor as diagnosis  # noqa: PLC0415 - see the module

    findings = diagnosis.examine(_load(config, state))
    if as_json:
        _print_json(diagnosis.as_data(findings))
    else:
        diagnosis.show(findings)
    raise typer.Exit(OK if diagnosis.well(findings) else ERROR)


@app.command()
def serve(config: ConfigOption = None, state: StateOption = None) -> None:
    """Run the loop on its schedule until asked to end (SIGTERM, Ctrl-C)."""
    from flows.serve import serve as run  # noqa: PLC0415 - see the module

    raise typer.Exit(run(_load(config, state)))


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything up and print the addresses.")
    ] = False,
) -> None:
    """Show the whole loop on a scratch stack: five incidents, healed or left alone."""
    from flows.demo import run_demo  # noqa: PLC0415 - see the module

    raise typer.Exit(run_demo(keep=keep))


def _decide(runtime: Any, request: str, said: Any, *, as_json: bool) -> None:
    from flows.command_line import approve as approvals  # noqa: PLC0415 - see the module

    told = approvals.decide(runtime, request, said)
    if as_json:
        _print_json(approvals.as_data(approvals.listing(runtime, request)))
    else:
        print(_printable(told))  # noqa: T201 - a command line speaks


def _watch(look: Any, every: float, *, alone: bool) -> None:
    from flows.command_line.watch import watch  # noqa: PLC0415 - see the module

    if not alone:
        raise typer.BadParameter("--watch is for people: without --json and --markdown")
    watch(look, every=every)


def _style(annotate: str | None) -> Any:
    from flows.command_line.pull_request import Style  # noqa: PLC0415 - see the module

    if annotate is not None and annotate not in list(Style):
        raise typer.BadParameter(f"--annotate is one of {', '.join(Style)}, not {annotate}")
    return Style(annotate) if annotate is not None else None


@contextlib.contextmanager
def _loop(config: Path | None, state: str | None, branch: str | None = None) -> Iterator[Any]:
    from flows.command_line.session import open_session  # noqa: PLC0415 - see the module

    with open_session(_load(config, state, branch)) as session:
        yield session


def _load(
    config: Path | None,
    state: str | None = None,
    branch: str | None = None,
    *,
    stateless: bool = False,
) -> UniversalConfig:
    from infrastructure.config_loader import DEFAULT_DIRECTORY, UniversalConfigLoader  # noqa: PLC0415 - see the module

    if config is not None and not config.is_dir():
        _refuse_folder(config)
    loader = UniversalConfigLoader(
        config or DEFAULT_DIRECTORY, state=state, branch=branch, stateless=stateless
    )
    return loader.load()


def _refuse_folder(config: Path) -> None:
    from flows.command_line.validation import require_folder  # noqa: PLC0415 - see the module

    require_folder(config)


def _request(
    environment: list[str] | None, target: list[str] | None, mode: str | None
) -> RunRequest:
    from flows.listener import RunRequest  # noqa: PLC0415 - see the module
    from infrastructure.service import Mode  # noqa: PLC0415 - see the module

    if mode is not None and mode not in list(Mode):
        raise typer.BadParameter(f"mode is one of {', '.join(Mode)}, not {mode}")
    return RunRequest(
        environments=tuple(environment) if environment else None,
        targets=tuple(target) if target else None,
        mode=Mode(mode) if mode else None,
        run_id=_run_id(),
    )


def _run_id() -> str:
    return str(uuid.uuid4())


def _show_report(report: RunReport, redactor: Any, *, as_json: bool) -> None:
    from flows.command_line import output  # noqa: PLC0415 - see the module
    from flows.report import render_markdown, report_to_dict  # noqa: PLC0415 - see the module

    if as_json:
        _print_json(redactor.data(report_to_dict(report, redactor.data)))
    else:
        output.print_markdown(render_markdown(report, redactor.text))


def _exit_code(report: RunReport) -> int:
    from flows.report import RunResult  # noqa: PLC0415 - see the module

    codes = {RunResult.CONVERGED: OK, RunResult.DRIFT_REMAINS: DRIFT, RunResult.ERROR: ERROR}
    return ERROR if _only_unseen(report) else codes[report.result]


def _preview_code(seen: Preview) -> int:
    """An older commit in the newest's place says nothing about what was asked."""
    from flows.command_line.output import unseen  # noqa: PLC0415 - see the module

    if seen.desired.refused_revision is not None:
        return ERROR
    if seen.differs:
        return DRIFT
    return OK if seen.of_newest and not unseen(seen) else ERROR


def _only_unseen(report: RunReport) -> bool:
    """Nothing is known to differ, and not everything could be seen: as in `uici plan`."""
    from flows.comparison.drift import HealthStatus  # noqa: PLC0415 - see the module
    from infrastructure.drift_kinds import DriftKind  # noqa: PLC0415 - see the module

    seen, desired = report.comparison, report.desired
    drifts = (*seen.drifts, *seen.pending)
    if any(drift.kind is not DriftKind.ORPHAN for drift in drifts) or report.incidents:
        return False
    if desired.refused_revision is not None or desired.stale is not None:
        return False
    return any(state.health is HealthStatus.UNKNOWN for state in seen.states.values())


def _print_json(data: Any) -> None:
    text = json.dumps(data, ensure_ascii=False, indent=2)
    if not text.replace("\n", "").isprintable():
        # What a terminal would act upon, as JSON spells it.
        kept = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
        text = "".join(kept)
    print(text)  # noqa: T201 - a command line speaks


if __name__ == "__main__":
    main()
