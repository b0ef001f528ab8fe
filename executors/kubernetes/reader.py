"""Lists of a cluster: paged, one a kind, and no more of each object kept than is needed.

A page is worked on and dropped before the next is asked for, so that memory does not grow
with what the server tells about each object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from executors.deadline import Deadline
from executors.kubernetes.binding import Json, Place, WorkloadKind, core_path, workloads_path
from executors.kubernetes.errors import ExpiredError, UnservedError, not_an_api_server
from executors.kubernetes.objects import meta
from executors.kubernetes.pods import belongs_to, is_instance, is_of
from executors.kubernetes.session import Cluster
from infrastructure.errors import NotFoundError

_RESTARTS = 3  # of a list whose place in it has expired
Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class Lister:
    """How lists are asked for.

    Attributes:
        namespaces: to list; one request a page for each.
        cluster_wide: one list over all namespaces instead; others than `namespaces` are
            left out of it.
        page_size: objects in a page.
    """

    cluster: Cluster
    namespaces: Sequence[str]
    cluster_wide: bool
    page_size: int

    def workloads(self, kind: WorkloadKind, deadline: Deadline) -> Iterator[Json]:
        """All workloads of a kind. The server leaves kind and version out of list items."""
        for namespace in self._scopes():
            path = workloads_path(kind, namespace)
            for page in self._pages(path, kind.value, deadline):
                yield from self._within(page)

    def pods(self, deadline: Deadline) -> Iterator[Json]:
        """All pods."""
        for namespace in self._scopes():
            for page in self._pages(core_path("pods", namespace), "pods", deadline):
                yield from self._within(page)

    def _scopes(self) -> Sequence[str | None]:
        return (None,) if self.cluster_wide else self.namespaces

    def _within(self, page: Iterable[Json]) -> Iterator[Json]:
        if not self.cluster_wide:
            yield from page
            return
        wanted = frozenset(self.namespaces)
        yield from (item for item in page if meta(item).get("namespace") in wanted)

    def _pages(self, path: str, what: str, deadline: Deadline) -> Iterator[list[Json]]:
        """Pages of a list. One that expires is listed anew: items may come twice then."""
        for attempt in range(_RESTARTS + 1):
            try:
                yield from pages(
                    self.cluster, path, what=what, deadline=deadline, size=self.page_size
                )
            except ExpiredError:
                if attempt == _RESTARTS:
                    raise
            else:
                return


def pages(
    cluster: Cluster,
    path: str,
    *,
    what: str,
    deadline: Deadline,
    size: int,
    query: Sequence[tuple[str, str]] = (),
) -> Iterator[list[Json]]:
    """Pages of one list, in the server's order.

    Raises:
        ExpiredError: the list lasted longer than the server keeps its state.
    """
    token = ""
    while True:
        asked = [*query, ("limit", str(size))]
        if token:
            asked.append(("continue", token))
        answer = cluster.request(
            "GET", path, what=f"list {what}", deadline=deadline, query=asked, lean=True
        )
        items = answer.get("items", ())
        if items is None:  # how Go writes an empty list
            items = []
        if not isinstance(items, list) or not all(_is_object(item) for item in items):
            raise not_an_api_server(f"list {what}", cluster.address)
        yield items
        token = (answer.get("metadata") or {}).get("continue") or ""
        if not token:
            return


def read_workload(cluster: Cluster, place: Place, deadline: Deadline) -> Json | None:
    """The workload now; None: there is none.

    Raises:
        UnservedError: the cluster has no such kind, so it can't tell.
    """
    try:
        found = cluster.request("GET", place.path, what=f"get {place}", deadline=deadline)
    except UnservedError:
        raise
    except NotFoundError:
        return None
    if not _is_object(found):
        raise not_an_api_server(f"get {place}", cluster.address)
    return found


def read_pods(
    cluster: Cluster, place: Place, workload: Json, deadline: Deadline, *, size: int
) -> tuple[Json, ...]:
    """The pods of one workload, ended and ending ones included, in the order of their names."""
    selector = (workload.get("spec") or {}).get("selector") or {}
    path = core_path("pods", place.namespace)
    asked = [("labelSelector", text)] if (text := selector_text(selector)) else []
    found = [
        pod
        for page in pages(cluster, path, what="pods", deadline=deadline, size=size, query=asked)
        for pod in page
        if is_of(pod, place)
    ]
    return tuple(sorted(found, key=lambda pod: str(meta(pod).get("name"))))


def selector_text(selector: Json) -> str:
    """A label selector as a query parameter spells it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule.get("key"), ",".join(rule.get("values") or ())
        match rule.get("operator"):
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(str(key))
            case "DoesNotExist":
                parts.append(f"!{key}")
            case _:  # a newer server's: `is_of` tells the pods apart without it
                continue
    return ",".join(parts)


def pod_keys(pod: Json) -> tuple[Key, ...]:
    """The workloads that a pod may be of; `is_of` decides. Nobody's pod has none."""
    found = belongs_to(pod)
    if found is None:
        return ()
    kind, name = found
    namespace = str(meta(pod).get("namespace", ""))
    keys: tuple[Key, ...] = ((kind, namespace, name),)
    if kind == WorkloadKind.JOB.value:  # perhaps one that a CronJob made
        keys += ((WorkloadKind.CRON_JOB.value, namespace, name.rpartition("-")[0]),)
    return keys


def place_key(place: Place) -> Key:
    """The key of a workload, as `pod_keys` makes it of its pods."""
    return place.kind.value, place.namespace, place.name


def counts(pod: Json, place: Place) -> bool:
    """Whether a pod is an instance of a workload."""
    return is_of(pod, place) and is_instance(pod, place.kind)


def _is_object(item: object) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)
