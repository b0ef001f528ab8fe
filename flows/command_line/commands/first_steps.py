"""Before the loop runs: `uici init`, `validate`, `doctor`, `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.commands.completing import modes
from flows.command_line.commands.opening import load
from flows.command_line.commands.options import (
    ERROR,
    OK,
    ConfigOption,
    JsonOption,
    StateOption,
)
from flows.command_line.terminal import complain, print_json, say

if TYPE_CHECKING:
    from flows.command_line.annotations import Style


def initialize(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    mode: Annotated[
        str,
        typer.Option(
            help="What it may do at first: observe, propose or enforce.", autocompletion=modes
        ),
    ] = "observe",
) -> None:
    """Write configuration and state repository for this machine.

    It finds what runs here: containers, Prometheus, Alertmanager. Exit code 0: written, 1: not.
    """
    from flows.command_line import init as beginning  # noqa: PLC0415 - see flows.cli
    from infrastructure.service import Mode  # noqa: PLC0415 - as above

    if mode not in list(Mode):
        raise typer.BadParameter(f"mode is one of {', '.join(Mode)}, not {mode}")
    made = beginning.init(folder, mode=Mode(mode), around=beginning.look_around())
    for line in beginning.sentences(made, folder, Mode(mode)):
        say(line)


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
    """Check configuration and a folder of desired state.

    Tells every mistake at once: file, line, and what to write. Exit code 0: valid, 1: not.
    """
    from flows.command_line import validation  # noqa: PLC0415 - see flows.cli

    style = _style(annotate)
    problems, count, remarks = validation.validate(path, config)
    if style is not None:
        from flows.command_line.annotations import annotated, placed  # noqa: PLC0415 - as above

        print(annotated(style, placed(problems, path), placed(remarks, path)))  # noqa: T201 - of several lines
    elif as_json:
        print_json(validation.as_data(problems, count, remarks))
    else:
        for remark in remarks:
            complain(f"warning: {remark}")
        for problem in problems:
            complain(f"error: {problem}")
        if not problems:
            say(f"valid: configuration and {count} service{'' if count == 1 else 's'}")
    raise typer.Exit(ERROR if problems else OK)


def doctor(
    config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Check everything that UICI lives on; say how to mend it.

    Changes nothing. Exit code 0: all well, or warnings only; 1: something is broken.
    """
    from flows.command_line import doctor as diagnosis  # noqa: PLC0415 - see flows.cli

    findings = diagnosis.examine(load(config, state, stateless=True))  # it tells what is missing
    if as_json:
        print_json(diagnosis.as_data(findings))
    else:
        diagnosis.show(findings)
    raise typer.Exit(OK if diagnosis.well(findings) else ERROR)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything up and print the addresses.")
    ] = False,
) -> None:
    """Show the whole loop on a scratch stack.

    Five incidents, healed or left alone. Exit code 0: as it should be, 1: not.
    """
    from flows.demo import run_demo  # noqa: PLC0415 - see flows.cli

    raise typer.Exit(run_demo(keep=keep))


def _style(annotate: str | None) -> Style | None:
    from flows.command_line.annotations import Style  # noqa: PLC0415 - see flows.cli

    if annotate is not None and annotate not in list(Style):
        raise typer.BadParameter(f"--annotate is one of {', '.join(Style)}, not {annotate}")
    return Style(annotate) if annotate is not None else None
