"""`uici`: the command line. Arguments in, exit codes out; the work is done elsewhere.

The commands stand in flows/command_line/commands, here is their order. Exit codes are a
promise: see each command. Every command imports what it needs when it runs, so that
`uici --help` costs nothing. A user's mistake is one line on stderr each, with the next
step; never a traceback.
"""

from __future__ import annotations

import errno
import gc
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command_line.commands import acting, deciding, first_steps, looking
from flows.command_line.commands.importing import import_app
from flows.command_line.commands.notifying import notifications_app
from flows.command_line.commands.options import ERROR, INTERRUPTED, OK
from flows.command_line.commands.parsing import Commands, OfTargets, Taught
from flows.command_line.hints import here, remember
from flows.command_line.streams import give_up_output, make_ready
from flows.command_line.terminal import complain, print_json

if TYPE_CHECKING:
    from infrastructure.errors import UiciError

# Typer exports only this child of its parser's UsageError.
_USAGE_ERROR: Any = typer.BadParameter.__base__

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

app = typer.Typer(
    name="uici",
    cls=Commands,
    help="Keep services as Git says they should be: observe, compare, plan, guard, execute, "
    "verify, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


# The order of `uici --help`.
app.command("init", cls=Taught)(first_steps.initialize)
app.command(cls=Taught)(first_steps.validate)
app.command(cls=OfTargets)(looking.plan)
app.command(cls=OfTargets)(acting.reconcile)
app.command(cls=OfTargets)(looking.status)
app.command(cls=Taught)(looking.explain)
app.command(cls=Taught)(looking.report)
app.command(cls=Taught)(looking.knowledge)
app.command(cls=Taught)(looking.operations)
app.command(cls=Taught)(looking.rbac)
app.command("run", cls=Taught)(acting.run_operation)
app.command(cls=Taught)(acting.propose)
app.command(cls=Taught)(deciding.approve)
app.command(cls=Taught)(deciding.reject)
app.command(cls=Taught)(deciding.pause)
app.command(cls=Taught)(deciding.resume)
app.command(cls=Taught)(first_steps.doctor)
app.command(cls=Taught)(acting.serve)
app.command(cls=Taught)(first_steps.demo)
app.add_typer(import_app)
app.add_typer(notifications_app)


def main() -> None:
    """The console script."""
    # Configuration and state are many values without cycles: by default the search for
    # cycles is a tenth of what a command on a thousand services costs.
    gc.set_threshold(20_000, 20, 20)
    make_ready()
    signal.signal(signal.SIGTERM, _interrupt)  # what supervisors send: end as on Ctrl-C
    try:
        code = _called()
        sys.stdout.flush()  # a full disk is told here, and not by the interpreter's end
        sys.exit(code)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(ERROR)
    except OSError as exc:
        if exc.filename is not None or exc.errno not in _UNWRITABLE:  # no trouble with the output
            raise
        give_up_output()
        complain(f"error: the output can't be written: {exc.strerror or exc}")
        sys.exit(ERROR)
    finally:
        remember(None, None)  # whoever calls this in a process of their own begins anew


def _called() -> int:
    """The exit code; an error is told by then, as JSON on stdout where that was asked for.

    A line that can't be taken is told on stderr alone: what it asks for is not known.
    """
    from infrastructure.errors import UiciError  # noqa: PLC0415 - see the module

    try:
        return app(standalone_mode=False) or OK
    except _USAGE_ERROR as exc:
        # The parser's own code for a mistyped word is 2, which here means drift.
        exc.show()
        return ERROR
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except UiciError as exc:
        _tell(exc)
        return ERROR


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(error: UiciError) -> None:
    from infrastructure.errors import InvalidInputError  # noqa: PLC0415 - see the module

    problems = error.problems if isinstance(error, InvalidInputError) else ()
    if "--json" in sys.argv:
        told = [str(problem) for problem in problems] or [str(error)]
        print_json({"apiVersion": "uici/v1", "kind": "Error", "errors": told})
    if isinstance(error, InvalidInputError):
        for problem in problems:
            complain(here(f"error: {problem}"))
    else:
        remedy = getattr(error, "remedy", "")
        complain(here(f"error: {error}" + (f" ({remedy})" if remedy else "")))


if __name__ == "__main__":
    main()
