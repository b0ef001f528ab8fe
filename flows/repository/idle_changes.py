"""Commits that touched a file and changed nothing that it declares: comments, order of keys.

Who looks for the commit behind a fault must not be led to one of them. Neighbour:
`flows.git_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from flows.repository.contract import DesiredChange, Repository
from infrastructure.errors import InvalidInputError
from infrastructure.yaml_source import parse_yaml


def idle_changes(
    repository: Repository, changes: Sequence[DesiredChange], path: str, max_bytes: int
) -> frozenset[str]:
    """Those of the newest commits that changed nothing, up to the first that did.

    Args:
        repository: the clone.
        changes: commits that touched the file, newest first. Of the oldest nothing is known.
        path: the file.
        max_bytes: a larger file is not looked into.

    Raises:
        TemporaryError: the clone can't be read now; `CloneDamagedError`: it is damaged.
    """
    idle: set[str] = set()
    for change, before in pairwise(changes):
        now, then = (_declared(repository, c.sha, path, max_bytes) for c in (change, before))
        if now is None or now != then:
            break
        idle.add(change.sha)
    return frozenset(idle)


def _declared(repository: Repository, sha: str, path: str, max_bytes: int) -> list[Any] | None:
    """What the file says at a commit; None: that can't be told."""
    blob = repository.tree(sha, [path]).files.get(path)
    if blob is None or blob.size > max_bytes:
        return None
    content = repository.read([blob.sha])[blob.sha]
    try:
        return [document.data for document in parse_yaml(content, file=path, max_bytes=max_bytes)]
    except InvalidInputError:
        return None
