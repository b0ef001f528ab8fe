"""A small HTTP server on loopback that misbehaves on request. Real sockets, really closed.

A behaviour gets the request and the connection and does what it likes: answer, dawdle,
lie, hang up. `requests` has everything that was asked, in order.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Asked:
    """One request as it came in. Header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int  # counts from 0

    def form(self, name: str) -> str:
        return parse_qs(self.body.decode())[name][0]


class Exchange:
    """The server's end of one request."""

    def __init__(self, asked: Asked, connection: socket.socket, stopping: threading.Event) -> None:
        self.asked = asked
        self._connection = connection
        self._stopping = stopping

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def sleep(self, seconds: float) -> None:
        """Like time.sleep, but over when the server is closed."""
        if self._stopping.wait(seconds):
            raise ConnectionAbortedError

    def answer(self, body: bytes, *, status: int = 200, headers: str = "") -> None:
        """A whole and correct answer; the connection stays open."""
        head = f"HTTP/1.1 {status} Text\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.send(head.encode() + body)

    def hang_up(self) -> None:
        raise ConnectionAbortedError


Behaviour = Callable[[Exchange], None]


def text(body: bytes | str, status: int = 200) -> Behaviour:
    data = body.encode() if isinstance(body, str) else body
    return lambda exchange: exchange.answer(data, status=status)


def json_body(value: Any, status: int = 200) -> Behaviour:
    return text(json.dumps(value), status)


def raw(data: bytes) -> Behaviour:
    """Exactly these bytes, then the end of the connection."""

    def behave(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.hang_up()

    return behave


def silent(exchange: Exchange) -> None:
    """Takes the request and says nothing."""
    exchange.sleep(60)


def slow_headers(exchange: Exchange) -> None:
    """One header byte after the other; each read of the client's gets something."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        exchange.send(b"a")
        exchange.sleep(0.05)


def slow_drip(exchange: Exchange) -> None:
    """Correct headers, then a body that never ends."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        exchange.send(b" ")
        exchange.sleep(0.05)


def huge(exchange: Exchange) -> None:
    """A body without end, as fast as it is taken."""
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        exchange.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def closes_early(exchange: Exchange) -> None:
    exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"status":')
    exchange.hang_up()


class FakeServer:
    """Serves until its `with` block ends. Change `behaviour` at any time."""

    def __init__(self, behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self.requests: list[Asked] = []
        self._tls = tls
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
            assert not thread.is_alive()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
                if self._stopping.is_set():
                    connection.close()
                    return
            self._start(self._serve, connection, number)
            number += 1

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection:
            stream = connection
            if self._tls is not None:
                stream = self._tls.wrap_socket(connection, server_side=True)
            with stream:
                for asked in self._asked(stream, number):
                    with self._lock:
                        self.requests.append(asked)
                    self.behaviour(Exchange(asked, stream, self._stopping))

    def _asked(self, connection: socket.socket, number: int) -> Iterator[Asked]:
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers = {}
                while (header := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", "0")))
                yield Asked(method, path, headers, body, number)


def vector(samples: dict[str, float | str], *, at: float) -> dict[str, Any]:
    """Prometheus' answer with one sample for each value of UICI's own label."""
    return {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {"metric": {"uici_part": part}, "value": [at, str(value)]}
                for part, value in samples.items()
            ],
        },
    }


def prometheus_error(message: str, kind: str = "bad_data") -> dict[str, Any]:
    return {"status": "error", "errorType": kind, "error": message}


PART = re.compile(r'"uici_part","(\d+)/(\w+)"')
