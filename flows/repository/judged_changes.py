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

_Said = tuple[str, list[Any] | None]  # a commit, and what it says of the target
_NOTHING: _Said = ("", None)


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
    said = ((c.sha, _declared(repository, c.sha, path, target, max_bytes)) for c in changes)
    idle: set[str] = set()
    group: list[_Said] = []  # the one in force, then those that were refused before it
    for one in said:
        if not group or refused(one[0]):
            group.append(one)
        elif group[0][1] is not None and group[0][1] == one[1]:
            idle |= {sha for sha, _ in group}  # one took back what the others had brought
            group = [one]
        else:
            group.append(one)
            break
    else:
        group.append(_NOTHING)
    waited = group[1:-1]
    idle |= {
        sha for (sha, now), (_, then) in pairwise(group[1:]) if now is not None and now == then
    }
    return JudgedChanges(frozenset(idle), frozenset(sha for sha, _ in waited))


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
