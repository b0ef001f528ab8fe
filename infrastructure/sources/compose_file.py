"""A compose file → its services as they are meant: variables filled in, checked, extended.

What a service becomes is `compose_service`. The shape is checked with the Compose
Specification's own JSON Schema, so that everything after it may rely on it. No library was
taken for this: those on the package index neither keep lines nor fill in variables.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from infrastructure.errors import InvalidInputError
from infrastructure.model_problems import field_path, suggestion
from infrastructure.sources.compose_units import text
from infrastructure.sources.draft import Findings, Point, point_of
from infrastructure.sources.env_file import parse_env_file
from infrastructure.sources.extends import merged, rebased
from infrastructure.sources.tree import Tree, resolved
from infrastructure.sources.variables import VariableError, fill
from infrastructure.yaml_source import Location, YamlDocument, parse_yaml

ENV_FILE = ".env"
_MOST_EXTENDED = 16
_MOST_LISTED = 12  # fields that a message names
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
    """

    name: str
    file: str
    directory: str | None
    variables: Mapping[str, str]
    services: Mapping[str, ComposeService]
    document: YamlDocument
    tree: Tree
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
) -> ComposeProject | None:
    """Read a compose file; None if it can't be read, for reasons in `findings`.

    Args:
        path: in the tree.
        tree: where it stands, with what it names.
        findings: gets errors and warnings.
        max_bytes: larger files are refused.
        project: the project's name, where neither file says it.
        directory: the project's folder on the engine's host.
    """
    variables = _beside(path, tree, findings)
    loader = _Loader(tree, findings, variables, max_bytes=max_bytes)
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
    return ComposeProject(str(named), path, directory, variables, services, document, tree, parts)


def project_name(folder: str) -> str | None:
    """The project name that compose makes of a folder's name; None if nothing is left of it."""
    return re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("_-") or None


def _beside(path: str, tree: Tree, findings: Findings) -> dict[str, str]:
    """What `.env` beside a file defines. Extended files have no `.env` of their own."""
    file = posixpath.join(posixpath.dirname(path), ENV_FILE)
    content = tree.read(file)
    if content is None:
        return {}
    found = parse_env_file(content, file=file, values={}, findings=findings)
    return {name: v.value for name, v in found.items() if v.value is not None}


class _Loader:
    """Reads compose files of one tree; a file that several extend is read once."""

    def __init__(
        self, tree: Tree, findings: Findings, variables: Mapping[str, str], *, max_bytes: int
    ) -> None:
        self._tree = tree
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
        content = self._tree.read(path)
        if content is None:
            self._findings.error(Point(path, 0, 0), "there is no such file", "correct the path")
            return None
        try:
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
        data = _Filling(raw, self._variables, self._findings).filled((), raw.data)
        document = YamlDocument(raw.file, data, raw.root)
        if not _schema_errors(document, self._findings):
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
            if self._tree.read(path) is None:
                self._findings.error(point, f"there is no file {path}", "correct the path")
                return None
            found = self.document(path)
            if found is None:
                return None
            other = found
        base = str(wanted.get("service"))
        known = other.data.get("services") or {}
        if base not in known:
            message = f"{other.file} has no service {base}"
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


class _Filling:
    """Fills in variables everywhere but in `environment`.

    Values of `environment` are filled one by one where a service is read: one that is
    missing there may be a secret.
    """

    def __init__(
        self, document: YamlDocument, variables: Mapping[str, str], findings: Findings
    ) -> None:
        self._document = document
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
        point = point_of(self._document, location)
        try:
            found = fill(value, self._variables)
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


def _is_environment(location: Location) -> bool:
    return len(location) == 3 and location[0] == "services" and location[2] == "environment"


# ── shape ───────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only who has a compose file pays

    schema = resources.files("infrastructure.sources").joinpath("compose-spec.schema.json")
    return Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))


def _schema_errors(document: YamlDocument, findings: Findings) -> bool:
    """Tell everything that the Compose Specification does not allow."""
    found = list(_validator().iter_errors(document.data))
    for error in found:
        for location, message, remedy in _told(error):
            of_key = message.endswith("is not a known field")
            findings.error(point_of(document, location, of_key=of_key), message, remedy)
    return bool(found)


def _told(error: Any) -> Iterator[tuple[Location, str, str]]:
    """Location, message and remedy of one complaint of the schema."""
    error = _deepest(error)
    location = tuple(error.absolute_path)
    path = field_path(location) or "the file"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", ()))
        patterns = [re.compile(p) for p in error.schema.get("patternProperties", ())]
        for key in error.instance:
            if key not in known and not any(p.search(key) for p in patterns):
                full = (*location, key)
                remedy = _close(key, known) if known else "use letters, digits, '.', '_', '-'"
                yield full, f"{field_path(full)} is not a known field", remedy
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield location, f"{path} lacks {', '.join(missing)}", "add it"
    elif error.validator == "type":
        wanted = error.validator_value
        kinds = ", ".join([wanted] if isinstance(wanted, str) else wanted)
        yield location, f"{path} must be of type {kinds}", ""
    elif error.validator == "enum":
        allowed = ", ".join(text(item) for item in error.validator_value)
        yield location, f"{path} must be one of {allowed}", ""
    elif error.validator == "uniqueItems":
        yield location, f"{path} names something twice", "remove one"
    else:
        yield location, f"{path} has a form that the Compose Specification does not know", ""


def _close(word: str, known: list[str]) -> str:
    """A field that may be meant; all of them only where they are few."""
    remedy = suggestion(word, known)
    return remedy if remedy.startswith("did") or len(known) <= _MOST_LISTED else ""


def _deepest(error: Any) -> Any:
    """Of alternatives, the complaint about the one that was meant: the one of the right type."""
    while error.context:
        here = len(error.absolute_path)
        branches: dict[Any, list[Any]] = {}
        for below in error.context:
            branches.setdefault(below.schema_path[0], []).append(below)
        fitting = [
            found
            for found in branches.values()
            if not any(b.validator == "type" and len(b.absolute_path) == here for b in found)
        ]
        if len(fitting) != 1:
            return error
        error = max(fitting[0], key=lambda below: len(below.absolute_path))
    return error
