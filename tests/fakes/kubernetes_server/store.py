"""The objects of a cluster: versions, generations, owners. Thread-safe by one lock."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from tests.fakes.kubernetes_server import fields
from tests.fakes.kubernetes_server.admission import admit

Json = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name

KINDS = {
    "deployments": ("apps/v1", "Deployment"),
    "replicasets": ("apps/v1", "ReplicaSet"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "daemonsets": ("apps/v1", "DaemonSet"),
    "controllerrevisions": ("apps/v1", "ControllerRevision"),
    "jobs": ("batch/v1", "Job"),
    "cronjobs": ("batch/v1", "CronJob"),
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "events": ("v1", "Event"),
    "namespaces": ("v1", "Namespace"),
}


class MissingError(Exception):
    """404."""


class StaleError(Exception):
    """409: another version, another uid, or it exists already."""


def now() -> str:
    """As the real one writes times: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """All objects by plural, namespace and name."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._items: dict[Key, Json] = {}
        self._managers: dict[str, list[fields.Manager]] = {}
        self._version = 100

    @property
    def version(self) -> int:
        """Of the newest change."""
        return self._version

    def get(self, plural: str, namespace: str, name: str) -> Json:
        with self.lock:
            try:
                return self._items[plural, namespace, name]
            except KeyError:
                raise MissingError(f'{plural} "{name}" not found') from None

    def all(self, plural: str, namespace: str | None = None) -> list[Json]:
        """In the order of their names."""
        with self.lock:
            return [
                item
                for (kind, where, _), item in sorted(self._items.items())
                if kind == plural and namespace in (None, where)
            ]

    def create(self, plural: str, item: Json, *, manager: str) -> Json:
        with self.lock:
            metadata = item["metadata"]
            key = (plural, metadata.get("namespace", ""), metadata["name"])
            if key in self._items:
                raise StaleError(f'{plural} "{key[2]}" already exists')
            version, kind = KINDS[plural]
            made = {**copy.deepcopy(item), "apiVersion": version, "kind": kind}
            self._born(made)
            managers: list[fields.Manager] = []
            fields.update({}, made, managers, manager)
            admit(made, None)
            return self._keep(key, made, managers)

    def change(
        self,
        plural: str,
        namespace: str,
        name: str,
        edit: Callable[[Json], None],
        *,
        manager: str,
        subresource: str = "",
    ) -> Json:
        """Change an object; who changes a field owns it."""
        with self.lock:
            before = self.get(plural, namespace, name)
            after = copy.deepcopy(before)
            edit(after)
            asked = after["metadata"].get("resourceVersion")
            if asked != before["metadata"]["resourceVersion"]:
                raise StaleError(
                    "the object has been modified; please apply your changes to the latest"
                )
            admit(after, before)
            managers = self._managers.setdefault(before["metadata"]["uid"], [])
            fields.update(before, after, managers, manager, subresource=subresource)
            return self._changed((plural, namespace, name), before, after, managers)

    def apply(
        self,
        plural: str,
        namespace: str,
        name: str,
        body: Json,
        *,
        manager: str,
        force: bool,
        dry: bool = False,
    ) -> tuple[Json, bool]:
        """Server-side apply; whether it was made, too. `dry`: nothing is kept.

        Raises:
            fields.ApplyConflictError: with other managers.
        """
        with self.lock:
            key = (plural, namespace, name)
            before = self._items.get(key)
            asked = body["metadata"].get("resourceVersion")
            if before is None:
                if asked is not None:
                    raise MissingError(f'{plural} "{name}" not found')
                managers: list[fields.Manager] = []
                made = fields.apply(None, body, managers, manager, force=force)
                made["metadata"] |= {"namespace": namespace, "name": name}
                self._born(made)
                admit(made, None)
                return (made if dry else self._keep(key, made, managers)), True
            if asked is not None and asked != before["metadata"]["resourceVersion"]:
                raise StaleError(
                    "the object has been modified; please apply your changes to the latest"
                )
            managers = copy.deepcopy(self._managers[before["metadata"]["uid"]])
            after = fields.apply(before, body, managers, manager, force=force)
            admit(after, before)
            if dry:
                return after, False
            return self._changed(key, before, after, managers), False

    def status(self, plural: str, namespace: str, name: str, status: Json) -> None:
        """Set an object's status, if it differs."""
        with self.lock:
            item = self._items.get((plural, namespace, name))
            if item is not None and item.get("status") != status:
                after = {**item, "metadata": dict(item["metadata"]), "status": status}
                after["metadata"]["resourceVersion"] = self._next()
                self._items[plural, namespace, name] = after

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """And what it owns."""
        with self.lock:
            item = self._items.pop((plural, namespace, name), None)
            if item is None:
                return
            self._next()
            owner = item["metadata"]["uid"]
            for key in [k for k, i in self._items.items() if owner in set(owners(i))]:
                self.delete(*key)

    def seed(self, plural: str, item: Json) -> Json:
        """Put an object there as it is: for large clusters, without controllers."""
        version, kind = KINDS[plural]
        with self.lock:
            made = {"apiVersion": version, "kind": kind, **item}
            self._born(made)
            metadata = made["metadata"]
            return self._keep((plural, metadata["namespace"], metadata["name"]), made, [])

    def _born(self, item: Json) -> None:
        item["metadata"] = {
            **item["metadata"],
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": now(),
        }

    def _keep(self, key: Key, item: Json, managers: list[fields.Manager]) -> Json:
        metadata = {**item["metadata"], "resourceVersion": self._next()}
        if managers:
            metadata["managedFields"] = fields.managed_fields(managers, item["apiVersion"], now())
        kept = {**item, "metadata": metadata}
        self._items[key] = kept
        self._managers[metadata["uid"]] = managers
        return kept

    def _changed(self, key: Key, before: Json, after: Json, managers: list[fields.Manager]) -> Json:
        ending = "deletionTimestamp"
        same = fields.strip(before) == fields.strip(after)
        same = same and before["metadata"].get(ending) == after["metadata"].get(ending)
        self._managers[before["metadata"]["uid"]] = managers
        if same and before.get("status") == after.get("status"):
            # A change that changes nothing has no version of its own.
            shown = fields.managed_fields(managers, before["apiVersion"], now())
            before["metadata"]["managedFields"] = shown
            return before
        if before.get("spec") != after.get("spec"):
            after["metadata"]["generation"] = before["metadata"]["generation"] + 1
        return self._keep(key, after, managers)

    def _next(self) -> str:
        self._version += 1
        return str(self._version)


def owners(item: Json) -> Iterator[str]:
    """Uids of an object's owners."""
    for reference in item["metadata"].get("ownerReferences") or ():
        yield reference["uid"]
