"""Which environments are here: the rules of environments.yml, tried in order.

Shown by `uici doctor`. Reads the disk and environment variables; addresses are asked by
who calls, so that this layer needs no HTTP client.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from infrastructure.config_models import DetectionRule, Environment


class Detection(NamedTuple):
    """One environment. `why` is the sign that was found, or the signs that were not."""

    environment: str
    found: bool
    why: str


def detect(
    environments: Mapping[str, Environment],
    *,
    answers: Callable[[str], bool],
    environ: Mapping[str, str] = os.environ,
) -> list[Detection]:
    """Every environment with whether it is here, in the order of the file.

    Args:
        environments: of environments.yml. One without rules is taken to be here.
        answers: whether an address answers, quickly; called only when no earlier sign of
            the same environment was found.
        environ: environment variables.
    """
    return [
        _detect(name, environment.detect, answers=answers, environ=environ)
        for name, environment in environments.items()
    ]


def _detect(
    name: str,
    rules: tuple[DetectionRule, ...],
    *,
    answers: Callable[[str], bool],
    environ: Mapping[str, str],
) -> Detection:
    if not rules:
        return Detection(name, found=True, why="no rules: taken to be here")
    missing = []
    for rule in rules:
        found, sign = _look(rule, answers=answers, environ=environ)
        if found:
            return Detection(name, found=True, why=sign)
        missing.append(sign)
    return Detection(name, found=False, why="; ".join(missing))


def _look(
    rule: DetectionRule, *, answers: Callable[[str], bool], environ: Mapping[str, str]
) -> tuple[bool, str]:
    """Whether the sign is there, and a phrase that says so. Values are never shown."""
    if rule.file is not None:
        found = _exists(Path(rule.file).expanduser())
        return found, f"{rule.file} {'exists' if found else 'does not exist'}"
    if rule.env is not None:
        found = bool(environ.get(rule.env))
        return found, f"{rule.env} is {'set' if found else 'not set'}"
    url = rule.url or ""
    found = answers(url)
    return found, f"{url} {'answers' if found else 'does not answer'}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above it can't be entered
        return False
