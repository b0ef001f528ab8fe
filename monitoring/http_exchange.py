"""What goes over HTTP and comes back, as values without an HTTP library.

`monitoring.http_transport` carries requests out; it is imported late because of its
library, this is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from infrastructure.errors import TemporaryError


class Failure(StrEnum):
    """In which way there was no answer. The values are texts for people."""

    TIMED_OUT = "no answer in time"
    REFUSED = "connection refused"
    BROKEN = "closed the connection early or does not speak HTTP"
    TLS = "TLS handshake failed"
    UNREACHABLE = "can't be reached"  # name resolution, routing, or this machine's own limits


class ExchangeError(TemporaryError):
    """No complete answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `headers` include Host; `repr` leaves out what may be secret."""

    method: str
    scheme: bytes
    host: bytes
    port: int
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and whole body."""

    status: int
    body: bytes = field(repr=False)
