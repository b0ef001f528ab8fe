"""A compose file → its services as they are meant: variables filled in, checked, extended.

What a service becomes is `compose_service`; the shape is checked by `compose_shape`, so that
everything after it may rely on it. No library was taken for this: those on the package index
neither keep lines nor fill in variables.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infrastructure.errors import InvalidInputError
from infrastructure.model_problems import field_path, suggestion
from infrastructure.sources.compose_shape import told_by_schema
from infrastructure.sources.draft import Findings, Point, point_of
from infrastructure.sources.env_file import Variable, parse_env_file
from infrastructure.sources.extends import merged, rebased
from infrastructure.sources.tree import AT_COMMIT, FileWords, Tree, resolved
from infrastructure.sources.variables import Budget, BudgetSpentError, VariableError, fill
from infrastructure.yaml_source import Location, YamlDocument, parse_yaml

ENV_FILE = ".env"
_MOST_EXTENDED = 16
# Many services may share one environment file: all their variables together may be so many
# times as long as a file may be.
_ENV_TIMES = 16
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class ComposeService:
    """One entry of `services`, extended. Keys know the document that they stand in."""

    name: str
    data: Mapping[str, Any]
    point: Point
    origins: Mapping[str, tuple[YamlDocument, Location]]

    def at(self, key: str, *below: str | int) -> Point:
        """Where a key, or a value below it, stands."""
        if key not in self.origins:
            return self.point
        document, location = self.origins[key]
        return point_of(document, (*location, *below))


@dataclass(frozen=True, slots=True)
class ComposeProject:
    """A compose file that can be read.

    Attributes:
        name: the project's: part of the names of networks, volumes and containers.
        file: the compose file's path in the tree.
        directory: where the project lies on the engine's host, for relative paths of bind
            mounts; None: not known.
        variables: those of the file `.env` beside it.
        parts: `networks`, `volumes`, `secrets`, `configs`.
        budget: of what variables make of the file.
        env_budget: the same, of environment files.
        words: how messages speak of files.
        env_files: those that were read already, by path; None: not there.
        overspent: services whose environment no budget was left for.
    """

    name: str
    file: str
    directory: str | None
    variables: Mapping[str, str]
    services: Mapping[str, ComposeService]
    document: YamlDocument
    tree: Tree
    parts: Mapping[str, Mapping[str, Any]]
    budget: Budget
    env_budget: Budget
    words: FileWords
    env_files: dict[str, dict[str, Variable] | None] = field(default_factory=dict)
    overspent: list[str] = field(default_factory=list)

    def at(self, *location: str | int) -> Point:
        """A place of the file itself."""
        return point_of(self.document, location)


def load_compose(
    path: str,
    tree: Tree,
    findings: Findings,
    *,
    max_bytes: int,
    project: str | None = None,
    directory: str | None = None,
    words: FileWords = AT_COMMIT,
) -> ComposeProject | None:
    """Read a compose file; None if it can't be read, for reasons in `findings`.

    Args:
        path: in the tree.
        tree: where it stands, with what it names.
        findings: gets errors and warnings.
        max_bytes: larger files are refused.
        project: the project's name, where neither file says it.
        directory: the project's folder on the engine's host.
        words: how messages speak of files.
    """
    variables = _beside(path, tree, findings)
    budget = Budget(max_bytes)
    loader = _Loader(tree, findings, variables, budget, words, max_bytes=max_bytes)
    document = loader.document(path)
    if document is None:
        return None
    services = {
        name: found
        for name in document.data.get("services") or {}
        if (found := loader.service(document, name)) is not None
    }
    named = document.data.get("name") or variables.get("COMPOSE_PROJECT_NAME") or project
    if named is None:
        findings.error(
            Point(path, 1, 1),
            "the project has no name, and containers, networks and volumes are called by it",
            "write name: … at the top, or spec.project in the Source",
        )
        return None
    if not _PROJECT.fullmatch(str(named)):
        remedy = "use lower-case letters, digits, '-' and '_'"
        findings.error(point_of(document, ("name",)), f"{named} is no project name", remedy)
        return None
    parts = {
        part: document.data.get(part) or {}
        for part in ("networks", "volumes", "secrets", "configs")
    }
    return ComposeProject(
        str(named),
        path,
        directory,
        variables,
        services,
        document,
        tree,
        parts,
        budget=budget,
        env_budget=Budget(_ENV_TIMES * max_bytes),
        words=words,
    )


def project_name(folder: str) -> str | None:
    """The project name that compose makes of a folder's name; None if nothing is left of it."""
    return re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("_-") or None


