"""Files of a state repository → Services, or every reason why not.

Pure: bytes in, values out; who reads Git is `flows.git_state`. What one file must be is
`infrastructure.service`; what has to hold between files is `infrastructure.state_rules`.
The loop asks each minute and a state repository rarely changes, so the parser keeps what
it made of unchanged files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from infrastructure.approval_file import is_approval_file
from infrastructure.config_loader import CONFIGURATION_KINDS, UniversalConfig
from infrastructure.errors import InvalidInputError, Problem
from infrastructure.identity import AgentIdentity
from infrastructure.model_problems import Discretion, suggestion, validate
from infrastructure.observed import empty
from infrastructure.pause import PAUSE_KIND, PauseFile, pause_of, read_pause
from infrastructure.redaction import Redactor, SecretKeys
from infrastructure.reference_rules import reference_problems
from infrastructure.service import Service
from infrastructure.sources.draft import SourcedDocument
from infrastructure.sources.source_read import KIND as _SOURCE_KIND
from infrastructure.sources.source_read import SourceRead
from infrastructure.sources.tree import FilesTree, Tree
from infrastructure.state_rules import (
    DeclaredService,
    FindClaims,
    FindMisfits,
    SecretRules,
    StateRules,
    service_problems,
    state_problems,
)
from infrastructure.yaml_source import Location, YamlDocument, parse_yaml

_KIND = "Service"
_CONFIGURATION_REMEDY = (
    "name the folder of Service files alone; --config DIR checks the configuration"
)
_SUFFIXES = (".yml", ".yaml")
_IGNORED_FOLDER = "schemas"


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What one file's bytes were made into."""

    services: tuple[DeclaredService, ...]
    problems: tuple[Problem, ...]
    sources: tuple[YamlDocument, ...] = ()
    pauses: tuple[PauseFile, ...] = ()


@dataclass(frozen=True, slots=True)
class StateRead:
    """What a state repository says at a commit.

    Attributes:
        services: by inventory id. With problems, they are not the desired state: the caller
            refuses it whole.
        problems: every mistake, in file order.
        remarks: what is read and not done, in file order; of Sources only.
        files: the file that each service stands in, by inventory id.
        pauses: what people have paused; they hold also where the rest is refused.
    """

    services: Mapping[str, Service]
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = ()
    files: Mapping[str, str] = field(default_factory=empty)
    pauses: tuple[PauseFile, ...] = ()


