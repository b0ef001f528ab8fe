"""Folders of Kubernetes manifests → drafts of Services. What one becomes: `workload`.

Deployments, StatefulSets and DaemonSets become Services; what else a folder holds (Services
of Kubernetes, ConfigMaps …) is listed as a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from infrastructure.errors import InvalidInputError
from infrastructure.sources.draft import Draft, Findings, Point, point_of
from infrastructure.sources.tree import Tree
from infrastructure.sources.workload import workload_draft
from infrastructure.yaml_source import YamlDocument, parse_yaml

_SUFFIXES = (".yml", ".yaml")


def read_manifests(
    folder: str, tree: Tree, findings: Findings, *, max_bytes: int, point: Point
) -> dict[str, Draft]:
    """Drafts by name, of all manifests below a folder.

    Args:
        folder: in the tree; a single file is taken, too.
        tree: where it stands.
        findings: gets errors and warnings.
        max_bytes: larger files are refused.
        point: where the folder is named, for what concerns all of it.
    """
    paths = [path for path in tree.below(folder) if path.endswith(_SUFFIXES)]
    if not paths and tree.read(folder) is not None:
        paths = [folder]
    if not paths:
        findings.error(point, f"{folder} holds no .yml or .yaml file", "correct the path")
        return {}
    drafts: dict[str, Draft] = {}
    for path in paths:
        for document in _documents(path, tree, findings, max_bytes=max_bytes):
            draft = workload_draft(document, findings)
            if draft is None:
                continue
            other = drafts.setdefault(draft.name, draft)
            if other is not draft:
                message = f"{draft.name} is declared twice"
                remedy = f"the first is in {other.origin}; use a Source for each of them"
                findings.error(draft.origin, message, remedy)
    return drafts


def _documents(
    path: str, tree: Tree, findings: Findings, *, max_bytes: int
) -> Iterator[YamlDocument]:
    """The documents of one file, those of a List one by one."""
    try:
        content = tree.read(path) or b""
        found = parse_yaml(content, file=path, max_bytes=max_bytes)
    except InvalidInputError as exc:
        findings.errors += exc.problems
        return
    for document in found:
        if not isinstance(document.data, dict) or not isinstance(document.data.get("kind"), str):
            message = "the document is no manifest: it has no kind"
            remedy = "templates (Helm, Kustomize) have to be rendered first"
            findings.error(point_of(document, ()), message, remedy)
        elif document.data["kind"] == "List":
            for number, item in enumerate(document.data.get("items") or ()):
                place = document.below(("items", number))
                if isinstance(item, dict) and place is not None:
                    yield YamlDocument(path, item, place)
        else:
            yield document
