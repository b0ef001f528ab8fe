"""Which containers belong to which target. Pure; read by observation and by every primitive.

A container belongs to the target of its `uici.target` label. Containers that UICI did not
make have no such label; they are adopted by name or by the service label of Compose, so
that a team can put what already runs under desired state without a restart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.observed import NativeObject
from infrastructure.service import target_id
from infrastructure.sources.names import service_name

TARGET_LABEL = "uici.target"
SERVICE_LABEL = "uici.service"
DIGEST_LABEL = "uici.spec-digest"
# Names of the variables that desired state declared, with blanks between, secret ones marked
# (docs/adr/0009, `executors.env_note`).
ENV_LABEL = "uici.env"
# A replaced container keeps this mark until its successor runs; see `replace_container`.
OLD_MARK = ".uici-old-"
# A successor that runs beside it has this one until it takes its place; see `blue_green`.
NEW_MARK = ".uici-new-"

_COMPOSE_SERVICE = "com.docker.compose.service"
_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_ONEOFF = "com.docker.compose.oneoff"
_REPLICA_SUFFIX = re.compile(r"[-_](\d+)$")
_NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the engine's list."""

    id: str
    name: str
    labels: Mapping[str, str]
    started: bool = True  # ever

    @property
    def native(self) -> NativeObject:
        """For self-exclusion and audit."""
        return NativeObject("container", self.id, self.name, self.labels)

    @property
    def is_leftover(self) -> bool:
        """Whether it was being replaced when something broke off."""
        return OLD_MARK in self.name or self.is_successor

    @property
    def place(self) -> str:
        """The name that it has, had, or was to have."""
        return original_name(self.name)

    @property
    def is_successor(self) -> bool:
        """Whether it was to take the place of another one."""
        return NEW_MARK in self.name


def listed(entry: Mapping[str, Any]) -> Listed:
    """From an entry of `GET /containers/json`.

    A legacy link gives a container more names (`/other/alias`); its own has one slash.
    """
    names = entry.get("Names") or ()
    own = next((n for n in names if n.count("/") == 1), names[0] if names else "")
    started = entry.get("State") != "created"
    return Listed(entry["Id"], own.lstrip("/"), entry.get("Labels") or {}, started)


@dataclass(frozen=True, slots=True)
class Members:
    """The containers of one target; leftovers apart. Both in the order of their names."""

    instances: tuple[Listed, ...] = ()
    leftovers: tuple[Listed, ...] = ()

    @property
    def _replaced(self) -> tuple[Listed, ...]:
        """Leftovers in whose place a successor already is, or was to be."""
        names = {entry.name for entry in self.instances}
        return tuple(e for e in self.leftovers if OLD_MARK in e.name and e.place in names)

    @property
    def all(self) -> tuple[Listed, ...]:
        """Everything that self-exclusion has to look at."""
        return self.instances + self.leftovers

    @property
    def visible(self) -> tuple[Listed, ...]:
        """What counts as the target's instances, so that half a replacement is seen and ended.

        A successor that never ran is not there: what it was to replace still is. Beside one
        that did, the old one is one too many. Other leftovers count while nothing else is there.
        """
        replaced = self._replaced
        waiting = {entry.place for entry in replaced}
        here = tuple(e for e in self.instances if e.started or e.name not in waiting)
        return (*here, *replaced) or self.leftovers


