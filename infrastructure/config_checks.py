"""What has to fit between the configuration files, beyond each file's own shape.

Every rule is a function from the parts to problems. A rule runs when the files that it
needs have their shape, so one broken file hides no mistake of another. Neighbour:
`infrastructure.config_loader` makes the parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from infrastructure.config_models import (
    Agents,
    CommandTranslations,
    Environments,
    HttpSource,
    Operation,
    Operations,
    Platform,
    Runbooks,
)
from infrastructure.config_paths import absolute
from infrastructure.errors import Problem
from infrastructure.model_problems import field_path, suggestion
from infrastructure.operations import Risk
from infrastructure.parameter_schemas import Mistake, schema_mistakes, value_mistakes
from infrastructure.service import Document
from infrastructure.yaml_source import Location, YamlDocument

_Part = TypeVar("_Part", bound=Document)

_PLATFORM = "platform"  # the provider of command_translations.yml that is no executor


@dataclass(frozen=True, slots=True)
class ConfigParts:
    """The files that have their shape, and where everything in them stands."""

    models: Mapping[type[Document], Any]
    documents: Mapping[type[Document], YamlDocument]
    directory: Path
    stateless: bool = False  # whether no state repository will be opened

    def part(self, model: type[_Part]) -> _Part:
        """The file that has this model."""
        part: _Part = self.models[model]
        return part

    def problem(
        self,
        model: type[Document],
        location: Location,
        message: str,
        remedy: str = "",
        *,
        of_key: bool = False,
    ) -> Problem:
        """A mistake at a place of the file that has this model."""
        text = f"{field_path(location)} {message}"
        return self.documents[model].problem(location, text, remedy, of_key=of_key)


def cross_file_problems(parts: ConfigParts) -> list[Problem]:
    """Every mistake that more than one file, or the disk, is needed to see."""
    return [
        problem
        for needs, rule in _RULES
        if all(model in parts.models for model in needs)
        for problem in rule(parts)
    ]


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def _unknown(
    parts: ConfigParts, model: type[Document], location: Location, *, known: Iterable[str]
) -> Problem:
    """A reference to something that another file does not have."""
    name = str(location[-1])
    return parts.problem(model, location, "exists nowhere", suggestion(name, known), of_key=True)


# ── platform.yml ────────────────────────────────────────────────────────────────


def _agent_exists(parts: ConfigParts) -> Iterator[Problem]:
    name, known = parts.part(Platform).agent, parts.part(Agents).agents
    if name not in known:
        message = f"names {name}, which agents.yml does not have"
        yield parts.problem(Platform, ("agent",), message, suggestion(name, known))


def _git_is_usable(parts: ConfigParts) -> Iterator[Problem]:
    git = parts.part(Platform).git
    wanted = git.remote is None and not parts.stateless
    if wanted and not (parts.directory / git.seed).is_dir():
        message = f"is {git.seed}, and there is no such folder beside platform.yml"
        remedy = "correct the path, or set git.remote to a repository"
        yield parts.problem(Platform, ("git", "seed"), message, remedy)
    if git.branch == git.reports_branch:
        message = "is also git.branch: reports must not stand among desired state"
        remedy = "name another branch, such as uici/reports"
        yield parts.problem(Platform, ("git", "reportsBranch"), message, remedy)


def _policy_is_ordered(parts: ConfigParts) -> Iterator[Problem]:
    policy = parts.part(Platform).guard.policy
    if policy.approve_up_to.rank < policy.allow_up_to.rank:
        message = f"is {policy.approve_up_to}, less than allowUpTo, which needs no approval"
        remedy = f"write {policy.allow_up_to} or more"
        yield parts.problem(Platform, ("guard", "policy", "approveUpTo"), message, remedy)


def _embedded_server_has_one_address(parts: ConfigParts) -> Iterator[Problem]:
    prefect = parts.part(Platform).prefect
    address = urlsplit(prefect.api_url)
    if prefect.server.mode == "embedded" and address.port != prefect.server.port:
        message = f"has another port than the embedded server, {prefect.server.port}"
        remedy = "write the same port in both, or set prefect.server.mode to external"
        yield parts.problem(Platform, ("prefect", "apiUrl"), message, remedy)


def _always_approve_exists(parts: ConfigParts) -> Iterator[Problem]:
    operations = parts.part(Operations).operations
    for number, name in enumerate(parts.part(Platform).guard.always_approve):
        if name not in operations:
            message = f"names {name}, which operations.yml does not have"
            location = ("guard", "alwaysApprove", number)
            yield parts.problem(Platform, location, message, suggestion(name, operations))


# ── agents.yml ──────────────────────────────────────────────────────────────────


def _prompts_exist(parts: ConfigParts) -> Iterator[Problem]:
    for name, agent in parts.part(Agents).agents.items():
        if not (parts.directory / agent.llm.prompt).is_file():
            message = f"is {agent.llm.prompt}, and there is no such file beside agents.yml"
            location = ("agents", name, "llm", "prompt")
            yield parts.problem(Agents, location, message, "create the file, or correct the path")


def _one_set_of_identity_labels(parts: ConfigParts) -> Iterator[Problem]:
    """All agents protect each other: an object with *all* labels is one of them."""
    first: tuple[str, dict[str, str]] | None = None
    for name, agent in parts.part(Agents).agents.items():
        labels = agent.identity.labels
        if labels and first is None:
            first = (name, labels)
        elif labels and first is not None and labels != first[1]:
            message = f"differs from {first[0]}'s: together they would protect neither"
            remedy = "give every agent the same identity labels"
            location = ("agents", name, "identity", "labels")
            yield parts.problem(Agents, location, message, remedy, of_key=True)


# ── environments.yml ────────────────────────────────────────────────────────────


def _executors_are_translated(parts: ConfigParts) -> Iterator[Problem]:
    known = [n for n in parts.part(CommandTranslations).translations if n != _PLATFORM]
    for name, environment in parts.part(Environments).environments.items():
        if environment.executor not in known:
            message = f"is {environment.executor}, which command_translations.yml does not have"
            location = ("environments", name, "executor")
            remedy = suggestion(environment.executor, known)
            yield parts.problem(Environments, location, message, remedy)


def _tls_files_exist(parts: ConfigParts) -> Iterator[Problem]:
    for name, environment in parts.part(Environments).environments.items():
        sources: dict[str, tuple[HttpSource, ...]] = {
            "prometheus": environment.prometheus,
            "alertmanager": environment.alertmanager,
        }
        for kind, several in sources.items():
            for number, source in enumerate(several):
                location = ("environments", name, kind, number, "tls")
                yield from _tls_problems(parts, location, source)


def _tls_problems(parts: ConfigParts, location: Location, source: HttpSource) -> Iterator[Problem]:
    if source.tls is None:
        return
    files = {
        "caFile": source.tls.ca_file,
        "certFile": source.tls.cert_file,
        "keyFile": source.tls.key_file,
    }
    for field, file in files.items():
        if file is not None and not Path(absolute(file, parts.directory)).is_file():
            message, remedy = f"is {file}, and there is no such file", "correct the path"
            yield parts.problem(Environments, (*location, field), message, remedy)
    if (source.tls.cert_file is None) != (source.tls.key_file is None):
        message = "has only one of certFile and keyFile"
        yield parts.problem(Environments, location, message, "give both or neither", of_key=True)


# ── operations.yml ──────────────────────────────────────────────────────────────


def _parameters_are_schemas(parts: ConfigParts) -> Iterator[Problem]:
    for name, operation in parts.part(Operations).operations.items():
        base = ("operations", name, "parameters")
        for mistake in schema_mistakes(operation.parameters):
            yield _at(parts, Operations, base, mistake)
        if operation.parameters.get("type") != "object":
            message, remedy = "must be a schema of an object", "write type: object"
            yield parts.problem(Operations, base, message, remedy, of_key=True)


def _changes_can_be_undone(parts: ConfigParts) -> Iterator[Problem]:
    operations = parts.part(Operations).operations
    for name, operation in operations.items():
        base = ("operations", name)
        if operation.inverse is None:
            if not operation.irreversible and operation.risk is not Risk.READ:
                message = f"has risk {operation.risk} and no inverse"
                remedy = "give its inverse, or say irreversible: true"
                yield parts.problem(Operations, base, message, remedy, of_key=True)
            continue
        if operation.irreversible:
            message = "says irreversible: true and has an inverse"
            yield parts.problem(Operations, base, message, "remove one of them", of_key=True)
        yield from _call_problems(
            parts,
            Operations,
            (*base, "inverse"),
            name=operation.inverse.operation,
            parameters=operation.inverse.parameters,
        )


def _bounds_are_parameters(parts: ConfigParts) -> Iterator[Problem]:
    for name, operation in parts.part(Operations).operations.items():
        declared = _declared(operation)
        for parameter in operation.bounds:
            if parameter not in declared:
                location = ("operations", name, "bounds", parameter)
                remedy = suggestion(parameter, declared)
                message = "is no parameter of the operation"
                yield parts.problem(Operations, location, message, remedy, of_key=True)


def _named_parameters_exist(parts: ConfigParts) -> Iterator[Problem]:
    """What the guard looks at in a call has to be something that a call can have."""
    for name, operation in parts.part(Operations).operations.items():
        declared, at_once = _declared(operation), operation.all_at_once
        base, message = ("operations", name), "is no parameter of the operation"
        if operation.runs is not None and operation.runs not in declared:
            remedy = suggestion(operation.runs, declared)
            yield parts.problem(Operations, (*base, "runs"), message, remedy)
        if at_once is None:
            continue
        location = (*base, "allAtOnce")
        if at_once.parameter not in declared:
            remedy = suggestion(at_once.parameter, declared)
            yield parts.problem(Operations, (*location, "parameter"), message, remedy)
            continue
        known = _choices(declared[at_once.parameter])
        for value in (*at_once.values, at_once.instead):
            if value not in known:
                message = f"names {value}, which {at_once.parameter} can't be"
                yield parts.problem(Operations, location, message, suggestion(value, known))


def _choices(schema: Any) -> list[str]:
    """Values that a parameter can have."""
    values = schema.get("enum") if isinstance(schema, dict) else None
    return [str(value) for value in values] if isinstance(values, list) else []


def _declared(operation: Operation) -> Mapping[str, Any]:
    properties = operation.parameters.get("properties")
    return properties if isinstance(properties, dict) else {}


def _call_problems(
    parts: ConfigParts,
    model: type[Document],
    location: Location,
    *,
    name: str,
    parameters: Mapping[str, Any],
) -> Iterator[Problem]:
    """Whether an operation exists and takes these parameters; templates are not known yet."""
    operation = parts.part(Operations).operations.get(name)
    if operation is None:
        known = parts.part(Operations).operations
        message = f"names {name}, which operations.yml does not have"
        yield parts.problem(model, (*location, "operation"), message, suggestion(name, known))
    elif not any(schema_mistakes(operation.parameters)):
        for mistake in value_mistakes(dict(parameters), operation.parameters, skip=_is_template):
            yield _at(parts, model, (*location, "parameters"), mistake)


def _at(parts: ConfigParts, model: type[Document], base: Location, mistake: Mistake) -> Problem:
    location = (*base, *mistake.location)
    return parts.problem(model, location, mistake.message, mistake.remedy)


# ── command_translations.yml ────────────────────────────────────────────────────


def _translated_operations_exist(parts: ConfigParts) -> Iterator[Problem]:
    operations = parts.part(Operations).operations
    for executor, translated in parts.part(CommandTranslations).translations.items():
        for name in translated:
            if name not in operations:
                location = ("translations", executor, name)
                yield _unknown(parts, CommandTranslations, location, known=operations)


def _operations_are_translated(parts: ConfigParts) -> Iterator[Problem]:
    translations = parts.part(CommandTranslations).translations
    translated = {name for operations in translations.values() for name in operations}
    for name in parts.part(Operations).operations:
        if name not in translated:
            message = "can be done nowhere: it has no translation"
            remedy = f"add {name}: [{{call: …}}] to command_translations.yml"
            yield parts.problem(Operations, ("operations", name), message, remedy, of_key=True)


# ── runbooks.yml ────────────────────────────────────────────────────────────────


def _runbook_steps_fit(parts: ConfigParts) -> Iterator[Problem]:
    for number, runbook in enumerate(parts.part(Runbooks).runbooks):
        for index, step in enumerate(runbook.steps):
            yield from _call_problems(
                parts,
                Runbooks,
                ("runbooks", number, "steps", index),
                name=step.operation,
                parameters=step.parameters,
            )


def _runbook_patterns_exist(parts: ConfigParts) -> Iterator[Problem]:
    runbooks = parts.part(Runbooks)
    known = [pattern.name for pattern in runbooks.patterns]
    for number, runbook in enumerate(runbooks.runbooks):
        for index, name in enumerate(runbook.when.patterns):
            if name not in known:
                location = ("runbooks", number, "when", "patterns", index)
                message = f"names {name}, which is not among patterns"
                yield parts.problem(Runbooks, location, message, suggestion(name, known))


def _runbook_names_are_unique(parts: ConfigParts) -> Iterator[Problem]:
    runbooks = parts.part(Runbooks)
    lists = {
        "patterns": [pattern.name for pattern in runbooks.patterns],
        "runbooks": [runbook.name for runbook in runbooks.runbooks],
    }
    for kind, names in lists.items():
        repeated = {name for name, count in Counter(names).items() if count > 1}
        for number, name in enumerate(names):
            first = names.index(name)
            if name in repeated and number != first:
                line, _ = parts.documents[Runbooks].position((kind, first, "name"))
                message, remedy = f"repeats {name}", f"the first is on line {line}; rename one"
                yield parts.problem(Runbooks, (kind, number, "name"), message, remedy)


_Rule = Callable[[ConfigParts], Iterator[Problem]]
_RULES: tuple[tuple[tuple[type[Document], ...], _Rule], ...] = (
    ((Platform, Agents), _agent_exists),
    ((Platform,), _git_is_usable),
    ((Platform,), _policy_is_ordered),
    ((Platform,), _embedded_server_has_one_address),
    ((Platform, Operations), _always_approve_exists),
    ((Agents,), _prompts_exist),
    ((Agents,), _one_set_of_identity_labels),
    ((Environments, CommandTranslations), _executors_are_translated),
    ((Environments,), _tls_files_exist),
    ((Operations,), _parameters_are_schemas),
    ((Operations,), _changes_can_be_undone),
    ((Operations,), _bounds_are_parameters),
    ((Operations,), _named_parameters_exist),
    ((CommandTranslations, Operations), _translated_operations_exist),
    ((CommandTranslations, Operations), _operations_are_translated),
    ((Runbooks, Operations), _runbook_steps_fit),
    ((Runbooks,), _runbook_patterns_exist),
    ((Runbooks,), _runbook_names_are_unique),
)
