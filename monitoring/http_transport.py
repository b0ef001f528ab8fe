"""HTTP in which nothing lasts longer than the caller allows, whatever the server does.

The time-outs of HTTP libraries hold for one read each: a server that sends a byte now and
then, or never ends its headers, keeps a reader for ever. Here every connect, read and
write is cut at one deadline. No proxies of the environment, no redirects, no cookies.

Imported only when the first request is made (`monitoring.http_source`,
`monitoring.probe`). It speaks to httpcore, the transport below httpx, because the
deadline has to be kept below the HTTP parser, and httpx would double the import time.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from infrastructure.errors import PermanentError
from monitoring.http_exchange import Answer, ExchangeError, Failure, Request

# The deadline of the request that this thread is making, on time.monotonic's clock.
_CURRENT = threading.local()
# A server that reads slowly is noticed between two pieces of this size.
_WRITE_BYTES = 65536


class BoundedHttp:
    """A pool of connections. Safe to use from several threads."""

    def __init__(self, *, tls: ssl.SSLContext | None, keep_alive: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=None if keep_alive else 0,
            network_backend=_DeadlineBackend(),
        )

    def exchange(self, request: Request, *, deadline: float, max_bytes: int) -> Answer:
        """Send a request and read the whole answer.

        Args:
            request: what to send.
            deadline: on the clock of time.monotonic; the exchange ends by then.
            max_bytes: size of the largest accepted body.

        Raises:
            ExchangeError: no complete answer; its `failure` says in which way.
            PermanentError: the answer is larger than `max_bytes`, or the request can't
                be sent.
        """
        with self._response(request, deadline) as response:
            body = bytearray()
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > max_bytes:
                    raise PermanentError(f"answer larger than {max_bytes} bytes")
            return Answer(response.status, bytes(body))

    def status(self, request: Request, *, deadline: float) -> int:
        """Send a request and return the answer's status; the body is not read.

        Raises:
            ExchangeError: as in `exchange`.
            PermanentError: the request can't be sent.
        """
        with self._response(request, deadline) as response:
            return response.status

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._pool.close()

    @contextmanager
    def _response(self, request: Request, deadline: float) -> Iterator[httpcore.Response]:
        _CURRENT.deadline = deadline
        extensions: dict[str, Any] = {"timeout": {"pool": max(0.0, deadline - time.monotonic())}}
        if request.server_name is not None:
            extensions["sni_hostname"] = request.server_name
        url = httpcore.URL(
            scheme=request.scheme, host=request.host, port=request.port, target=request.target
        )
        try:
            with self._pool.stream(
                request.method,
                url,
                headers=list(request.headers),
                content=request.body,
                extensions=extensions,
            ) as response:
                yield response
        except HTTPCORE_ERRORS as exc:
            raise translated(exc) from exc


# Everything that httpcore raises by itself; a test holds this list complete.
HTTPCORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)


def translated(exc: Exception) -> ExchangeError | PermanentError:
    """UICI's error for one of httpcore's."""
    match exc:
        case httpcore.TimeoutException():
            return ExchangeError(Failure.TIMED_OUT)
        case httpcore.ConnectError():
            return ExchangeError(_why_unconnected(exc))
        case httpcore.NetworkError() | httpcore.RemoteProtocolError():
            return ExchangeError(Failure.BROKEN)
        case httpcore.ConnectionNotAvailable():
            return ExchangeError(Failure.UNREACHABLE)
        case _:
            return PermanentError("the request is not valid HTTP: check url and headers")


def _why_unconnected(exc: httpcore.ConnectError) -> Failure:
    # The cause is cut off on its way through the pool, the argument is not.
    match exc.args:
        case (ConnectionRefusedError(), *_):
            return Failure.REFUSED
        case (ssl.SSLError(), *_):
            return Failure.TLS
        case _:
            return Failure.UNREACHABLE


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that obeys the deadline of whichever thread uses it now."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline replaces it
        return self._inner.read(max_bytes, _left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - see read
        for start in range(0, len(buffer), _WRITE_BYTES):
            piece = buffer[start : start + _WRITE_BYTES]
            self._inner.write(piece, _left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - see read
    ) -> httpcore.NetworkStream:
        left = _left(httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _DeadlineBackend(httpcore.SyncBackend):
    """Opens such connections. Resolving a name takes the system's own time."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline replaces it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(httpcore.ConnectTimeout)
        return _DeadlineStream(super().connect_tcp(host, port, left, local_address, socket_options))


def _left(error: type[Exception]) -> float:
    left: float = _CURRENT.deadline - time.monotonic()
    if left <= 0:
        raise error("the deadline has passed")
    return left