class DesiredStateParser:
    """Parses state repositories; files with the bytes of the last call are not read again.

    Not for use from several threads at once.
    """

    def __init__(self, rules: StateRules, *, max_bytes: int, pause_file: str = "") -> None:
        self._rules = rules
        self._pause_file = pause_file
        self._max_bytes = max_bytes
        self._keys = SecretKeys(rules.key_patterns)
        self._redactor = Redactor(rules.redact_patterns, key_patterns=rules.key_patterns)
        self._secrets = SecretRules(self._keys, self._redactor)
        self._cache: dict[tuple[str, bytes], _Parsed] = {}

    @classmethod
    def from_config(
        cls,
        config: UniversalConfig,
        identity: AgentIdentity,
        bindings: Mapping[str, type[BaseModel]] | None = None,
        misfits: Mapping[str, FindMisfits] | None = None,
        claims: Mapping[str, FindClaims] | None = None,
    ) -> DesiredStateParser:
        """A parser with everything that the configuration says about desired state.

        Args:
            config: the configuration.
            identity: whom desired state can't name.
            bindings: environment → its executor's model of `spec.binding`; None: not checked.
            misfits: environment → what finds words without meaning for a binding.
            claims: environment → what tells the native objects of a service.
        """
        rules = StateRules(
            environments=frozenset(config.environments.environments),
            key_patterns=config.platform.secrets.key_patterns,
            redact_patterns=config.platform.secrets.redact_patterns,
            is_protected=identity.protects_name,
            is_agent_image=AgentIdentity(identity.agent, identity.names).protects_name,
            agent_labels=identity.labels,
            executors={n: e.executor for n, e in config.environments.environments.items()},
            bindings=bindings or {},
            misfits=misfits or {},
            claims=claims or {},
        )
        git = config.platform.git
        return cls(rules, max_bytes=git.max_file_bytes, pause_file=git.pause_file)

    def parse(self, files: Mapping[str, bytes]) -> tuple[dict[str, Service], tuple[Problem, ...]]:
        """Services by inventory id, and every mistake in file order: see `read`."""
        read = self.read(files, FilesTree(files))
        return dict(read.services), read.problems

    def read(self, files: Mapping[str, bytes], tree: Tree) -> StateRead:
        """Everything that the files of a state repository say.

        Args:
            files: content by path. Only `*.yml` and `*.yaml` count; what is in a folder
                called `schemas`, what begins with a dot or is below such a folder, and files
                that approve (`infrastructure.approval_file`) do not, nor does what a Source
                refers to.
            tree: the whole commit, for what Sources refer to.
        """
        parsed: dict[tuple[str, bytes], _Parsed] = {}
        for path in sorted(files):
            if _is_state(path):
                key = (path, hashlib.sha256(files[path]).digest())
                parsed[key] = self._cache.get(key) or self._parse_file(path, files[path])
        self._cache = parsed
        sources = self._read_sources(parsed.values(), tree)
        kept = [each for (path, _), each in parsed.items() if path not in sources.claimed]
        kept += [self._judged([document]) for document in sources.documents]
        declared = [service for each in kept for service in each.services]
        problems = [problem for each in kept for problem in each.problems]
        problems += [*sources.problems, *state_problems(declared, self._rules)]
        services: dict[str, Service] = {}
        places: dict[str, str] = {}
        for each in declared:
            services.setdefault(each.service.target, each.service)
            places.setdefault(each.service.target, each.document.file)
        pauses = tuple(pause for each in parsed.values() for pause in each.pauses)
        return StateRead(
            services, tuple(sorted(set(problems))), sources.warnings, places, pauses=pauses
        )

    def _read_sources(self, parsed: Iterable[_Parsed], tree: Tree) -> SourceRead:
        found = [document for each in parsed for document in each.sources]
        if not found:
            return SourceRead()
        from infrastructure.sources.read_source import (  # noqa: PLC0415  # see source_read
            SourceRules,
            read_sources,
        )

        discretion = Discretion(lambda at: "env" in at or self._hides(at), self._redactor.text)
        rules = SourceRules(self._max_bytes, self._rules.executors, discretion)
        read = read_sources(found, tree, rules)
        return replace(
            read,
            problems=tuple(self._discreet(problem) for problem in read.problems),
            warnings=tuple(self._discreet(warning) for warning in read.warnings),
        )

    def _parse_file(self, path: str, content: bytes) -> _Parsed:
        if path.rpartition("/")[2] == self._pause_file:
            return _Parsed((), (), pauses=(read_pause(path, content, max_bytes=self._max_bytes),))
        try:
            documents = parse_yaml(content, file=path, max_bytes=self._max_bytes)
        except InvalidInputError as exc:
            return _Parsed((), tuple(self._discreet(problem) for problem in exc.problems))
        sources = tuple(document for document in documents if _kind(document) == _SOURCE_KIND)
        pauses = tuple(pause_of(d) for d in documents if _kind(d) == PAUSE_KIND)
        others = (_SOURCE_KIND, PAUSE_KIND)
        judged = self._judged([d for d in documents if _kind(d) not in others])
        problems = [problem for each in sources for problem in self._secrets.problems(each)]
        return replace(
            judged, problems=(*judged.problems, *problems), sources=sources, pauses=pauses
        )

    def _judged(self, documents: Iterable[YamlDocument]) -> _Parsed:
        services: list[DeclaredService] = []
        problems: list[Problem] = []
        for document in documents:
            if not _is_configuration(_kind(document)):  # whose secrets have a form of their own
                problems += _told_for(document, self._secrets.problems(document))
            try:
                declared = DeclaredService(self._validated(document), document)
                services.append(declared)
                problems += service_problems(declared, self._rules)
                problems += reference_problems(declared.service, document.data, declared.problem)
            except InvalidInputError as exc:
                problems += exc.problems
        return _Parsed(tuple(services), tuple(problems))

    def _validated(self, document: YamlDocument) -> Service:
        data = document.data
        if not isinstance(data, dict) or data.get("kind") != _KIND:
            raise InvalidInputError([self._discreet(_kind_problem(document))])
        return validate(
            Service,
            document,
            data=_with_written_env(document),
            discretion=Discretion(self._hides, self._redactor.text),
        )

    def _hides(self, location: Location) -> bool:
        """A rejected value of `env` may be a secret in the wrong place, and so may `native`'s."""
        return location[1:2] in {("env",), ("native",)} or any(
            self._keys.match(str(segment)) for segment in location
        )

    def _discreet(self, problem: Problem) -> Problem:
        text = self._redactor.text
        return Problem(
            problem.file,
            problem.line,
            problem.column,
            text(problem.message),
            text(problem.remedy),
        )


