"""A server between a client and a Docker Engine that can lose things on the way.

It forwards each request on a connection of its own. `behave` decides by method and path;
so a test can say "the answer to this change never comes" and mean the real engine.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any


class Behaviour(Enum):
    """What happens to one request."""

    FORWARD = auto()
    SWALLOW = auto()  # never reaches the engine, never answered
    LOSE_ANSWER = auto()  # reaches the engine; the connection then breaks
    GARBAGE = auto()  # answered with something that is no Docker API
    FAIL = auto()  # answered with 500
    DRIP = auto()  # answered one byte at a time, without end


Rule = Callable[[str, str], Behaviour]


class DockerProxy:
    """The running proxy: its address and the requests that it saw."""

    def __init__(self, upstream: str, behave: Rule) -> None:
        self.upstream = upstream.removeprefix("unix://")
        self.behave = behave
        self.seen: list[tuple[str, str]] = []
        self.ended = threading.Event()
        self.host = ""

    def changes(self) -> list[tuple[str, str]]:
        """Requests that were no reads."""
        return [(method, path) for method, path in self.seen if method not in ("GET", "HEAD")]

    def serve(self, client: socket.socket) -> None:
        request = _read_request(client)
        if request is None:
            return
        method, path = request.split(b" ", 2)[:2]
        self.seen.append((method.decode(), path.decode()))
        behaviour = self.behave(method.decode(), path.decode())
        match behaviour:
            case Behaviour.SWALLOW:
                self.ended.wait(20)
            case Behaviour.GARBAGE:
                client.sendall(_answer(b"200 OK", b"<html>hello</html>"))
            case Behaviour.FAIL:
                client.sendall(_answer(b"500 Internal Server Error", b'{"message":"broken"}'))
            case Behaviour.DRIP:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not self.ended.wait(0.1):
                    client.sendall(b" ")
            case Behaviour.FORWARD | Behaviour.LOSE_ANSWER:
                self._forward(client, request, answer=behaviour is Behaviour.FORWARD)

    def _forward(self, client: socket.socket, request: bytes, *, answer: bool) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
            engine.connect(self.upstream)
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [ln for ln in head.split(b"\r\n") if not ln.lower().startswith(b"connection:")]
            engine.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            while chunk := engine.recv(65536):
                if answer:
                    client.sendall(chunk)


def _answer(status: bytes, body: bytes) -> bytes:
    length = str(len(body)).encode()
    return (
        b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: " + length + b"\r\n\r\n" + body
    )


def _read_request(client: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = client.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def docker_proxy(
    upstream: str,
    behave: Rule,
    *,
    socket_path: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[DockerProxy]:
    """Serve on a Unix socket, or without one on a free TCP port of 127.0.0.1."""
    proxy = DockerProxy(upstream, behave)

    class Handler(socketserver.BaseRequestHandler):
        request: socket.socket

        def handle(self) -> None:
            # The client may hang up at any time: that is what such tests are about.
            with suppress(OSError):
                if tls is None:
                    proxy.serve(self.request)
                else:
                    with tls.wrap_socket(self.request, server_side=True) as wrapped:
                        proxy.serve(wrapped)

    class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = True

    server: Any
    if socket_path is not None:
        server = UnixServer(str(socket_path), Handler)
        proxy.host = f"unix://{socket_path}"
    else:
        server = TcpServer(("127.0.0.1", 0), Handler)
        proxy.host = f"tcp://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
