"""How the words are taken, and how `--help` teaches.

Words that fit no command are answered with the way to write what was meant.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.command_line.commands.examples import EXAMPLES
from flows.command_line.commands.opening import load

# Wider lines have what they do below them.
_EXAMPLE_WIDTH = 46
_SHORTEST, _LONGEST = 0.5, 86400.0  # seconds


class Commands(TyperGroup):
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

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as overridden
        """The first steps."""
        _teach("", formatter)


class Taught(TyperCommand):
    """A command whose help ends with examples."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Lines to copy."""
        # Typer's own name may be several words: `python -m flows.cli`.
        _teach(ctx.command_path.removeprefix(ctx.find_root().command_path).strip(), formatter)


class OfTargets(Taught):
    """A command about all targets or some, which are named by an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As usual.

        Raises:
            PermanentError: a target is named without its option.
        """
        from infrastructure.errors import PermanentError  # noqa: PLC0415 - see flows.cli

        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            wanted = " ".join(f"-t {word}" for word in ctx.args)
            raise PermanentError(f"{self.name} takes no {' '.join(ctx.args)}: write {wanted}")
        return rest


def seconds(text: str) -> float:
    """How often to look again: a number of seconds, or a duration as the configuration has them.

    Raises:
        typer.BadParameter: it is neither, or too short.
    """
    from infrastructure.quantities import parse_duration  # noqa: PLC0415 - see flows.cli

    try:
        found = float(text)
    except ValueError:
        try:
            found = parse_duration(text).total_seconds()
        except ValueError:
            raise typer.BadParameter(
                f"{text} is no time: say how often, such as --watch 5 or --watch 1m"
            ) from None
    if not _SHORTEST <= found <= _LONGEST:  # no number is neither
        raise typer.BadParameter(f"{text} is not within half a second and a day")
    return found


def _teach(command: str, formatter: Any) -> None:
    with formatter.section("Examples"):
        formatter.write_dl(EXAMPLES[command], col_max=_EXAMPLE_WIDTH)


def _refuse_operation(word: str, rest: list[str]) -> None:
    from infrastructure.errors import PermanentError, UiciError  # noqa: PLC0415 - see flows.cli

    try:
        known = word in load(None, quiet=True).operations.operations
    except UiciError:  # the shipped configuration is not what the person asked about
        known = False
    if known:
        wanted = " ".join(["uici run", word, *(rest or ["TARGET"])])
        raise PermanentError(f"{word} is an operation, not a command: {wanted}")
