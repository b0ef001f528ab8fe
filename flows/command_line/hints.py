"""A printed next step, so that it asks the installation that this command has asked.

`uici explain web --config ops/config` that ends in `uici approve 3f2a` would send a person to
the shipped configuration, which answers too, and wrongly. What is committed or sent names no
folder of this machine; it is completed only where a terminal shows it. Neighbours:
`flows.command_line.commands.opening` (remembers the options), all that prints a hint.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

# Those that have `--config`; a test holds them to the commands as they are.
WITH_STATE: Final = (
    "approve",
    "doctor",
    "explain",
    "knowledge",
    "pause",
    "plan",
    "propose",
    "rbac",
    "reconcile",
    "reject",
    "report",
    "resume",
    "run",
    "serve",
    "status",
)
WITHOUT_STATE: Final = (
    "import compose",
    "import docker",
    "import kubernetes",
    "notifications apply",
    "operations",
    "validate",
)
_PASSWORD: Final = re.compile(r"//[^/@\s]+:[^/\s]*@")
_COMMAND: Final = re.compile(rf"\buici ({'|'.join((*WITH_STATE, *WITHOUT_STATE))})(?![\w-])")


class _Called:
    """The options of this process's command line that choose an installation."""

    config: str = ""
    state: str = ""


def remember(config: Path | None, state: str | None) -> None:
    """Take note of what the person has given; None: nothing, so that hints stay short."""
    _Called.config = "" if config is None or _is_shipped(config) else str(config)
    # Who has typed a password knows it; a log that keeps what is printed need not.
    _Called.state = _PASSWORD.sub("//…@", state or "")


def here(text: str) -> str:
    """The text, with the options of this call in every command of it. For terminals only."""
    if not (_Called.config or _Called.state):
        return text
    return _COMMAND.sub(lambda found: found[0] + _options(found[1]), text)


def _options(command: str) -> str:
    given = f" --config {shlex.quote(_Called.config)}" if _Called.config else ""
    if _Called.state and command in WITH_STATE:
        given += f" --state {shlex.quote(_Called.state)}"
    return given


def _is_shipped(config: Path) -> bool:
    """Whether a command finds this folder by itself."""
    from infrastructure.config_loader import DEFAULT_DIRECTORY  # noqa: PLC0415 - see flows.cli

    try:
        return config.samefile(DEFAULT_DIRECTORY)
    except OSError:
        return False
