"""What each of the commits that touched a file meant for one of its services.

Who looks for the commit behind a fault must not be led to one that changed only comments or
the order of keys, nor to one that only mended the mistake for which its forerunner was
refused. Neighbour: `flows.git_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flows.repository.contract import DesiredChange, Repository
from infrastructure.errors import InvalidInputError
from infrastructure.yaml_source import parse_yaml


@dataclass(frozen=True, slots=True)
class JudgedChanges:
    """Shas. `idle` changed nothing of the target; `refused` came into force with a later one."""

    idle: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


def judge_changes(
    repository: Repository,
    changes: Sequence[DesiredChange],
    path: str,
    *,
    target: str,
    max_bytes: int,
    refused: Callable[[str], bool],
) -> JudgedChanges:
    """Looks back until a commit that changed something of a target stands on one in force.

    Args:
        repository: the clone.
        changes: commits that touched the file, newest first. Of the oldest nothing is known.
        target: its inventory id; a file may declare several.
        path: the file.
        max_bytes: a larger file is not looked into.
        refused: whether the desired state of a commit is not valid.

    Raises:
        TemporaryError: the clone can't be read now; `CloneDamagedError`: it is damaged.
    """
    idle: set[str] = set()
    open_: set[str] = set()
    changed = False
    said = ((c.sha, _declared(repository, c.sha, path, target, max_bytes)) for c in changes)
    for (sha, now), (before, then) in pairwise(said):
        if now is not None and now == then:
            idle.add(sha)
        else:
            changed = True
        if changed and not refused(before):
            break
        if changed:
            open_.add(before)
    return JudgedChanges(frozenset(idle), frozenset(open_))


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
    return [_exact(data) for data in ([d for d in said if _name(d) == name] or said)]


def _exact(value: Any) -> Any:
    """The value so that it equals nothing of another type: a variable may be 1, 1.0 or true."""
    if isinstance(value, Mapping):
        return {(type(key), key): _exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return type(value), value


def _name(document: Any) -> Any:
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    return metadata.get("name") if isinstance(metadata, Mapping) else None
