"""What Git says should run, at the head of `uici plan` and `uici status`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from flows.command_line.output import escape
from flows.repository.contract import DesiredState
from infrastructure.errors import Problem


def print_desired(console: Console, desired: DesiredState, redact: Callable[[str], str]) -> None:
    """Its revision, and what is wrong with it. `redact` cuts secrets out of a commit's words."""
    console.print(f"desired  {escape(desired.revision)}")
    if desired.stale:
        console.print(f"[yellow]stale[/]    {escape(desired.stale)}")
    if desired.refused_revision:
        console.print(f"[red]refused[/]  {escape(redact(desired.refused))}")
    for problem in desired.problems:
        console.print(f"         {escape(str(problem))}")


def desired_data(desired: DesiredState) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "revision": desired.revision,
        "services": len(desired.services),
        "stale": desired.stale,
        "refusedRevision": desired.refused_revision,
        "problems": [_problem_data(problem) for problem in desired.problems],
    }


def _problem_data(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "remedy": problem.remedy,
    }
