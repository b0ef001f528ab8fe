"""The agent's own HTTP endpoint: `/healthz`, `/readyz`, `/metrics`, and what is posted to it.

Small on purpose: the standard library's server, one short connection a request, a cap on
how many at once and on how long each may take, so that whoever reaches the port can't
hold the agent up. Neighbours: `flows.serve` opens it before anything else, `flows.metrics`
makes what it shows.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Protocol

import structlog

from flows.logging_setup import LOGGER_NAME
from infrastructure.config_models import HttpEndpoint
from infrastructure.errors import PermanentError

_TEXT = "text/plain; charset=utf-8"
_AT_ONCE = 16
_REQUEST_SECONDS = 5.0
_POLL_SECONDS = 0.1
_MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _TEXT


Pages = Mapping[str, Callable[[], Page]]  # path → its page, made anew for each request


@dataclass(frozen=True, slots=True)
class Request:
    """What was posted."""

    body: bytes


class Inbox(Protocol):
    """Takes what is posted to one path. Called from several threads."""

    @property
    def max_bytes(self) -> int:
        """A longer body is refused without being read."""
        ...

    def admit(self, headers: Mapping[str, str]) -> Page | None:
        """The refusal of a request whose body was not read yet, or None.

        Names of headers are in title case.
        """
        ...

    def answer(self, request: Request) -> Page:
        """The answer to an admitted request."""
        ...


Inboxes = Mapping[str, Inbox]  # path → who takes what is posted there


def text_page(text: str, status: HTTPStatus = HTTPStatus.OK) -> Page:
    """A page of one line."""
    return Page(f"{text}\n".encode(), status)


@contextlib.contextmanager
def endpoint(
    settings: HttpEndpoint, pages: Pages, inboxes: Inboxes = MappingProxyType({})
) -> Iterator[int]:
    """Answer GET and HEAD for these pages, POST for these inboxes, while the context lasts.

    Args:
        settings: where to listen, and its TLS certificate; port 0 takes a free one.
        pages: called from several threads.
        inboxes: the same.

    Yields:
        The port.

    Raises:
        PermanentError: the address can't be listened on, or the certificate can't be used;
            with the next step.
    """
    tls = _tls(settings)
    try:
        server = _Server(settings, pages, inboxes, tls)
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


def _tls(settings: HttpEndpoint) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls.cert_file, settings.tls.key_file)
    except (OSError, ssl.SSLError) as exc:
        raise PermanentError(
            f"the certificate of serve.http can't be used: {exc}: correct certFile and keyFile "
            "in platform.yml"
        ) from exc
    return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that dawdles must not hold up the end of the process

    def __init__(
        self,
        settings: HttpEndpoint,
        pages: Pages,
        inboxes: Inboxes,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self.pages = pages
        self.inboxes = inboxes
        self._tls = tls
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
        held = [request]
        timer = threading.Timer(_REQUEST_SECONDS, _hang_up, (held,))
        timer.daemon = True
        timer.start()
        try:
            # Here and not where connections are accepted: a handshake may be slow on purpose.
            if self._tls is not None:
                request = held[0] = self._tls.wrap_socket(
                    request, server_side=True, do_handshake_on_connect=False
                )
                request.settimeout(_REQUEST_SECONDS)
                request.do_handshake()
            super().process_request_thread(request, client_address)
        except OSError:  # they did not agree on TLS, or the client went away
            self.shutdown_request(request)
        finally:
            timer.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's
        """A client that hangs up is no news; a page that can't be made is."""
        if not isinstance(sys.exception(), OSError):
            structlog.get_logger(LOGGER_NAME).exception("endpoint_page_failed")


def _hang_up(held: Sequence[socket.socket]) -> None:
    """Cut the connection, as it is by now: within TLS it is another socket."""
    with contextlib.suppress(OSError):
        held[-1].shutdown(socket.SHUT_RDWR)


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

    def do_POST(self) -> None:
        """Hand on what was posted; its body is read only when it may be."""
        inbox = self.server.inboxes.get(self.path.partition("?")[0])
        if inbox is None:
            self._send(_nothing_here(self.server.inboxes, "to be posted to"), with_body=True)
            return
        self._send(self._posted(inbox), with_body=True)

    def _posted(self, inbox: Inbox) -> Page:
        self.close_connection = True  # a body that was not read would be the next request
        if (
            refusal := inbox.admit({name.title(): text for name, text in self.headers.items()})
        ) is not None:
            return refusal
        length = self.headers.get("Content-Length", "")
        # Only plain digits: two readers must not see two lengths.
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            return text_page("the body needs a Content-Length", HTTPStatus.LENGTH_REQUIRED)
        if len(length) > _MAX_DIGITS or int(length) > inbox.max_bytes:
            return text_page(
                f"the body is longer than {inbox.max_bytes} bytes",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return text_page("the body ended too soon", HTTPStatus.BAD_REQUEST)
        return inbox.answer(Request(body))

    def _answer(self, *, with_body: bool) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        page = _nothing_here(self.server.pages, "to be read") if make is None else make()
        self._send(page, with_body=with_body)

    def _send(self, page: Page, *, with_body: bool) -> None:
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


def _nothing_here(known: Iterable[str], verb: str) -> Page:
    paths = ", ".join(known) or "nothing"
    return text_page(f"there is {paths} {verb}", HTTPStatus.NOT_FOUND)
