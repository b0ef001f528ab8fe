"""What the Docker primitives need of an engine, without naming the SDK.

`executors.docker` implements it over the Docker SDK; the modules that hold the procedures
(lifecycle, capacity, replacement, evidence) know only this. All methods raise errors of
`infrastructure.errors` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from executors.deadline import Deadline
from executors.docker.membership import Listed, Members
from executors.docker.spec import Container
from executors.docker.stream import Stream
from infrastructure.errors import (
    OutcomeUnknownError,
    PermanentError,
    UiciError,
)
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")


class DockerSession(Protocol):
    """One conversation with the engine, for one thread, within one deadline."""

    def inspect(self, container: str) -> Json:
        """`GET /containers/{id}/json`."""
        ...

    def start(self, container: str) -> None:
        """Start; nothing happens to one that runs."""
        ...

    def stop(self, container: str, grace: int) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds."""
        ...

    def restart(self, container: str, grace: int) -> None:
        """Stop and start."""
        ...

    def pause(self, container: str) -> None:
        """Freeze."""
        ...

    def unpause(self, container: str) -> None:
        """Let go on."""
        ...

    def rename(self, container: str, name: str) -> None:
        """Give another name."""
        ...

    def remove(self, container: str) -> None:
        """Kill if needed and remove; volumes are kept. One that is gone is fine."""
        ...

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """`POST /containers/create`; returns the id."""
        ...

    def update(self, container: str, body: Mapping[str, Any]) -> None:
        """`POST /containers/{id}/update`: limits, without a restart."""
        ...

    def connect(self, network: str, container: str, endpoint: Mapping[str, Any]) -> None:
        """Connect to a network."""
        ...

    def disconnect(self, network: str, container: str) -> None:
        """Disconnect from a network."""
        ...

    def image(self, reference: str) -> Json | None:
        """`GET /images/{name}/json`, or None: the engine does not have it."""
        ...

    def pull(self, reference: str) -> None:
        """Fetch an image from its registry."""
        ...

    def logs(self, container: str, query: Mapping[str, Any], *, tty: bool, limit: int) -> Stream:
        """Log lines by the engine's own query parameters; the newest `limit` bytes."""
        ...

    def stats(self, container: str) -> Json:
        """One sample of `GET /containers/{id}/stats`, with the one before it."""
        ...

    def events(self, since: float, until: float, filters: Mapping[str, Any]) -> list[Json]:
        """Recorded events between two moments (Unix seconds)."""
        ...

    def execute(
        self, container: str, options: Mapping[str, Any], *, limit: int
    ) -> tuple[int, Stream]:
        """Run a command to its end; exit code and the first `limit` bytes of its output."""
        ...


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What does not change from call to call."""

    open: Callable[[Deadline], AbstractContextManager[DockerSession]]
    resolve_secret: Callable[[str], str]
    concurrency: int
    pull: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One primitive call with everything that was looked up for it.

    `containers` are those it is about (all visible members, or the one that was named).
    `names` are all names in use in the engine; `owns` tells whether a container that is
    gone was the target's.
    """

    service: Service
    call: PrimitiveCall
    mutates: bool
    members: Members
    containers: tuple[Container, ...]
    leftovers: tuple[Container, ...]
    names: frozenset[str]
    owns: Callable[[Listed], bool]
    deadline: Deadline
    tools: Toolbox
    declared: bool = True  # whether desired state has the service

    def session(self, deadline: Deadline | None = None) -> AbstractContextManager[DockerSession]:
        """A conversation with the engine; by default within the call's own deadline."""
        return self.tools.open(deadline or self.deadline)

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument, with None read as "not given"."""
        value = self.call.arguments.get(name)
        return default if value is None else value


Handler = Callable[[Job], PrimitiveResult]


def done(touched: Iterable[Container | Listed | str], output: Any = None) -> PrimitiveResult:
    """The result of a change; with nothing touched the world already was as asked."""
    ids = tuple(item if isinstance(item, str) else item.id for item in touched)
    return PrimitiveResult(changed=bool(ids), native_ids=ids, output=output)


def require_instances(job: Job) -> tuple[Container, ...]:
    """The containers, or PermanentError with the way out."""
    if not job.containers:
        raise PermanentError(
            f"{job.call.primitive} {job.service.target}: it has no container; create it first"
        )
    return job.containers


def each(job: Job, items: Sequence[T], act: Callable[[DockerSession, T], R]) -> list[R]:
    """Do the same to several containers at the same time, boundedly, each on its own session.

    Raises:
        UiciError: what the first failure was, if nothing was done.
        OutcomeUnknownError: some were done and some failed.
    """

    def one(item: T) -> R | UiciError:
        try:
            with job.session() as session:
                return act(session, item)
        except UiciError as exc:
            return exc

    results: list[R | UiciError]
    if len(items) <= 1:
        results = [one(item) for item in items]
    else:
        with ThreadPoolExecutor(min(job.tools.concurrency, len(items))) as pool:
            results = list(pool.map(one, items))
    failures = [r for r in results if isinstance(r, UiciError)]
    if not failures:
        return [r for r in results if not isinstance(r, UiciError)]
    raise_failures(job, failures, attempted=len(items))
    raise AssertionError("unreachable")  # pragma: no cover


def raise_failures(job: Job, failures: Collection[UiciError], *, attempted: int) -> None:
    """Raise what several failures mean together; nothing if there is none."""
    if not failures:
        return
    unknown = next((f for f in failures if isinstance(f, OutcomeUnknownError)), None)
    worst = unknown or next(iter(failures))
    if not job.mutates or unknown is not None or len(failures) == attempted:
        raise worst
    raise OutcomeUnknownError(
        f"{job.call.primitive} {job.service.target}: {attempted - len(failures)} of {attempted}"
        f" containers done, then: {worst}",
        remedy="nothing to do by hand: the next run observes and goes on from there",
    ) from worst
