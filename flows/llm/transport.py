"""HTTP for `flows.llm.client`, bounded in time and bytes whatever the endpoint does.

Imports httpx2 (the HTTP library of the openai package) and is itself imported only when
a model is asked. The usual time-outs of an HTTP library hold for one read each: an
endpoint that sends a byte now and then would keep a run for ever. Here every read and
write is cut at one deadline, and an answer is dropped at its first byte too many.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore2
import httpx2

from infrastructure.errors import PermanentError

# What an endpoint needs to know. The openai package would also send details of this
# machine, and headers from OPENAI_* environment variables, which are no configuration here.
_SENT_HEADERS = frozenset(
    {"host", "accept", "content-type", "content-length", "transfer-encoding", "user-agent"}
)
# What of an answer's head is used. All else (cookies, a place to go to) is never looked at:
# libraries stumble over what they try to understand.
_READ_HEADERS = frozenset({b"content-type", b"content-length", b"retry-after"})


class AnswerTooLargeError(PermanentError):
    """The endpoint sent more than `llm.maxResponseBytes`."""


class _DeadlineStream(httpcore2.NetworkStream):
    """A connection on which nothing lasts longer than what is left of the deadline."""

    def __init__(self, inner: httpcore2.NetworkStream, left: Callable[[], float]) -> None:
        self._inner = inner
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _shorter(timeout, self._left(), httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _shorter(timeout, self._left(), httpcore2.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        seconds = _shorter(timeout, self._left(), httpcore2.ConnectTimeout)
        secured = self._inner.start_tls(ssl_context, server_hostname, seconds)
        return _DeadlineStream(secured, self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _DeadlineBackend(httpcore2.SyncBackend):
    """Opens connections that keep the deadline. Resolving a name is the system's own time."""

    def __init__(self, left: Callable[[], float]) -> None:
        self._left = left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        seconds = _shorter(timeout, self._left(), httpcore2.ConnectTimeout)
        inner = super().connect_tcp(host, port, seconds, local_address, socket_options)
        return _DeadlineStream(inner, self._left)


def _shorter(timeout: float | None, left: float, error: type[Exception]) -> float:
    if left <= 0:
        raise error("the deadline has passed")
    return left if timeout is None else min(timeout, left)


class _CountedStream(httpx2.SyncByteStream):
    """A body that may not be longer than `limit` bytes."""

    def __init__(self, inner: httpx2.SyncByteStream, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        seen = 0
        for chunk in self._inner:
            seen += len(chunk)
            if seen > self._limit:
                raise AnswerTooLargeError(f"the LLM's answer is larger than {self._limit} bytes")
            yield chunk

    def close(self) -> None:
        self._inner.close()


class BoundedTransport(httpx2.HTTPTransport):
    """One connection, for one question and its retries.

    The key is put on the request here and nowhere before, so that no object of the
    openai package, and none of its exceptions' texts, ever holds it.
    """

    def __init__(
        self, *, api_key: str, left: Callable[[], float], max_bytes: int, tls: ssl.SSLContext
    ) -> None:
        """Bound a connection.

        Args:
            api_key: sent as bearer token; empty: no Authorization header.
            left: seconds until the deadline.
            max_bytes: size of the longest accepted answer.
            tls: how servers are authenticated.
        """
        super().__init__(verify=tls, trust_env=False)
        self._api_key = api_key
        self._max_bytes = max_bytes
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls, max_connections=1, network_backend=_DeadlineBackend(left)
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; the answer's body is read later, through the counter."""
        headers = {k: v for k, v in request.headers.items() if k.lower() in _SENT_HEADERS}
        headers["accept-encoding"] = "identity"  # a small gzip can be a very large answer
        if self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        # A new request: whoever holds the given one, an exception for instance, has no key.
        sent = httpx2.Request(
            request.method,
            request.url,
            headers=headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        response = super().handle_request(sent)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            response.close()
            raise PermanentError("the LLM's answer is compressed although that was not asked for")
        assert isinstance(response.stream, httpx2.SyncByteStream)  # noqa: S101 - narrows the type; a sync transport has no other
        response.stream = _CountedStream(response.stream, self._max_bytes)
        kept = [(k, v) for k, v in response.headers.raw if k.lower() in _READ_HEADERS]
        response.headers = httpx2.Headers(kept)
        # JSON is UTF-8 (RFC 8259, 8.1), whatever the head names: not every codec that Python
        # knows is one of text, or takes all bytes.
        response.encoding = "utf-8"
        return response


def tls_context(base_url: str) -> ssl.SSLContext:
    """The authorities that the HTTP library ships; none are loaded for plain HTTP."""
    if base_url.startswith("https:"):
        return httpx2.create_ssl_context(trust_env=False)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
