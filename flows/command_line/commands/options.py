"""Options that several commands have, and the codes that they exit with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.commands.completing import environments, targets
from flows.command_line.commands.parsing import seconds

OK, ERROR, DRIFT, INTERRUPTED = 0, 1, 2, 130

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="DIR",
        envvar="UICI_CONFIG",
        show_envvar=False,
        help="Configuration folder (default: UICI_CONFIG, else the shipped).",
    ),
]
StateOption = Annotated[
    str | None,
    typer.Option("--state", metavar="REPO", help="State repository, in place of git.remote."),
]
EnvironmentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--environment",
        "-e",
        metavar="NAME",
        help="Only this environment; repeatable.",
        autocompletion=environments,
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="NAME",
        help="Only this service; repeatable.",
        autocompletion=targets,
    ),
]
OneTarget = Annotated[
    str,
    typer.Argument(help="environment/name, or a name that is unique.", autocompletion=targets),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; logs on stderr.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="The log's ordinary lines, too.")
]
WatchOption = Annotated[
    float | None,
    typer.Option(
        "--watch",
        "-w",
        metavar="SECONDS",
        parser=seconds,
        help="Again every so often: 5, 30s, 1m.",
    ),
]