def parse_desired_state(
    files: Mapping[str, bytes],
    *,
    environments: Collection[str],
    key_patterns: Iterable[str],
    is_protected: Callable[[str], bool],
    max_bytes: int,
    redact_patterns: Iterable[str] = (),
) -> tuple[dict[str, Service], tuple[Problem, ...]]:
    """One state, parsed once: see `DesiredStateParser.parse` and `StateRules`."""
    rules = StateRules(
        environments=frozenset(environments),
        key_patterns=tuple(key_patterns),
        redact_patterns=tuple(redact_patterns),
        is_protected=is_protected,
        is_agent_image=is_protected,
    )
    return DesiredStateParser(rules, max_bytes=max_bytes).parse(files)


def _is_state(path: str) -> bool:
    *folders, name = path.split("/")
    return (
        name.endswith(_SUFFIXES)
        and _IGNORED_FOLDER not in folders
        and not any(part.startswith(".") for part in (*folders, name))
        and not is_approval_file(path)
    )


def _kind(document: YamlDocument) -> Any:
    return document.data.get("kind") if isinstance(document.data, dict) else None


def _is_configuration(kind: Any) -> bool:
    return isinstance(kind, str) and kind in CONFIGURATION_KINDS


def _told_for(document: YamlDocument, problems: Iterable[Problem]) -> Iterable[Problem]:
    """In a file of another format no reference can stand: the Source gives it."""
    if not isinstance(document, SourcedDocument):
        return problems
    remedy = 'give it in the Source: spec.services.NAME.env.VARIABLE: {secret: "env:NAME"}'
    return [replace(problem, remedy=remedy) for problem in problems]


def _kind_problem(document: YamlDocument) -> Problem:
    remedy = (
        "a state repository holds kind Service and kind Source;"
        " keep other YAML in a folder such as .ci"
    )
    data = document.data
    if not isinstance(data, dict):
        return document.problem((), "the document is no mapping", remedy)
    if "kind" not in data:
        return document.problem((), "the document has no kind", remedy)
    kind = data["kind"]
    if _is_configuration(kind):
        words = f"kind {kind} is a file of UICI's configuration, not desired state"
        return document.problem(("kind",), words, _CONFIGURATION_REMEDY)
    close = suggestion(kind, [_KIND, _SOURCE_KIND]) if isinstance(kind, str) else ""
    return document.problem(
        ("kind",),
        f"unknown kind {kind}" if isinstance(kind, str) else "kind must be text",
        close if close.startswith("did") else remedy,
    )


def _with_written_env(document: YamlDocument) -> Any:
    """The data with numbers of `env` as they are written: `1.10` is not 1.1 there."""
    data = document.data
    spec = data.get("spec")
    env = spec.get("env") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(env, dict):
        return data
    written = {
        key: document.written(("spec", "env", key)) if isinstance(value, int | float) else value
        for key, value in env.items()
    }
    return {**data, "spec": {**spec, "env": written}}
