"""What the Kubernetes procedures need of a cluster, without naming the SDK.

`executors.kubernetes.sdk` implements `Cluster`; the modules that hold the procedures know
only this. All methods raise errors of `infrastructure.errors` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from executors.deadline import Deadline
from executors.kubernetes.binding import Json, Place
from infrastructure.errors import NotFoundError
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Executed:
    """The end of a command in a container."""

    exit_code: int
    stdout: str
    stderr: str
    truncated: bool


class Cluster(Protocol):
    """One API server. Safe to use from several threads."""

    address: str

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        deadline: Deadline,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        lean: bool = False,
    ) -> Json:
        """One request, as decoded JSON. Reads are tried again while there is time.

        `lean`: without who manages which field, which is half of what a list weighs.
        """
        ...

    def text(
        self, path: str, *, what: str, deadline: Deadline, query: Query, limit: int
    ) -> tuple[str, bool]:
        """The last `limit` bytes of a text, and whether something before them was cut."""
        ...

    def execute(
        self, path: str, argv: Sequence[str], *, container: str, deadline: Deadline, limit: int
    ) -> Executed:
        """Run a command in a container to its end; `path` is the pod's."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What the environment's connection says about changes.

    Attributes:
        manager: our name as a field manager.
        take_over: other managers whose changes to declared fields are taken back.
        attempts: how often a change is made anew when the object changed in between.
    """

    manager: str
    take_over: frozenset[str]
    attempts: int


@dataclass(frozen=True, slots=True)
class Job:
    """One primitive call with everything that was looked up for it.

    `workload` None: it does not exist. `pods` are its pods that are not on their way out,
    `chosen` those that the call is about.
    """

    service: Service
    call: PrimitiveCall
    place: Place
    workload: Json | None
    pods: tuple[Json, ...]
    chosen: tuple[Json, ...]
    deadline: Deadline
    cluster: Cluster
    policy: Policy
    resolve_secret: Callable[[str], str]
    refresh: Callable[[], tuple[Json | None, tuple[Json, ...]]]

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument, with None read as "not given"."""
        value = self.call.arguments.get(name)
        return default if value is None else value

    @property
    def what(self) -> str:
        """The action and its object, for messages."""
        return f"{self.call.primitive} {self.service.target}"

    def require(self) -> Json:
        """The workload, or NotFoundError with the way out."""
        if self.workload is None:
            raise NotFoundError(
                f"{self.what}: {self.place} does not exist, or is another target's; create it first"
            )
        return self.workload


Handler = Callable[[Job], PrimitiveResult]


def uid(item: Mapping[str, Any]) -> str:
    """The server's identity of an object."""
    return str(item["metadata"]["uid"])


def done(touched: Iterable[Mapping[str, Any]], output: Any = None) -> PrimitiveResult:
    """The result of a change; with nothing touched the world already was as asked."""
    ids = tuple(uid(item) for item in touched)
    return PrimitiveResult(changed=bool(ids), native_ids=ids, output=output)
