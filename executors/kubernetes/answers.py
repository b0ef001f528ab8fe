"""Answers of an API server: read within bounds, and believed only where they are its own.

`executors.kubernetes.sdk` sends the requests. A server, or what stands in its place, may
answer without end, with something else than JSON, or with a failure under a good status.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from executors.deadline import Deadline
from executors.kubernetes.binding import Json
from executors.kubernetes.errors import REMEDY, not_an_api_server, stable
from infrastructure.errors import OutcomeUnknownError, TemporaryError, UiciError

if TYPE_CHECKING:
    import urllib3

_CHUNK = 256 * 1024
_LEAST = 0.05  # seconds
_NOBODY = (None, None)


class TooLongError(Exception):
    """An answer has more bytes than answers may have. Never leaves the executor."""


def body_of(
    answer: urllib3.BaseHTTPResponse, deadline: Deadline, *, most: int, tail: int | None
) -> bytes:
    """The body of an answer.

    Args:
        answer: not read yet.
        deadline: the socket's own time-out counts from packet to packet only.
        most: bytes.
        tail: of a text, so many bytes of its end are enough; no more than twice as many are
            kept in memory at any time, however long it is.

    Raises:
        TooLongError: it is longer than `most`, and no tail is enough.
        TimeoutError: it goes on and on.
    """
    return b"".join(_chunks(answer, deadline, most, tail))


def _chunks(
    answer: urllib3.BaseHTTPResponse, deadline: Deadline, most: int, tail: int | None
) -> Iterator[bytes]:
    kept: deque[bytes] = deque()
    size = 0
    while chunk := answer.read1(_CHUNK):
        kept.append(chunk)
        size += len(chunk)
        if tail is None and size > most:
            raise TooLongError
        while tail is not None and size - len(kept[0]) > tail:
            size -= len(kept.popleft())
        left = deadline.left
        if not left:
            raise TimeoutError("the answer goes on and on")
        connection = getattr(answer, "connection", None)
        socket = getattr(connection, "sock", None)
        if socket is not None:
            socket.settimeout(max(_LEAST, left))
    yield from kept


def too_long(what: str, engine: str, most: int, *, mutating: bool) -> UiciError:
    """The error for an answer that is longer than answers may be."""
    message = (
        f"{what}: {engine} answers with more than {most} bytes: lower `pageSize`, or raise"
        " `maxAnswer` of the connection"
    )
    return OutcomeUnknownError(message, remedy=REMEDY) if mutating else TemporaryError(message)


def decoded(
    raw: bytes, *, what: str, engine: str, mutating: bool, lean: bool = False, sent: Any = None
) -> Json:
    """The object in an answer whose status was good.

    Args:
        raw: the body.
        what: the action and its object.
        engine: the cluster.
        mutating: whether the request would have changed something.
        lean: without who manages which field.
        sent: what was sent of an object: if it names it, the answer has to be that object's.

    Raises:
        TemporaryError: it is no object of the API: a read tells nothing then.
        OutcomeUnknownError: the same for a change, which may have been made all the same.
    """
    try:
        found = json.loads(raw, object_hook=_without_fields if lean else None)
    except (ValueError, RecursionError):
        found = None
    # Whatever changed something answers with an object, which has a kind.
    told = isinstance(found, dict) and (not mutating or isinstance(found.get("kind"), str))
    ours = _identity(sent) in (_NOBODY, _identity(found))
    if told and ours and not _is_failure(found):
        return dict(found)
    if mutating:
        said = found.get("message") if isinstance(found, dict) else None
        words = f": {stable(said)}" if isinstance(said, str) else ""
        raise OutcomeUnknownError(f"{what}: {engine} gave no readable answer{words}", remedy=REMEDY)
    raise not_an_api_server(what, engine)


def _is_failure(found: Json) -> bool:
    """A `Status` that tells of a failure, under an HTTP status that tells of none."""
    return found.get("kind") == "Status" and found.get("status") == "Failure"


def _identity(item: Any) -> tuple[Any, ...]:
    found = item.get("metadata") if isinstance(item, dict) else None
    metadata = found if isinstance(found, dict) else {}
    return metadata.get("namespace"), metadata.get("name")


def said_by(raw: bytes) -> Any:
    """The body of an answer whose status was not good."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw[:_CHUNK].decode(errors="replace")


def _without_fields(value: Json) -> Json:
    """Drop field sets as soon as they are read: they never are in memory all at once."""
    value.pop("fieldsV1", None)
    return value
