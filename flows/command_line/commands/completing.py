"""What a shell offers for a value: names of the configuration that the line so far names.

A configuration that can't be read offers nothing; the command itself says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.command_line.commands.opening import load

if TYPE_CHECKING:
    from infrastructure.config_loader import UniversalConfig


def environments(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of environments.yml."""
    config = _configuration(ctx)
    return _beginning(incomplete, config.environments.environments if config else ())


def operations(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of operations.yml."""
    config = _configuration(ctx)
    return _beginning(incomplete, config.operations.operations if config else ())


def modes(incomplete: str) -> list[str]:
    """What a run may do at most."""
    from infrastructure.service import Mode  # noqa: PLC0415 - see flows.cli

    return _beginning(incomplete, Mode)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [str(name) for name in names if name.startswith(incomplete)]


def _configuration(ctx: typer.Context) -> UniversalConfig | None:
    from infrastructure.errors import UiciError  # noqa: PLC0415 - see flows.cli

    folder = ctx.params.get("config")
    try:
        return load(Path(folder) if folder else None, stateless=True, quiet=True)
    except UiciError:
        return None
