"""What a shell offers for a value: names of the configuration that the line so far names.

A configuration that can't be read offers nothing; the command itself says what is wrong.
"""

from __future__ import annotations

import subprocess
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


def targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Targets that a run has told of: by their names, or their inventory ids after `name/`."""
    from infrastructure.errors import UiciError  # noqa: PLC0415 - see flows.cli

    config = _configuration(ctx)
    try:
        known = [] if config is None else sorted(_told_of(config))
    except (UiciError, OSError):  # an address that is none, no Git
        known = []
    ids = _beginning(incomplete, known)
    if "/" in incomplete:
        return ids
    names = [target.rpartition("/")[2] for target in known]
    return _beginning(incomplete, [n for n in names if names.count(n) == 1]) or ids


def _told_of(config: UniversalConfig) -> Iterable[str]:
    """As the clone has it: nothing is fetched for a word."""
    from flows.reporting.status import STATUS_FOLDER  # noqa: PLC0415 - see flows.cli
    from flows.repository.creation import clone_path, embedded_path  # noqa: PLC0415 - as above
    from flows.repository.remote import resolve_remote  # noqa: PLC0415 - as above

    git, data = config.platform.git, config.data_directory
    clone = clone_path(data, resolve_remote(git.remote or str(embedded_path(data))))
    words = ["git", "--git-dir", str(clone)]
    words += ["ls-tree", "-r", "--name-only", f"refs/heads/{git.reports_branch}", STATUS_FOLDER]
    done = subprocess.run(  # noqa: S603 - an argument list of our own, no shell
        words, capture_output=True, text=True, check=False
    )
    paths = (path.removeprefix(f"{STATUS_FOLDER}/") for path in done.stdout.splitlines())
    return (path.removesuffix(".json") for path in paths)


def modes(incomplete: str) -> list[str]:
    """What a run may do at most."""
    from infrastructure.service import Mode  # noqa: PLC0415 - see flows.cli

    return _beginning(incomplete, Mode)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [str(name) for name in names if name.startswith(incomplete)]


def _configuration(ctx: typer.Context) -> UniversalConfig | None:
    from infrastructure.errors import UiciError  # noqa: PLC0415 - see flows.cli

    folder, state = ctx.params.get("config"), ctx.params.get("state")
    try:
        return load(Path(folder) if folder else None, state, stateless=not state, quiet=True)
    except UiciError:
        return None
