"""A person's words to the loop: `uici approve`, `reject`, `pause`, `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.commands.opening import opened
from flows.command_line.commands.options import (
    ConfigOption,
    EnvironmentOption,
    JsonOption,
    StateOption,
)
from flows.command_line.hints import here
from flows.command_line.terminal import print_json, say

if TYPE_CHECKING:
    from flows.approvals.desk import Said
    from flows.runtime import Runtime


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
    """Show what waits for a person, or approve one plan, once.

    Exit code 0: done, 1: it can't be approved (any more): nothing was decided.
    """
    from flows.approvals.decision import Answer  # noqa: PLC0415 - see flows.cli
    from flows.command_line import approve as approvals  # noqa: PLC0415 - as above

    with opened(config, state) as session:
        if not request:
            if renew:
                approvals.require_id(request, "uici approve --renew")
            shown = approvals.listing(session.runtime)
            if as_json:
                print_json(approvals.as_data(shown))
            else:
                runtime = session.runtime
                approvals.show(
                    shown,
                    runtime.clock.now(),
                    approvals.branches_of(runtime),
                )
            return
        answer = Answer.RENEW if renew else Answer.APPROVE
        _decide(session.runtime, request, approvals.said(answer, reason), as_json=as_json)


def reject(
    request: Annotated[str, typer.Argument(metavar="ID", help="Of a request: see uici approve.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who ask.")] = "",
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say no to a plan that waits.

    It outweighs every yes that was not used yet. Exit code 0: done, 1: it was decided already,
    or there is no such request.
    """
    from flows.approvals.decision import Answer  # noqa: PLC0415 - see flows.cli
    from flows.command_line import approve as approvals  # noqa: PLC0415 - as above

    with opened(config, state) as session:
        said = approvals.said(Answer.REJECT, reason)
        _decide(session.runtime, request, said, as_json=as_json)


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
    """Stop all actions of every agent on this state repository.

    Observation goes on. Exit code 0: paused, 1: error.
    """
    from flows.command_line import pause as switch  # noqa: PLC0415 - see flows.cli

    with opened(config, state) as session:
        asked = switch.Asked(reason, until, environment or [])
        say(switch.pause(asked, session.runtime))


def resume(
    *,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """End what uici pause began.

    Exit code 0: done, 1: error, or nothing was paused.
    """
    from flows.command_line import pause as switch  # noqa: PLC0415 - see flows.cli

    with opened(config, state) as session:
        say(switch.resume(session.runtime, environment or []))


def _decide(runtime: Runtime, request: str, said: Said, *, as_json: bool) -> None:
    from flows.command_line import approve as approvals  # noqa: PLC0415 - see flows.cli

    told = approvals.decide(runtime, request, said)
    if as_json:
        print_json(approvals.as_data(approvals.listing(runtime, request)))
    else:
        say(here(told))
