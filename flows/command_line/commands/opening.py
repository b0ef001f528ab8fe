"""From options to what a command works with: configuration, an open session, a request."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.command_line.hints import remember

if TYPE_CHECKING:
    from flows.command_line.session import Session
    from flows.listener import RunRequest
    from infrastructure.config_loader import UniversalConfig


@contextlib.contextmanager
def opened(
    config: Path | None, state: str | None, branch: str | None = None, *, verbose: bool = False
) -> Iterator[Session]:
    """A session on the configuration; closed at the end.

    Raises:
        UiciError: the configuration is not valid, or the runtime can't be opened.
    """
    from flows.command_line.session import open_session  # noqa: PLC0415 - see flows.cli

    with open_session(load(config, state, branch), verbose=verbose) as session:
        yield session


def load(
    config: Path | None,
    state: str | None = None,
    branch: str | None = None,
    *,
    stateless: bool = False,
    quiet: bool = False,
) -> UniversalConfig:
    """The configuration of a folder; None: the shipped one, which is said unless `quiet`.

    Raises:
        UiciError: there is no such folder, or what it holds is not valid.
    """
    from infrastructure.config_loader import (  # noqa: PLC0415 - see flows.cli
        DEFAULT_DIRECTORY,
        UniversalConfigLoader,
    )

    remember(config, state)
    # Scripts in the checkout know; a person in it may have come from the tutorial.
    told = sys.stderr.isatty() or not _in_checkout(DEFAULT_DIRECTORY)
    if config is None and told and not quiet:
        _tell_shipped(DEFAULT_DIRECTORY)
    if config is not None and not (config / "platform.yml").is_file():
        _refuse_folder(config)
    loader = UniversalConfigLoader(
        config or DEFAULT_DIRECTORY, state=state, branch=branch, stateless=stateless
    )
    return loader.load()


def _in_checkout(shipped: Path) -> bool:
    """Whether the person works in UICI's own checkout, whose configuration this is."""
    root = shipped.parent.parent
    return (root / "pyproject.toml").is_file() and Path.cwd().is_relative_to(root)


def _tell_shipped(shipped: Path) -> None:
    from flows.command_line.terminal import complain  # noqa: PLC0415 - see flows.cli

    here = "config" if Path("config", "platform.yml").is_file() else "DIR"
    complain(
        f"note: without --config {here} (or UICI_CONFIG) this is about the shipped configuration,"
        f" the demo's: {shipped}"
    )


def _refuse_folder(config: Path) -> None:
    from flows.command_line.validation import require_folder  # noqa: PLC0415 - see flows.cli

    require_folder(config)


def requested(
    environment: list[str] | None, target: list[str] | None, mode: str | None = None
) -> RunRequest:
    """What a run is asked to look at; nothing named: everything.

    Raises:
        typer.BadParameter: no such mode.
    """
    from flows.listener import RunRequest  # noqa: PLC0415 - see flows.cli
    from infrastructure.service import Mode  # noqa: PLC0415 - as above

    if mode is not None and mode not in list(Mode):
        raise typer.BadParameter(f"mode is one of {', '.join(Mode)}, not {mode}")
    return RunRequest(
        environments=tuple(environment) if environment else None,
        targets=tuple(target) if target else None,
        mode=Mode(mode) if mode else None,
        run_id=new_run_id(),
    )


def new_run_id() -> str:
    """An id for a run that begins now."""
    return str(uuid.uuid4())
