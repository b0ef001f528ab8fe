"""Field ownership: who set which field, and server-side apply. Pure.

A path is a tuple of steps: `f:name` into a mapping, `k:{…}` to a member of a list that is
merged by keys. Lists of any other kind are one value, as in most of the real API.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]

# field → keys by which the members of its list are known
LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "conditions": ("type",),
}
_SYSTEM = {
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "name",
    "namespace", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink",
}  # fmt: skip


class ApplyConflictError(Exception):
    """Fields that belong to other managers: (field, manager)."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__("conflict")
        self.fields = fields


@dataclass
class Manager:
    """One entry of managedFields."""

    name: str
    operation: str
    subresource: str = ""
    paths: set[Path] = field(default_factory=set)


def strip(item: Mapping[str, Any]) -> Json:
    """What can be owned of an object."""
    body = {k: v for k, v in item.items() if k not in ("apiVersion", "kind", "status", "metadata")}
    metadata = {k: v for k, v in item.get("metadata", {}).items() if k not in _SYSTEM}
    return {**copy.deepcopy(body), **({"metadata": copy.deepcopy(metadata)} if metadata else {})}


def leaves(value: Any, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Paths to scalars, atomic lists and empty mappings."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from leaves(below, (*above, f"f:{name}"))
        return
    keys = LIST_KEYS.get(above[-1][2:]) if above else None
    if isinstance(value, list) and keys and value:
        for member in value:
            yield from leaves(member, (*above, _key(member, keys)))
        return
    yield above, value


def _key(member: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    told = {k: member.get(k, "TCP" if k == "protocol" else None) for k in keys}
    return "k:" + json.dumps(told, separators=(",", ":"))


def merged(base: Any, over: Any, name: str = "") -> Any:
    """`over` laid into `base` by the merge rules."""
    if isinstance(base, dict) and isinstance(over, dict):
        found = dict(base)
        for key, value in over.items():
            found[key] = merged(base[key], value, key) if key in base else copy.deepcopy(value)
        return found
    keys = LIST_KEYS.get(name)
    if isinstance(base, list) and isinstance(over, list) and keys:
        members = {_key(member, keys): member for member in base}
        for member in over:
            key = _key(member, keys)
            members[key] = merged(members[key], member) if key in members else dict(member)
        return list(members.values())
    return copy.deepcopy(over)


def remove(item: Any, path: Path) -> bool:
    """Take one path out; what is empty then goes, too. Returns whether `item` is empty."""
    step, rest = path[0], path[1:]
    if step.startswith("f:"):
        name = step[2:]
        if isinstance(item, dict) and name in item and (not rest or remove(item[name], rest)):
            del item[name]
    elif isinstance(item, list):
        told = json.loads(step[2:])
        for member in list(item):
            if all(member.get(k, "TCP" if k == "protocol" else None) == v for k, v in told.items()):
                # A member goes with its last field beside the keys that it is known by.
                is_key = len(rest) == 1 and rest[0][2:] in told
                gone = not rest or (not is_key and remove(member, rest))
                if gone or set(member) <= set(told):
                    item.remove(member)
    return not item


def apply(
    live: Json | None, body: Json, managers: list[Manager], name: str, *, force: bool
) -> Json:
    """Server-side apply.

    Raises:
        ApplyConflictError: other managers own fields that would change.
    """
    wanted = dict(leaves(strip(body)))
    present = dict(leaves(strip(live))) if live else {}
    conflicts = [
        (path, other)
        for other in managers
        if (other.name, other.operation) != (name, "Apply")
        for path in wanted
        if path in other.paths and present.get(path) != wanted[path]
    ]
    if conflicts and not force:
        raise ApplyConflictError([(dotted(path), other.name) for path, other in conflicts])
    for path, other in conflicts:
        other.paths.discard(path)
    own = next((m for m in managers if (m.name, m.operation) == (name, "Apply")), None)
    if own is None:
        own = Manager(name, "Apply")
        managers.append(own)
    found: Json = copy.deepcopy(live) if live else {}
    others = {path for m in managers if m is not own for path in m.paths}
    for path in own.paths - wanted.keys() - others:
        remove(found, path)
    own.paths = set(wanted)
    ours = {k: v for k, v in body.items() if k != "metadata"}
    found = merged(found, ours)
    metadata = {k: v for k, v in body["metadata"].items() if k != "resourceVersion"}
    found["metadata"] = merged(found.get("metadata", {}), metadata)
    return found


def update(
    before: Json, after: Json, managers: list[Manager], name: str, *, subresource: str = ""
) -> None:
    """Who changes a field owns it."""
    old, new = dict(leaves(strip(before))), dict(leaves(strip(after)))
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    for manager in managers:
        manager.paths = {p for p in manager.paths if p in new and p not in changed}
    if changed:
        own = next(
            (
                m
                for m in managers
                if (m.name, m.operation, m.subresource) == (name, "Update", subresource)
            ),
            None,
        )
        if own is None:
            own = Manager(name, "Update", subresource)
            managers.append(own)
        own.paths |= changed
    managers[:] = [manager for manager in managers if manager.paths]


def managed_fields(managers: list[Manager], version: str, now: str) -> list[Json]:
    """As objects show them."""
    entries = []
    for manager in managers:
        tree: Json = {}
        for path in sorted(manager.paths):
            below = tree
            for step in path:
                below = below.setdefault(step, {})
        entry = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": version,
            "time": now,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
        }
        entries.append({**entry, **({"subresource": s} if (s := manager.subresource) else {})})
    return entries


def dotted(path: Path) -> str:
    """As conflicts name a field."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += "." + step[2:]
        else:
            told = json.loads(step[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in told.items()) + "]"
    return text
