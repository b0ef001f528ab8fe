"""What `extends` means in compose files: one service laid over another. Pure.

Source: the merge and extend chapters of the Compose Specification.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from infrastructure.sources.compose_units import mapping, texts

# Values that replace each other whole, also where they are lists.
_WHOLE = frozenset({"command", "entrypoint"})


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` laid over `base`: mappings key by key, lists one after the other."""
    made = dict(base)
    for key, value in own.items():
        made[key] = _merged(key, made[key], value) if key in made else value
    return made


def rebased(service: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """A service of a file in another folder, with its relative paths seen from here.

    Args:
        service: its data.
        folder: the other file's folder, relative to this one's.
    """
    made = dict(service)
    if "env_file" in made:
        files = made["env_file"] if isinstance(made["env_file"], list) else [made["env_file"]]
        made["env_file"] = [_moved_env_file(item, folder) for item in files]
    if "volumes" in made:
        made["volumes"] = [_moved_volume(item, folder) for item in made["volumes"]]
    return made


def _merged(key: str, base: Any, own: Any) -> Any:
    if key in _WHOLE or base is None or own is None:
        return own
    if key == "volumes":
        targets = {_target(item) for item in own}
        return [*(item for item in base if _target(item) not in targets), *own]
    shape = _SHAPES.get(key)
    return _deep(base, own) if shape is None else _deep(shape(base), shape(own), flat=True)


def _deep(base: Any, own: Any, *, flat: bool = False) -> Any:
    """Mappings united key by key (`flat`: values replace each other), lists appended."""
    if isinstance(base, dict) and isinstance(own, dict):
        shared = () if flat else base.keys() & own.keys()
        below = {k: own[k] if k == "test" else _deep(base[k], own[k]) for k in shared}
        return {**base, **own, **below}
    if isinstance(base, list) and isinstance(own, list):
        return _united(base, own)
    return own


def _united(base: list[Any], own: list[Any]) -> list[Any]:
    return [*base, *(item for item in own if item not in base)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _by_name(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else dict(mapping(value))


def _conditions(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {name: {"condition": "service_started"} for name in texts(value)}


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else dict.fromkeys(texts(value))


def _target(volume: Any) -> str:
    if isinstance(volume, dict):
        return str(volume.get("target", ""))
    parts = str(volume).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _moved(path: str, folder: str) -> str:
    joined = posixpath.normpath(posixpath.join(folder, path))
    return joined if joined.startswith("..") else f"./{joined}"


def _moved_env_file(item: Any, folder: str) -> Any:
    if isinstance(item, dict):
        return {**item, "path": _moved(str(item["path"]), folder)}
    return _moved(str(item), folder)


def _moved_volume(item: Any, folder: str) -> Any:
    if isinstance(item, dict):
        source = str(item.get("source", ""))
        is_path = item.get("type") == "bind" and source.startswith(".")
        return {**item, "source": _moved(source, folder)} if is_path else item
    source, colon, rest = str(item).partition(":")
    return _moved(source, folder) + colon + rest if colon and source.startswith(".") else item


# Keys that have two forms → the one in which they merge.
_SHAPES: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("environment", "labels", "annotations", "sysctls"), _by_name),
    **dict.fromkeys(("dns", "dns_search", "tmpfs", "env_file", "label_file"), _listed),
    "depends_on": _conditions,
    "networks": _members,
}
