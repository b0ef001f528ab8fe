"""Reading a local Docker Engine: GET over its Unix socket with the standard library alone.

Observation is one list and one inspect a container, each run, for ever. The Docker SDK
keeps its connection pools by URL, so every inspect opens a connection of its own, and each
request goes through requests and urllib3: measured on 200 containers, five times the CPU of
`http.client` on kept connections. Only these reads take the short way, and only over
`unix://`; everything else, and every other transport, is the SDK's (`executors.docker`).
"""

from __future__ import annotations

import http.client
import socket
import time
from collections import deque
from contextlib import ExitStack
from typing import Any

from executors.docker import shape
from executors.docker.errors import error_of_status, said_in, translate

_ERRORS = (OSError, http.client.HTTPException, ValueError)
# What a kept connection shows when the engine was restarted since its last use.
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)

_CHUNK = 1024 * 1024


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker")  # only the Host header, which the engine ignores
        self._path = path

    def connect(self) -> None:
        """Connect with the time-out that was set for the request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


class UnixReader:
    """GET requests on kept connections. Safe to use from several threads.

    Args:
        path: the socket.
        address: how messages call the engine.
        max_bytes: of one answer.
    """

    def __init__(self, path: str, *, address: str, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._address = address
        self._idle: deque[_UnixConnection] = deque()

    def get(self, path: str, *, what: str, timeout: float) -> Any:
        """As `fetch`, decoded."""
        body = self.fetch(path, what=what, timeout=timeout)
        return shape.decoded(body, what=what, engine=self._address)

    def fetch(self, path: str, *, what: str, timeout: float) -> bytes:
        """The answer as it came.

        Raises:
            UiciError: see `executors.docker.errors`.
        """
        try:
            status, body = self._exchange(path, timeout)
        except _ERRORS as exc:
            raise translate(exc, what=what, engine=self._address, mutating=False) from exc
        if status < 300:
            return body
        said = said_in(shape.decoded(body, what=what, engine=self._address))
        raise error_of_status(status, said, what=what, engine=self._address, mutating=False)

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, path: str, timeout: float) -> tuple[int, bytes]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._send(_UnixConnection(self._path), path, timeout)
        try:
            return self._send(connection, path, timeout)
        except _STALE:
            return self._send(_UnixConnection(self._path), path, timeout)

    def _send(self, connection: _UnixConnection, path: str, timeout: float) -> tuple[int, bytes]:
        end = time.monotonic() + timeout
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        with ExitStack() as unless_kept:
            unless_kept.callback(connection.close)
            connection.request("GET", path)
            kept = connection.sock  # the response may take it over
            response = connection.getresponse()
            unless_kept.callback(response.close)  # it may have taken the socket over
            body = bytearray()
            # A time-out counts from one packet to the next: an answer that drips needs this.
            while chunk := response.read1(_CHUNK):
                body += chunk
                if len(body) > self._max_bytes:
                    raise http.client.HTTPException(
                        f"an answer of more than {self._max_bytes} bytes"
                    )
                if response.length == 0:
                    break
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the answer goes on and on")
                kept.settimeout(left)
            response.read()  # nothing is left, but only this tells the connection so
            unless_kept.pop_all()
        self._idle.append(connection)
        return response.status, bytes(body)
