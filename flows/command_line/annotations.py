"""Mistakes of desired state at their lines, as a forge shows them on a pull request.

`uici validate --annotate` prints them. Neighbour: `flows.command_line.pull_request`, the
comment. Apart from it because a validation must not wait for the imports of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from flows.command_line.terminal import printable
from infrastructure.errors import Problem


class Style(StrEnum):
    """How a forge wants to be told of a mistake in a file."""

    GITHUB = "github"  # workflow commands; Gitea and Forgejo show them in the log
    GITLAB = "gitlab"  # a Code Quality report


def placed(problems: Iterable[Problem], folder: Path | None) -> tuple[Problem, ...]:
    """The same with their files as seen from here, which is where a pipeline has its clone.

    Args:
        problems: files of `folder` are named by their path in it.
        folder: of desired state; None: the seed's.
    """
    return tuple(replace(problem, file=_from_here(problem.file, folder)) for problem in problems)


def _from_here(file: str, folder: Path | None) -> str:
    path = Path(file) if folder is None or not (folder / file).is_file() else folder / file
    here = Path.cwd()
    # Of a link the name is the mistake's place, and not what it leads to.
    if path.is_absolute() or path.is_symlink() or path.exists():
        path = path.parent.resolve() / path.name
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def annotated(style: Style, problems: Sequence[Problem], remarks: Sequence[Problem]) -> str:
    """All mistakes and remarks, as the forge reads them. Ends without a line break.

    Sources: GitHub's workflow commands; GitLab's Code Quality report format.
    """
    if style is Style.GITLAB:
        told = [_issue(p, "major") for p in problems] + [_issue(r, "info") for r in remarks]
        return json.dumps(told, indent=1)  # in letters that every pipe takes, odd names included
    lines = [_command("error", p) for p in problems] + [_command("warning", r) for r in remarks]
    return "\n".join(lines)


def _command(level: str, problem: Problem) -> str:
    place = f"file={_property(problem.file)}"
    if problem.line:
        place += f",line={problem.line},col={problem.column or 1}"
    return f"::{level} {place},title=uici validate::{_data(_sentence(problem))}"


def _data(text: str) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return printable(text)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _issue(problem: Problem, severity: str) -> dict[str, Any]:
    return {
        "description": _sentence(problem),
        "check_name": "uici validate",
        "fingerprint": hashlib.sha256(str(problem).encode(errors="surrogateescape")).hexdigest(),
        "severity": severity,
        "location": {"path": problem.file, "lines": {"begin": max(problem.line, 1)}},
    }


def _sentence(problem: Problem) -> str:
    return problem.message + (f" ({problem.remedy})" if problem.remedy else "")
