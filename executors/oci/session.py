"""What the procedures of this executor need of Oracle Cloud, without naming the SDK.

`executors.oci.sdk` implements `Cloud`; everything else here knows only this. All of it
raises errors of `infrastructure.errors` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from executors.deadline import Deadline
from executors.oci.answers import Json, parse
from executors.oci.settings import Api
from infrastructure.errors import (
    OutcomeUnknownError,
    TemporaryError,
    UiciError,
)
from infrastructure.observed import empty
from infrastructure.operations import PrimitiveResult

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M")


class BudgetSpentError(TemporaryError):
    """This run has sent as many requests as it may."""


@dataclass(frozen=True, slots=True)
class Request:
    """One operation of a service.

    Attributes:
        api: the service.
        operation: the operation, as the SDK's client calls it.
        arguments: its required arguments; bodies are JSON as the API reference has them.
        options: its optional arguments, by the SDK's names.
        what: the action and its object, for messages: "stop web-1".
        mutates: whether it changes anything.
        repeatable: whether sending it twice does no more than sending it once: a read, a
            delete, or an operation with a retry token (the SDK makes one for a request and
            all its repetitions).
    """

    api: Api
    operation: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=empty)
    what: str = ""
    mutates: bool = False
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer of one request: decoded JSON (or text), and the headers that matter."""

    data: Any
    next_page: str | None = None
    work_request: str | None = None
    etag: str | None = None


class Cloud(Protocol):
    """Oracle Cloud, for one identity in one region. Safe to use from several threads."""

    address: str
    page_size: int

    def ask(self, request: Request, deadline: Deadline) -> Reply:
        """Send one request, repeated where that is safe and there is time."""
        ...

    def new_run(self) -> None:
        """Count requests from zero."""
        ...

    def own_ids(self, deadline: Deadline) -> frozenset[str]:
        """OCIDs of what this process runs on, as far as anything tells; empty: nothing does."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


def fetch(
    cloud: Cloud, request: Request, model: type[M], deadline: Deadline, *, keep_raw: bool = True
) -> M:
    """One object."""
    return parse(model, cloud.ask(request, deadline).data, what=request.what, keep_raw=keep_raw)


def pages(
    cloud: Cloud, request: Request, model: type[M], deadline: Deadline, *, keep_raw: bool = False
) -> Iterator[M]:
    """All entries of a list, page by page.

    Raises:
        TemporaryError: an answer that is no list, or pages that go in a circle.
    """
    options = {"limit": cloud.page_size, **request.options}
    seen: set[str] = set()
    while True:
        page = Request(
            request.api, request.operation, request.arguments, options, what=request.what
        )
        reply = cloud.ask(page, deadline)
        # Newer services wrap the list in an object.
        items = reply.data.get("items") if isinstance(reply.data, dict) else reply.data
        if not isinstance(items, list):
            raise TemporaryError(f"{request.what}: the answer is not what the API promises")
        for item in items:
            yield parse(model, item, what=request.what, keep_raw=keep_raw)
        if reply.next_page is None:
            return
        if reply.next_page in seen:
            raise TemporaryError(f"{request.what}: the pages go in a circle")
        seen.add(reply.next_page)
        options["page"] = reply.next_page


def side_by_side(
    items: Sequence[T], act: Callable[[T], R], *, concurrency: int
) -> list[R | UiciError]:
    """Do the same to several things, boundedly; failures stay beside the results."""

    def one(item: T) -> R | UiciError:
        try:
            return act(item)
        except UiciError as exc:
            return exc

    if len(items) <= 1 or concurrency <= 1:
        return [one(item) for item in items]
    with ThreadPoolExecutor(min(concurrency, len(items)), thread_name_prefix="uici-oci") as pool:
        return list(pool.map(one, items))


def read_each(items: Sequence[T], act: Callable[[T], R], *, concurrency: int) -> list[R]:
    """The same for reads: the first failure is raised."""
    results = side_by_side(items, act, concurrency=concurrency)
    for result in results:
        if isinstance(result, UiciError):
            raise result
    return [r for r in results if not isinstance(r, UiciError)]


def change_each(
    items: Sequence[T], act: Callable[[T], R], *, what: str, concurrency: int
) -> list[R]:
    """The same for changes.

    Raises:
        UiciError: what the first failure was, if nothing was done.
        OutcomeUnknownError: some were done and some failed, or nobody knows.
    """
    results = side_by_side(items, act, concurrency=concurrency)
    failures = [r for r in results if isinstance(r, UiciError)]
    if not failures:
        return [r for r in results if not isinstance(r, UiciError)]
    unknown = next((f for f in failures if isinstance(f, OutcomeUnknownError)), None)
    if unknown is not None or len(failures) == len(results):
        raise unknown or failures[0]
    done_count = len(results) - len(failures)
    raise OutcomeUnknownError(
        f"{what}: {done_count} of {len(results)} done, then: {failures[0]}",
        remedy="nothing to do by hand: the next run observes and goes on from there",
    ) from failures[0]


def done(native_ids: Iterable[str], output: Any = None) -> PrimitiveResult:
    """The result of a change; with nothing touched the world already was as asked."""
    ids = tuple(native_ids)
    return PrimitiveResult(changed=bool(ids), native_ids=ids, output=output)


def without_nothing(body: Json) -> Json:
    """A body without what is None: absent is not null to these services."""
    return {key: value for key, value in body.items() if value is not None}
