"""UniversalConfigLoader: `infrastructure/config/*.yml`, checked whole, before anything runs.

The configuration's one way into the program. Every mistake in every file is told at
once, with file, line, column and what to write instead. Loading imports no SDK: every
command waits for it. Neighbours: `infrastructure.config_models` (each file's shape),
`infrastructure.config_checks` (what has to fit between files),
`infrastructure.interpolation` (values from outside).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from infrastructure.config_checks import ConfigParts, cross_file_problems
from infrastructure.config_models import (
    Agent,
    AgentLlm,
    Agents,
    CommandTranslations,
    Environment,
    Environments,
    Operation,
    Operations,
    Platform,
    Runbooks,
)
from infrastructure.config_paths import anchored
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.identity import AgentIdentity
from infrastructure.interpolation import Interpolation
from infrastructure.model_problems import Discretion, suggestion, validate
from infrastructure.redaction import Redactor, SecretKeys
from infrastructure.service import Document
from infrastructure.yaml_source import Location, Place, YamlDocument, parse_yaml

_Entry = TypeVar("_Entry")
_Model = TypeVar("_Model", bound=BaseModel)

DEFAULT_DIRECTORY = Path(__file__).parent / "config"

_FILES: Mapping[str, type[Document]] = {
    "platform.yml": Platform,
    "agents.yml": Agents,
    "environments.yml": Environments,
    "operations.yml": Operations,
    "command_translations.yml": CommandTranslations,
    "runbooks.yml": Runbooks,
}
# What each of them says it is.
CONFIGURATION_KINDS: frozenset[str] = frozenset(
    get_args(model.model_fields["kind"].annotation)[0] for model in _FILES.values()
)
_MAX_BYTES = 8 * 1024 * 1024  # keeps a wrong file out of memory; nobody writes this much
# Fields of config_models that their models keep out of repr, by their names in YAML.
_CONFIDENTIAL = frozenset({"apiKey", "password", "bearerToken", "headers", "connection"})
# A shorter literal under a secret key (`none`, `dummy`) is no secret, and cutting it out
# of every text would make them unreadable.
_MIN_LITERAL = 8


@dataclass(frozen=True)
class UniversalConfig:
    """The whole configuration.

    Attributes:
        directory: the folder that it was read from; relative paths in it start here.
        data_directory: platform.yml's `dataDirectory`, absolute.
        secret_values: what redaction has to cut: values of secret fields, and what was
            filled in from variables and files with secret names. Never printed.
    """

    platform: Platform
    agents: Agents
    environments: Environments
    operations: Operations
    translations: CommandTranslations
    runbooks: Runbooks
    directory: Path
    data_directory: Path
    secret_values: frozenset[str] = field(repr=False)
    environments_source: YamlDocument | None = field(default=None, repr=False, compare=False)

    def get_agent(self, name: str | None = None) -> Agent:
        """An agent's settings; without a name, those of the agent that reconciles.

        Raises:
            PermanentError: there is no such agent; so for the other accessors.
        """
        return _get(self.agents.agents, name or self.platform.agent, "agents.yml")

    def get_llm_config(self, agent: str | None = None) -> AgentLlm:
        """An agent's model and limits. The endpoint is `platform.llm`."""
        return self.get_agent(agent).llm

    def get_operation(self, name: str) -> Operation:
        """A universal operation."""
        return _get(self.operations.operations, name, "operations.yml")

    def get_environment(self, name: str) -> Environment:
        """An environment."""
        return _get(self.environments.environments, name, "environments.yml")

    def connection(self, environment: str, model: type[_Model]) -> _Model:
        """An environment's `connection` as its executor's own model.

        Raises:
            InvalidInputError: every mistake in it, with its place.
        """
        data = self.get_environment(environment).connection
        prefix = ("environments", environment, "connection")
        source = self.environments_source
        place = source.below(prefix) if source else None
        file = source.file if source else str(self.directory / "environments.yml")
        part = YamlDocument(file, data, place or Place(0, 0))
        hidden = Discretion(hides=lambda _: True)
        return validate(model, part, data=data, discretion=hidden, prefix=prefix)

    def redactor(self) -> Redactor:
        """A redactor that knows all secrets of this configuration."""
        secrets = self.platform.secrets
        return Redactor(
            secrets.redact_patterns, self.secret_values, key_patterns=secrets.key_patterns
        )


def _get(entries: Mapping[str, _Entry], name: str, file: str) -> _Entry:
    if name not in entries:
        raise PermanentError(f"{file} has no {name}; {suggestion(name, entries)}")
    return entries[name]


