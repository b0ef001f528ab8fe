"""A printed next step, so that it asks the installation that this command has asked.

`uici explain web --config ops/config` that ends in `uici approve 3f2a` would send a person to
the shipped configuration, which answers too, and wrongly. What is committed or sent names no
folder of this machine; it is completed only where a terminal shows it. Neighbours:
`flows.command_line.commands.opening` (remembers the options), all that prints a hint.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
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

_OURS: Final = re.compile(
    r"\buici (?:(?:approve(?: --renew)?|reject) [0-9a-f]{12}\b|resume ends it)"
)
_FENCE: Final = re.compile(r"\s*(`{3,}|~{3,})")
_SPAN: Final = re.compile(r"(?<![`\\])`uici [^`]*`(?!`)")


class _Called:
    """The options of this process's command line that choose an installation."""

    config: str = ""
    state: str = ""


def remember(config: Path | None, state: str | None) -> None:
    """Take note of what the person has given; None: nothing, so that hints stay short.

    What UICI_CONFIG says need not be said: whoever types the hint has it, too.
    """
    found = "" if config is None or str(config) == os.environ.get("UICI_CONFIG") else str(config)
    _Called.config = "" if config is None or _is_shipped(config) else found
    # Who has typed a password knows it; a log that keeps what is printed need not.
    _Called.state = _PASSWORD.sub("//…@", state or "")


def here(text: str) -> str:
    """The text, with the options of this call in every command of it. For terminals only."""
    if not (_Called.config or _Called.state):
        return text
    return _COMMAND.sub(lambda found: found[0] + _options(found[1]), text)


def in_others_words(text: str) -> str:
    """The same for a text that holds what others wrote, such as a reason or a service's answer.

    Of it only those commands are completed that nobody but UICI writes so.
    """
    return _OURS.sub(lambda found: here(found[0]), text)


def in_report(markdown: str) -> str:
    """The same for a report, in a terminal or a pipe: of its own commands, which are code.

    What a service said stands in fences or has its backticks escaped. Of sentences those
    commands are completed that nobody but UICI writes so.
    """
    return outside_fences(
        markdown, lambda line: in_others_words(_SPAN.sub(lambda found: here(found[0]), line))
    )


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """A document with every line changed that is not in a fenced block."""
    fence, lines = "", []
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        lines.append(line if mark or fence else change(line))
    return "\n".join(lines)


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
