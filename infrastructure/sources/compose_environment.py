"""The environment of a compose service: `env_file`, then `environment`, variables filled in.

A value that the repository does not hold is kept as `Missing`: whether that is a mistake or
a secret is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.errors import InvalidInputError
from infrastructure.sources.compose_file import (
    ComposeProject,
    ComposeService,
    spent_remedy,
    unset_words,
)
from infrastructure.sources.compose_units import switch, text, texts
from infrastructure.sources.draft import Findings, Point
from infrastructure.sources.env_file import Variable, parse_env_file
from infrastructure.sources.tree import resolved
from infrastructure.sources.variables import BudgetSpentError, VariableError, fill, sole_variable

_VARIABLE = 64  # characters that a variable costs beside its text


@dataclass(frozen=True, slots=True)
class Missing:
    """The value is that of a variable which only the shell of a person knows."""

    variable: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable of a container."""

    value: str | Missing
    point: Point


def environment(
    service: ComposeService,
    project: ComposeProject,
    findings: Findings,
    *,
    given: frozenset[str] = frozenset(),
) -> dict[str, Entry]:
    """The service's variables by name; those in `given` are left out and not judged."""
    found: dict[str, Entry] = {}
    try:
        for index, item in enumerate(_files(service.data.get("env_file"))):
            found |= _from_file(item, service.at("env_file", index), project, findings)
        for name, value, point in _written(service, findings):
            if name in given:
                found.pop(name, None)
            elif value is None:
                held = project.variables.get(name)
                found[name] = Entry(Missing(name) if held is None else held, point)
            else:
                entry = _filled(value, point, project, findings)
                if entry is not None:
                    found[name] = entry
    except BudgetSpentError as exc:
        # Said once: it holds for every service that comes after this one, too.
        if not project.overspent:
            findings.refuse([service.point.problem(str(exc), spent_remedy(service.name))])
        project.overspent.append(service.name)
        return {}
    return {name: entry for name, entry in found.items() if name not in given}


def _written(service: ComposeService, findings: Findings) -> list[tuple[str, str | None, Point]]:
    """(name, value as written, place); no value: it is passed on from the shell."""
    written = service.data.get("environment") or {}
    found: list[tuple[str, str | None, Point]] = []
    if isinstance(written, dict):
        for name, value in written.items():
            point = service.at("environment", name)
            try:
                found.append((name, None if value is None else text(value), point))
            except ValueError as exc:
                message = f"{name} of {service.name} can't be read"
                findings.error(point, message, str(exc))
        return found
    for index, item in enumerate(texts(written)):
        name, equals, value = item.partition("=")
        found.append((name, value if equals else None, service.at("environment", index)))
    return found


def _filled(value: str, point: Point, project: ComposeProject, findings: Findings) -> Entry | None:
    alone = sole_variable(value)
    if alone is not None and alone not in project.variables:
        return Entry(Missing(alone), point)
    try:
        filled = fill(value, project.variables, project.budget)
    except BudgetSpentError:
        raise
    except VariableError as exc:
        remedy = "set it in .env beside the file: nothing else is looked at"
        findings.error(point, str(exc), remedy)
        return None
    for name in filled.unset:
        findings.error(point, *unset_words(name))
    return Entry(filled.text, point)


def _files(written: Any) -> list[Mapping[str, Any]]:
    items = written if isinstance(written, list) else [] if written is None else [written]
    return [item if isinstance(item, dict) else {"path": item} for item in items]


def _from_file(
    item: Mapping[str, Any], point: Point, project: ComposeProject, findings: Findings
) -> dict[str, Entry]:
    path = resolved(text(item.get("path")), beside=project.file)
    if path is None:
        message = f"{item.get('path')} is outside of the repository"
        findings.error(point, message, "keep it beside the compose file")
        return {}
    shown = project.words.shown(path)
    if item.get("format") not in (None, "env"):
        findings.error(point, f"the format {item['format']} of {shown} is not read")
        return {}
    if path not in project.env_files:  # many services may name one file
        project.env_files[path] = _parsed(path, project, findings)
    variables = project.env_files[path]
    if variables is None:
        if switch(item.get("required", True)):
            message = f"there is no file {shown}{project.words.where}"
            findings.refuse([point.problem(message, project.words.remedy)])
        return {}
    _charge(variables, project)
    return {
        name: Entry(Missing(name) if variable.value is None else variable.value, variable.point)
        for name, variable in variables.items()
    }


def _parsed(path: str, project: ComposeProject, findings: Findings) -> dict[str, Variable] | None:
    """The variables of a file; None: there is no such file."""
    try:
        content = project.tree.read(path)
    except InvalidInputError as exc:  # it is there, and nothing that is read
        findings.refuse(exc.problems)
        return {}
    if content is None:
        return None
    return parse_env_file(content, file=path, values=project.variables, findings=findings)


def _charge(variables: Mapping[str, Variable], project: ComposeProject) -> None:
    """Each service has all variables of its files for itself."""
    size = sum(len(each.name) + len(each.value or "") for each in variables.values())
    project.env_budget.spend(size + _VARIABLE * len(variables))
