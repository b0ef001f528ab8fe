"""`uici notifications`: Prefect's blocks and automations, as platform.yml wants them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.commands.opening import load
from flows.command_line.commands.options import ConfigOption, JsonOption
from flows.command_line.commands.parsing import Taught
from flows.command_line.hints import here
from flows.command_line.terminal import print_json, say

notifications_app = typer.Typer(
    name="notifications",
    help="Have Prefect tell people what they have to know.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@notifications_app.command(cls=Taught)
def apply(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make, update and remove what `notifications` in platform.yml says, in Prefect.

    Needs the Prefect server to run (`uici serve`). May be repeated: what is as it should be
    stays, and what people have made is not touched. Exit code 0: done, 1: it could not be.
    """
    from flows.command_line import notifications  # noqa: PLC0415 - see flows.cli

    done = notifications.apply(load(config), for_real=not dry_run)
    if as_json:
        print_json(notifications.as_data(done))
        return
    for line in notifications.lines(done, for_real=not dry_run):
        say(here(line))
