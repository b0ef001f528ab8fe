"""Which objects belong to which service. Pure; read by observation and by every primitive.

An object belongs to the target of UICI's own tag. What others made has no such tag; it is
adopted by what the binding selects, else by its display name. Keys of free-form tags can
hold no dot, so the tag is `uici-target`; to everyone else it is the label `uici.target`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from executors.env_note import env_words
from executors.oci.answers import Resource
from executors.oci.settings import Selection
from infrastructure.observed import NativeObject
from infrastructure.service import EnvValue, target_id

TARGET_TAG = "uici-target"
SERVICE_TAG = "uici-service"
DIGEST_TAG = "uici-spec-digest"
# A new container instance carries the id of the one it replaces until that one is gone.
REPLACES_TAG = "uici-replaces"
PREVIOUS_IMAGE_TAG = "uici-previous-image"
STARTED_TAG = "uici-started-at"
# On the container: names of the variables that UICI set, spread over `uici-env-0`, `-1` …
# because the value of a tag holds 256 characters and a resource ten free-form tags.
ENV_TAG = "uici-env-"
_TAG_LENGTH, _ENV_TAGS = 256, 6

TARGET_LABEL = "uici.target"
_REPLICA_SUFFIX = re.compile(r"[-_](\d+)$")
_NUMBERS = re.compile(r"(\d+)")
R = TypeVar("R", bound=Resource)


def labels(resource: Resource) -> dict[str, str]:
    """All tags as labels: free-form ones by their key, defined ones as `namespace.key`."""
    found = {
        key.replace("uici-", "uici.", 1) if key.startswith("uici-") else key: value
        for key, value in (resource.freeform_tags or {}).items()
    }
    for namespace, tags in (resource.defined_tags or {}).items():
        found |= {f"{namespace}.{key}": str(value) for key, value in tags.items()}
    return found


def native(kind: str, resource: Resource) -> NativeObject:
    """For self-exclusion and audit."""
    return NativeObject(kind, resource.id, resource.name, labels(resource))


def env_tags(env: Mapping[str, EnvValue]) -> dict[str, str]:
    """Tags that note names of variables. Those that find no room are not noted."""
    parts = [""]
    for name in env_words(env):
        longer = f"{parts[-1]} {name}".strip()
        if len(longer) <= _TAG_LENGTH:
            parts[-1] = longer
        elif len(name) <= _TAG_LENGTH and len(parts) < _ENV_TAGS:
            parts.append(name)
    return {f"{ENV_TAG}{index}": part for index, part in enumerate(parts) if part}


def noted_env(tags: Mapping[str, str] | None) -> list[str]:
    """The variables that UICI set when it made the container, as `executors.env_note` notes."""
    noted = (value for key, value in (tags or {}).items() if key.startswith(ENV_TAG))
    return [word for value in noted for word in value.split()]


@dataclass(frozen=True, slots=True)
class Members(Generic[R]):
    """The objects of one service in the order of their names; unfinished successors apart."""

    visible: tuple[R, ...] = ()
    leftovers: tuple[R, ...] = ()

    @property
    def all(self) -> tuple[R, ...]:
        """Everything that self-exclusion has to look at."""
        return self.visible + self.leftovers


class Roster(Generic[R]):
    """All objects of one kind, sorted by target.

    Args:
        environment: first part of every target id.
        entries: what the lists said.
        declared: names of all services of desired state here: an untagged `web-1` is a
            replica of `web` unless `web-1` is a service. None: not told, so nobody's.
        asked: names of the services that the caller is about; they may claim, too.
    """

    def __init__(
        self,
        environment: str,
        entries: Iterable[R],
        *,
        declared: frozenset[str] | None,
        asked: Collection[str],
    ) -> None:
        self._environment = environment
        self.entries = tuple(entries)
        self.ids = frozenset(entry.id for entry in self.entries)
        self.names = frozenset(entry.name for entry in self.entries)
        claiming = (declared or frozenset()).union(asked)
        self._tagged: dict[str, list[R]] = defaultdict(list)
        self._named: dict[str, list[R]] = defaultdict(list)
        self._untagged: list[R] = []
        for entry in self.entries:
            target = (entry.freeform_tags or {}).get(TARGET_TAG)
            if target is not None:
                self._tagged[target].append(entry)
                continue
            self._untagged.append(entry)
            stem = _REPLICA_SUFFIX.sub("", entry.name)
            if entry.name in claiming:
                self._named[entry.name].append(entry)
            elif declared is not None and stem in claiming:
                self._named[stem].append(entry)

    def members(
        self, name: str, *, select: Selection | None, compartment: str | None
    ) -> Members[R]:
        """The objects of a service."""
        own = self._tagged.get(target_id(self._environment, name), ())
        if select is None:
            adopted = self._named.get(name, [])
        else:
            adopted = [entry for entry in self._untagged if selected(entry, select)]
        found = [
            entry
            for entry in (*own, *adopted)
            if compartment is None or entry.compartment_id == compartment
        ]
        found.sort(key=lambda entry: natural(entry.name))
        return Members(
            tuple(e for e in found if not self._is_unfinished(e)),
            tuple(e for e in found if self._is_unfinished(e)),
        )

    def orphans(self, kind: str, declared: Collection[str]) -> list[NativeObject]:
        """Objects with this environment's tag and a target nobody declares."""
        prefix = self._environment + "/"
        strays = [
            entry
            for target, entries in self._tagged.items()
            if target.startswith(prefix)
            for entry in entries
            if target[len(prefix) :] not in declared or self._is_unfinished(entry)
        ]
        return [native(kind, e) for e in sorted(strays, key=lambda e: natural(e.name))]

    def _is_unfinished(self, entry: R) -> bool:
        """Whether it was to replace something that is still there."""
        return (entry.freeform_tags or {}).get(REPLACES_TAG) in self.ids


def selected(entry: Resource, select: Selection) -> bool:
    """Whether everything that the binding gives matches."""
    free, defined = entry.freeform_tags or {}, entry.defined_tags or {}
    return (
        (not select.ids or entry.id in select.ids)
        and (select.display_name is None or entry.display_name == select.display_name)
        and all(free.get(key) == value for key, value in select.tags.items())
        and all(
            (defined.get(namespace) or {}).get(key) == value
            for namespace, tags in select.defined_tags.items()
            for key, value in tags.items()
        )
    )


def natural(name: str) -> tuple[str | int, ...]:
    """Sort key: `web-2` before `web-10`. Text and numbers alternate, so keys compare."""
    parts = _NUMBERS.split(name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def replica_index(name: str) -> int:
    """The number at the end of a name; 0 where there is none."""
    match = _REPLICA_SUFFIX.search(name)
    return int(match[1]) if match else 0


def names_for(name: str, *, replicas: int, count: int, taken: Collection[str]) -> tuple[str, ...]:
    """Names of the next `count` objects: `web` alone, or the lowest free `web-1`, `web-2` …"""
    found = [name] if replicas == 1 and count == 1 and name not in taken else []
    index = 0
    while len(found) < count:
        index += 1
        if f"{name}-{index}" not in taken:
            found.append(f"{name}-{index}")
    return tuple(found)