class UniversalConfigLoader:
    """Reads a configuration folder."""

    def __init__(
        self,
        directory: Path = DEFAULT_DIRECTORY,
        environ: Mapping[str, str] = os.environ,
        *,
        state: str | None = None,
        branch: str | None = None,
        stateless: bool = False,
    ) -> None:
        """Read nothing yet.

        Args:
            directory: the folder.
            environ: where `${env:…}` looks.
            state: a state repository that a person named for this process, in place of
                `git.remote`.
            branch: of desired state, in place of `git.branch`: to look at what is proposed.
            stateless: for a command that opens no state repository: there need be none yet.
        """
        self._directory = directory
        self._environ = environ
        self._git = {"remote": state, "branch": branch}
        self._stateless = stateless

    def load(self) -> UniversalConfig:
        """The configuration.

        Raises:
            InvalidInputError: every mistake in every file, at once.
        """
        unresolved: list[Problem] = []
        problems: list[Problem] = []
        models: dict[type[Document], Any] = {}
        sources: dict[type[Document], Interpolation] = {}
        for name, model in _FILES.items():
            try:
                source = Interpolation(self._read(name), self._environ, self._directory)
                unresolved += source.problems
                sources[model] = source
                if model is Platform:
                    _set_git(source.data, self._git)
                discretion = Discretion(partial(_may_be_secret, source))
                models[model] = validate(
                    model, source.document, data=source.data, discretion=discretion
                )
            except InvalidInputError as exc:
                problems += exc.problems
        documents = {model: source.document for model, source in sources.items()}
        parts = ConfigParts(models, documents, self._directory, stateless=self._stateless)
        problems += cross_file_problems(parts)
        _refuse(unresolved, problems)
        platform: Platform = models[Platform]
        keys = SecretKeys(platform.secrets.key_patterns)
        return UniversalConfig(
            platform=platform,
            agents=models[Agents],
            environments=anchored(models[Environments], self._directory.resolve()),
            operations=models[Operations],
            translations=models[CommandTranslations],
            runbooks=models[Runbooks],
            directory=self._directory.resolve(),
            data_directory=self._absolute(platform.data_directory),
            secret_values=frozenset(
                value
                for source in sources.values()
                for value in _secret_values(source, keys)
                if value
            ),
            environments_source=documents[Environments],
        )

    def _read(self, name: str) -> YamlDocument:
        path = self._directory / name
        try:
            content = path.read_bytes()
        except OSError as exc:
            message = f"can't be read: {exc.strerror}"
            remedy = "a configuration folder holds " + ", ".join(_FILES)
            raise InvalidInputError([Problem(str(path), 0, 0, message, remedy)]) from exc
        documents = parse_yaml(content, file=str(path), max_bytes=_MAX_BYTES)
        if len(documents) != 1:
            message = f"has {len(documents) or 'no'} documents instead of one"
            raise InvalidInputError([Problem(str(path), 0, 0, message, "remove lines with ---")])
        return documents[0]

    def _absolute(self, text: str) -> Path:
        home, rest = self._environ.get("HOME"), text.removeprefix("~/")
        path = Path(home) / rest if home and rest != text else Path(text).expanduser()
        return (self._directory / path).resolve()


def _may_be_secret(source: Interpolation, location: Location) -> bool:
    """Whether messages must not repeat a value: it came from outside, or its field says so."""
    return source.hides(location) or not _CONFIDENTIAL.isdisjoint(location)


def _set_git(platform: Any, named: Mapping[str, str | None]) -> None:
    if isinstance(platform, dict) and isinstance(platform.get("git"), dict):
        platform["git"] |= {key: value for key, value in named.items() if value is not None}


def _refuse(unresolved: list[Problem], others: list[Problem]) -> None:
    """Raise if there is any problem; of a reference that leads nowhere, only that is told."""
    places = {(problem.file, problem.line, problem.column) for problem in unresolved}
    others = [each for each in others if (each.file, each.line, each.column) not in places]
    if unresolved or others:
        raise InvalidInputError([*unresolved, *others])


def _secret_values(source: Interpolation, keys: SecretKeys) -> Iterator[str]:
    for filled in source.filled:
        if _is_secret(filled.location, keys) or _names_secret(filled.source, keys):
            yield filled.value
    for location, value in _texts((), source.data):
        is_literal = not source.hides(location) and len(value) >= _MIN_LITERAL
        if is_literal and any(keys.match(str(segment)) for segment in location):
            yield value


def _is_secret(location: Location, keys: SecretKeys) -> bool:
    return any(segment == "headers" or keys.match(str(segment)) for segment in location)


def _names_secret(name: str, keys: SecretKeys) -> bool:
    """Whether a variable (`GIT_TOKEN`) or file (`/run/secrets/x`) is called like a secret."""
    path = Path(name)
    return keys.match(path.stem) or "secrets" in path.parts


def _texts(location: Location, value: Any) -> Iterator[tuple[Location, str]]:
    match value:
        case str():
            yield location, value
        case dict():
            for key, item in value.items():
                yield from _texts((*location, key), item)
        case list():
            for number, item in enumerate(value):
                yield from _texts((*location, number), item)


def agent_identity(
    config: UniversalConfig,
    agent: str | None = None,
    runtime_ids: frozenset[str] = frozenset(),
) -> AgentIdentity:
    """Who must never be touched: every agent, and what each of them lives on.

    Args:
        config: its agents are united: one agent does not act on another either.
        agent: the one that asks; platform.yml's by default.
        runtime_ids: `infrastructure.identity.runtime_native_ids()`.
    """
    name = agent or config.platform.agent
    config.get_agent(name)
    identities = [each.identity for each in config.agents.agents.values()]
    own_names = {*config.agents.agents, *(n for each in identities for n in each.names)}
    return AgentIdentity(
        agent=name,
        names=frozenset(n.lower() for n in own_names),
        lives_on=frozenset(n.lower() for each in identities for n in each.lives_on),
        native_ids=runtime_ids.union(*(each.native_ids for each in identities)),
        # All that have labels have the same: `config_checks` sees to it.
        labels=next((each.labels for each in identities if each.labels), {}),
    )