def _beside(path: str, tree: Tree, findings: Findings) -> dict[str, str]:
    """What `.env` beside a file defines. Extended files have no `.env` of their own."""
    file = posixpath.join(posixpath.dirname(path), ENV_FILE)
    try:
        content = tree.read(file)
    except InvalidInputError as exc:
        findings.refuse(exc.problems)
        return {}
    if content is None:
        return {}
    found = parse_env_file(content, file=file, values={}, findings=findings)
    return {name: v.value for name, v in found.items() if v.value is not None}


class _Loader:
    """Reads compose files of one tree; a file that several extend is read once."""

    def __init__(
        self,
        tree: Tree,
        findings: Findings,
        variables: Mapping[str, str],
        budget: Budget,
        words: FileWords,
        *,
        max_bytes: int,
    ) -> None:
        self._tree = tree
        self._budget = budget
        self._words = words
        self._findings = findings
        self._max_bytes = max_bytes
        self._documents: dict[str, YamlDocument | None] = {}
        self._variables = variables

    def document(self, path: str) -> YamlDocument | None:
        """The file with its variables filled in, of the right shape."""
        if path not in self._documents:
            self._documents[path] = self._read(path)
        return self._documents[path]

    def _read(self, path: str) -> YamlDocument | None:
        try:
            content = self._tree.read(path)
            if content is None:
                self._findings.error(Point(path, 0, 0), "there is no such file", "correct the path")
                return None
            documents = parse_yaml(content, file=path, max_bytes=self._max_bytes)
        except InvalidInputError as exc:
            self._findings.errors += exc.problems
            return None
        if len(documents) != 1 or not isinstance(documents[0].data, dict):
            message = "a compose file is one document, a mapping with services"
            self._findings.error(Point(path, 1, 1), message)
            return None
        return self._checked(documents[0])

    def _checked(self, raw: YamlDocument) -> YamlDocument | None:
        before = len(self._findings.errors)
        filling = _Filling(raw, self._variables, self._findings, self._budget)
        try:
            data = filling.filled((), raw.data)
        except BudgetSpentError as exc:
            point = point_of(raw, filling.at)
            self._findings.error(point, str(exc), spent_remedy(field_path(filling.at)))
            return None
        document = YamlDocument(raw.file, data, raw.root)
        if not told_by_schema(document, self._findings):
            self._refuse_include(document)
        return document if len(self._findings.errors) == before else None

    def _refuse_include(self, document: YamlDocument) -> None:
        if "include" in document.data:
            self._findings.error(
                point_of(document, ("include",), of_key=True),
                "include is not followed",
                "write a Source for each compose file",
            )
        if "models" in document.data:
            point = point_of(document, ("models",), of_key=True)
            self._findings.error(point, "models are not served by UICI", "take them out")

    def service(
        self, document: YamlDocument, name: str, chain: tuple[tuple[str, str], ...] = ()
    ) -> ComposeService | None:
        """A service with what it extends laid under it."""
        location: Location = ("services", name)
        own = document.data["services"][name] or {}
        point = point_of(document, location, of_key=True)
        origins: dict[str, tuple[YamlDocument, Location]] = {
            key: (document, (*location, key)) for key in own
        }
        step = (document.file, name)
        if step in chain or len(chain) > _MOST_EXTENDED:
            at = point_of(document, (*location, "extends"))
            self._findings.error(at, f"{name} extends itself", "remove one of the extends")
            return None
        if "extends" not in own:
            return ComposeService(name, own, point, origins)
        base = self._extended(document, name, own["extends"], (*chain, step))
        if base is None:
            return None
        own = {key: value for key, value in own.items() if key != "extends"}
        return ComposeService(name, merged(base.data, own), point, {**base.origins, **origins})

    def _extended(
        self,
        document: YamlDocument,
        name: str,
        extends: Any,
        chain: tuple[tuple[str, str], ...],
    ) -> ComposeService | None:
        point = point_of(document, ("services", name, "extends"))
        wanted = extends if isinstance(extends, dict) else {"service": extends}
        other = document
        if wanted.get("file"):
            path = resolved(str(wanted["file"]), beside=document.file)
            if path is None:
                self._findings.error(point, f"{wanted['file']} is outside of the repository")
                return None
            found = self._other(path, point)
            if found is None:
                return None
            other = found
        base = str(wanted.get("service"))
        known = other.data.get("services") or {}
        if base not in known:
            message = f"{self._words.shown(other.file)} has no service {base}"
            self._findings.error(point, message, suggestion(base, known))
            return None
        extended = self.service(other, base, chain)
        if extended is None:
            return None
        folder = posixpath.relpath(
            posixpath.dirname(other.file) or ".", posixpath.dirname(document.file) or "."
        )
        data = extended.data if folder == "." else rebased(extended.data, folder)
        return ComposeService(base, data, extended.point, extended.origins)

    def _other(self, path: str, point: Point) -> YamlDocument | None:
        """Another file, that is named at `point`."""
        try:
            missing = path not in self._documents and self._tree.read(path) is None
        except InvalidInputError as exc:
            self._findings.errors += exc.problems
            return None
        if missing:
            message = f"there is no file {self._words.shown(path)}{self._words.where}"
            self._findings.error(point, message, "correct the path")
            return None
        return self.document(path)


