"""A Source and the tree it stands in → documents of Services, and what was found on the way.

What comes out is judged like any Service file: `infrastructure.desired_state` does so.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.errors import InvalidInputError
from infrastructure.model_problems import Discretion, suggestion, validate
from infrastructure.sources.compose_file import load_compose, project_name
from infrastructure.sources.compose_service import Reading, made_elsewhere, read_services
from infrastructure.sources.draft import Draft, Findings, Point, SourcedDocument, point_of
from infrastructure.sources.kubernetes_manifests import read_manifests
from infrastructure.sources.source import EVERY, Source
from infrastructure.sources.source_read import SourceRead
from infrastructure.sources.tree import RecordingTree, Tree, resolved
from infrastructure.yaml_source import Location, YamlDocument

# Lists that are added to what the file says.
_ADDED = frozenset({"dependsOn", "ignoreDifferences"})
# Which executor the services of each format are for.
_EXECUTORS = {"compose": "docker", "kubernetes": "kubernetes"}


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What Sources are held against.

    Attributes:
        max_bytes: of a file.
        executors: environment → its executor; an environment that is not there is told by
            the rules for Services.
        discretion: what messages must not repeat.
    """

    max_bytes: int
    executors: Mapping[str, str]
    discretion: Discretion


def read_sources(documents: Iterable[YamlDocument], tree: Tree, rules: SourceRules) -> SourceRead:
    """Read everything that these documents of kind Source name."""
    found: list[SourcedDocument] = []
    findings = Findings()
    claimed: set[str] = set()
    for document in documents:
        recording = RecordingTree(tree)
        own = Findings()
        claimed |= _named(document, tree)
        try:
            source = validate(Source, document, discretion=rules.discretion)
        except InvalidInputError as exc:
            findings.errors += exc.problems
            continue
        try:
            found += _read(source, document, recording, own, rules)
        except InvalidInputError as exc:  # a file above the limit
            own.errors += exc.problems
        claimed |= recording.files
        findings.add(own)
    return SourceRead(
        tuple(found),
        tuple(sorted(set(findings.errors))),
        tuple(sorted(set(findings.warnings))),
        frozenset(claimed),
    )


def _named(document: YamlDocument, tree: Tree) -> set[str]:
    """Files that a Source speaks of: no state files, also if the Source is wrong elsewhere."""
    spec = document.data.get("spec")
    written = [spec.get(kind) for kind in _EXECUTORS] if isinstance(spec, dict) else []
    paths = [resolved(p, beside=document.file) for p in written if isinstance(p, str)]
    named = {path for path in paths if path}
    return named | {file for path in named for file in tree.below(path)}


def _read(
    source: Source, document: YamlDocument, tree: Tree, findings: Findings, rules: SourceRules
) -> list[SourcedDocument]:
    spec = source.spec
    kind, written = ("compose", spec.compose) if spec.compose else ("kubernetes", spec.kubernetes)
    point = point_of(document, ("spec", kind))
    path = resolved(written or "", beside=document.file)
    place = _Named(path or "", point, tree, rules.max_bytes)
    if path is None:
        message = f"spec.{kind} is {written}, which is outside of the repository"
        findings.error(point, message, "name a path in it, relative to this file's folder")
        return []
    executor = rules.executors.get(spec.environment)
    if executor is not None and executor != _EXECUTORS[kind]:
        message = f"{spec.environment} is run by {executor}, not by {_EXECUTORS[kind]}"
        remedy = f"spec.{kind} is for environments of {_EXECUTORS[kind]}"
        findings.error(point_of(document, ("spec", "environment")), message, remedy)
        return []
    if kind == "compose":
        drafts = _compose(source, place, findings)
    else:
        drafts = read_manifests(path, tree, findings, max_bytes=rules.max_bytes, point=point)
    if not drafts and not findings.errors:
        findings.error(point, f"{path or 'the folder'} declares no service that runs")
    _overlay(source, document, drafts, findings)
    return [draft.document(spec.environment) for draft in drafts.values()]


@dataclass(frozen=True, slots=True)
class _Named:
    """The file or folder that a Source names, and where it does so."""

    path: str
    point: Point
    tree: Tree
    max_bytes: int


def _compose(source: Source, place: _Named, findings: Findings) -> dict[str, Draft]:
    path = place.path
    if place.tree.read(path) is None:
        findings.error(place.point, f"there is no file {path} at this commit", "correct the path")
        return {}
    spec = source.spec
    project = load_compose(
        path,
        place.tree,
        findings,
        max_bytes=place.max_bytes,
        project=spec.project or project_name(posixpath.basename(posixpath.dirname(path))),
        directory=spec.directory,
    )
    if project is None:
        return {}

    def given(name: str) -> frozenset[str]:
        both = (spec.services.get(EVERY), spec.services.get(name))
        return frozenset(key for each in both if each is not None for key in each.env)

    drafts = read_services(project, findings, Reading(given=given))
    made_elsewhere(project, findings)
    return drafts


# ── what the Source itself says of services ─────────────────────────────────────


def _overlay(
    source: Source, document: YamlDocument, drafts: Mapping[str, Draft], findings: Findings
) -> None:
    written = document.data["spec"].get("services") or {}
    for name in source.spec.services:
        if name != EVERY and name not in drafts:
            point = point_of(document, ("spec", "services", name), of_key=True)
            if not findings.errors:
                findings.error(point, f"there is no service {name}", suggestion(name, drafts))
    for name, draft in drafts.items():
        for key in (EVERY, name):
            for field, value in (written.get(key) or {}).items():
                _set(draft, field, value, document, ("spec", "services", key, field))


def _set(draft: Draft, field: str, value: Any, document: YamlDocument, location: Location) -> None:
    point = point_of(document, location)
    if field == "env":
        for key, reference in value.items():
            draft.put(("env", key), reference, point_of(document, (*location, key)))
        return
    if field in _ADDED:
        before = draft.spec.get(field, ())
        draft.put((field,), [*before, *(name for name in value if name not in before)], point)
        for number, name in enumerate(draft.spec[field]):
            if name in value:
                draft.mark((field, number), point_of(document, (*location, value.index(name))))
        return
    draft.put((field,), value, point)
    _mark(draft, (field,), value, document, location)


def _mark(
    draft: Draft, at: Location, value: Any, document: YamlDocument, location: Location
) -> None:
    """Tell for everything below a value where it stands in the Source."""
    if isinstance(value, dict):
        below: Iterable[tuple[str | int, Any]] = value.items()
    else:
        below = enumerate(value) if isinstance(value, list) else ()
    for segment, item in below:
        draft.mark((*at, segment), point_of(document, (*location, segment)))
        _mark(draft, (*at, segment), item, document, (*location, segment))
