"""The agent's own HTTP endpoint: `/healthz`, `/readyz`, `/metrics`. Reads only.

Small on purpose: the standard library's server, one short connection a request, a cap on
how many at once and on how long each may take, so that whoever reaches the port can't
hold the agent up. Neighbours: `flows.serve` opens it before anything else, `flows.metrics`
makes what it shows.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from flows.logging_setup import LOGGER_NAME
from infrastructure.config_models import HttpEndpoint
from infrastructure.errors import PermanentError

_TEXT = "text/plain; charset=utf-8"
_AT_ONCE = 16
_REQUEST_SECONDS = 5.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _TEXT


Pages = Mapping[str, Callable[[], Page]]  # path → its page, made anew for each request


def text_page(text: str, status: HTTPStatus = HTTPStatus.OK) -> Page:
    """A page of one line."""
    return Page(f"{text}\n".encode(), status)


@contextlib.contextmanager
def endpoint(settings: HttpEndpoint, pages: Pages) -> Iterator[int]:
    """Answer GET and HEAD for these pages while the context lasts.

    Args:
        settings: where to listen; port 0 takes a free one.
        pages: called from several threads.

    Yields:
        The port.

    Raises:
        PermanentError: the address can't be listened on; with the next step.
    """
    try:
        server = _Server(settings, pages)
    except OSError as exc:
        raise PermanentError(
            f"the agent can't listen on {settings.host} port {settings.port}: "
            f"{exc.strerror or exc}: set another serve.http in platform.yml, or null for none"
        ) from exc
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name="endpoint", daemon=True
    )
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that dawdles must not hold up the end of the process

    def __init__(self, settings: HttpEndpoint, pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self.pages = pages
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((settings.host, settings.port), _Handler)

    def server_bind(self) -> None:
        """Without the reverse look-up of the host's name that HTTPServer makes: it may hang."""
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hang up on whoever is one too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, within the time that a request has."""
        timer = threading.Timer(_REQUEST_SECONDS, _hang_up, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's
        """A client that hangs up is no news; a page that can't be made is."""
        if not isinstance(sys.exception(), OSError):
            structlog.get_logger(LOGGER_NAME).exception("endpoint_page_failed")


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_SECONDS
    error_content_type = _TEXT
    error_message_format = "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        """One page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The same without its body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        if make is None:
            known = ", ".join(self.server.pages)
            page = text_page(f"there is {known}", HTTPStatus.NOT_FOUND)
        else:
            page = make()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(page.body)

    def version_string(self) -> str:
        """What `Server:` tells: no versions."""
        return "uici"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """A scrape each ten seconds is no news."""