class Roster:
    """One list of an engine, sorted by target.

    Args:
        environment: environment name, first part of every target id.
        entries: the engine's list.
        declared: names of all services that desired state has in this environment: an
            unlabelled `web-1` is a replica of `web` unless `web-1` is a service. None: not
            told, so it is nobody's replica.
        asked: names of the services that the caller is about; they may claim, too.
    """

    def __init__(
        self,
        environment: str,
        entries: Iterable[Listed],
        *,
        declared: frozenset[str] | None,
        asked: Collection[str] = (),
    ) -> None:
        self._environment = environment
        self._replicas_known = declared is not None
        claiming = (declared or frozenset()).union(asked)
        self._labelled: dict[str, list[Listed]] = defaultdict(list)
        self._named: dict[str, list[Listed]] = defaultdict(list)
        self._composed: dict[str, list[Listed]] = defaultdict(list)
        names = set()
        for entry in entries:
            names.add(entry.name)
            target = entry.labels.get(TARGET_LABEL)
            if target is not None:
                self._labelled[target].append(entry)
            else:
                self._adopt(entry, claiming)
        self.names = frozenset(names)

    def _adopt(self, entry: Listed, claiming: Collection[str]) -> None:
        """File an unlabelled container under the one service that may claim it."""
        name = original_name(entry.name)
        service = entry.labels.get(_COMPOSE_SERVICE, "")
        if service and service not in claiming:
            # Compose allows names that no Service can have: `my_app` is `my-app` here.
            service = service_name(service) or service
        if name in claiming:
            self._named[name].append(entry)
        elif service in claiming and entry.labels.get(_COMPOSE_ONEOFF, "").lower() != "true":
            self._composed[service].append(entry)
        elif self._replicas_known and (stem := _REPLICA_SUFFIX.sub("", name)) in claiming:
            self._named[stem].append(entry)

    def members(self, name: str, *, project: str | None = None) -> Members:
        """The containers of a service.

        Args:
            name: a declared service.
            project: Compose project to adopt from. Without it, containers of two projects
                that have a service of this name are left alone: nobody knows which is meant.
        """
        composed = self._composed.get(name, ())
        projects = {entry.labels.get(_COMPOSE_PROJECT, "") for entry in composed}
        wanted = {project} if project else projects if len(projects) == 1 else set()
        found = [
            *self._labelled.get(target_id(self._environment, name), ()),
            *self._named.get(name, ()),
            *(e for e in composed if e.labels.get(_COMPOSE_PROJECT, "") in wanted),
        ]
        if len(found) > 1:
            found.sort(key=lambda entry: natural(entry.name))
        return Members(
            tuple(e for e in found if not e.is_leftover),
            tuple(e for e in found if e.is_leftover),
        )

    def orphans(self, declared: Collection[str]) -> tuple[NativeObject, ...]:
        """Containers that carry this environment's label and a target nobody declares."""
        prefix = self._environment + "/"
        strays = [
            entry
            for target, entries in self._labelled.items()
            if target.startswith(prefix) and target[len(prefix) :] not in declared
            for entry in entries
        ]
        # What a replacement that broke off has left, and is not seen as one instance too many.
        strays += [
            entry
            for entries in self._labelled.values()
            if any(not other.is_leftover for other in entries)
            for entry in entries
            if entry.is_successor and entry not in strays
        ]
        return tuple(e.native for e in sorted(strays, key=lambda e: natural(e.name)))


def compose_project(labels: Mapping[str, str]) -> str | None:
    """The project that a Service names in its own labels, if it does."""
    return labels.get(_COMPOSE_PROJECT)


def natural(name: str) -> tuple[str | int, ...]:
    """Sort key: `web-2` before `web-10`. Text and numbers alternate, so keys compare."""
    parts = _NUMBERS.split(name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def replica_index(name: str) -> int:
    """The number at the end of a container's name; 0 where there is none."""
    match = _REPLICA_SUFFIX.search(name)
    return int(match[1]) if match else 0


def names_for(name: str, *, replicas: int, count: int, taken: Collection[str]) -> tuple[str, ...]:
    """Names of the next `count` instances: `web` alone, or the lowest free `web-1`, `web-2` …

    A lone name that is taken falls back to a numbered one.
    """
    found = [name] if replicas == 1 and count == 1 and name not in taken else []
    index = 0
    while len(found) < count:
        index += 1
        if f"{name}-{index}" not in taken:
            found.append(f"{name}-{index}")
    return tuple(found)


def old_name(name: str, container_id: str) -> str:
    """Under what name a container waits while it is replaced."""
    return f"{name}{OLD_MARK}{container_id[:12]}"


def new_name(name: str, container_id: str) -> str:
    """Under what name the successor of a container waits until it takes its place."""
    return f"{name}{NEW_MARK}{container_id[:12]}"


def original_name(name: str) -> str:
    """The name a leftover had, or was to have."""
    return name.partition(OLD_MARK)[0].partition(NEW_MARK)[0]
