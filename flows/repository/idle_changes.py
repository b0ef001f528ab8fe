"""Commits that touched a file and changed nothing that it declares: comments, order of keys.

Who looks for the commit behind a fault must not be led to one of them. Neighbour:
`flows.git_state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from flows.repository.contract import DesiredChange, Repository
from infrastructure.errors import InvalidInputError
from infrastructure.yaml_source import parse_yaml


def idle_changes(
    repository: Repository,
    changes: Sequence[DesiredChange],
    path: str,
    *,
    target: str,
    max_bytes: int,
) -> frozenset[str]:
    """Those of the newest commits that changed nothing of a target, up to the first that did.

    Args:
        repository: the clone.
        changes: commits that touched the file, newest first. Of the oldest nothing is known.
        target: its inventory id; a file may declare several.
        path: the file.
        max_bytes: a larger file is not looked into.

    Raises:
        TemporaryError: the clone can't be read now; `CloneDamagedError`: it is damaged.
    """
    idle: set[str] = set()
    said = ((c.sha, _declared(repository, c.sha, path, target, max_bytes)) for c in changes)
    for (sha, now), (_, then) in pairwise(said):
        if now is None or now != then:
            break
        idle.add(sha)
    return frozenset(idle)


def _declared(
    repository: Repository, sha: str, path: str, target: str, max_bytes: int
) -> list[Any] | None:
    """What the file says of a target at a commit, or all of it; None: that can't be told."""
    blob = repository.tree(sha, [path]).files.get(path)
    if blob is None or blob.size > max_bytes:
        return None
    content = repository.read([blob.sha])[blob.sha]
    try:
        said = [document.data for document in parse_yaml(content, file=path, max_bytes=max_bytes)]
    except InvalidInputError:
        return None
    name = target.rpartition("/")[2]
    return [data for data in said if _name(data) == name] or said


def _name(document: Any) -> Any:
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    return metadata.get("name") if isinstance(metadata, Mapping) else None