class _Filling:
    """Fills in variables everywhere but in `environment`.

    Values of `environment` are filled one by one where a service is read: one that is
    missing there may be a secret.
    """

    def __init__(
        self,
        document: YamlDocument,
        variables: Mapping[str, str],
        findings: Findings,
        budget: Budget,
    ) -> None:
        self.at: Location = ()  # what is filled in just now
        self._document = document
        self._budget = budget
        self._variables = variables
        self._findings = findings

    def filled(self, location: Location, value: Any) -> Any:
        if _is_environment(location):
            return value
        if isinstance(value, dict):
            return {key: self.filled((*location, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled((*location, n), item) for n, item in enumerate(value)]
        return self._text(location, value) if isinstance(value, str) else value

    def _text(self, location: Location, value: str) -> str:
        if "$" not in value:
            return value
        self.at = location
        point = point_of(self._document, location)
        try:
            found = fill(value, self._variables, self._budget)
        except BudgetSpentError:
            raise
        except VariableError as exc:
            remedy = f"set it in {ENV_FILE} beside the file: nothing else is looked at"
            self._findings.error(point, str(exc), remedy)
            return value
        for name in found.unset:
            self._findings.error(point, *unset_words(name))
        return found.text


def unset_words(name: str) -> tuple[str, str]:
    """Message and remedy about a variable without a value."""
    return (
        f"the variable {name} has no value",
        f"set it in {ENV_FILE} beside the file, or write a default: ${{{name}:-…}}",
    )


def spent_remedy(what: str) -> str:
    """What to do when a budget is spent at a place."""
    return f"give {what} shorter values or fewer aliases, or raise git.maxFileBytes"


def _is_environment(location: Location) -> bool:
    return len(location) == 3 and location[0] == "services" and location[2] == "environment"
