"""One Prometheus- or Alertmanager-compatible server, as a client that is kept.

Holds what is the same for both readers: address, credentials, TLS, the source's own
time-out, and the translation of refusals into UICI's errors. `MonitoringClients` keeps
the clients between runs, because the loop runs in one warm process. Neighbours: the
readers (`monitoring.prometheus`, `monitoring.alertmanager`) above, the transport below.
"""

from __future__ import annotations

import base64
import re
import ssl
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from infrastructure.config_models import HttpSource, Tls
from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from monitoring.http_exchange import Answer, ExchangeError, Failure, Request

if TYPE_CHECKING:
    from monitoring.http_transport import BoundedHttp

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_MESSAGE = 300


class SourceClient:
    """A server's client. Making it reads no file and opens no connection.

    Safe to use from several threads. `address` is for messages: no path, no credentials.
    """

    def __init__(self, source: HttpSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._http: BoundedHttp | None = None
        self.address = _address(source.url)

    def deadline(self) -> float:
        """The moment (time.monotonic) by which a read that starts now has to end."""
        return time.monotonic() + self._source.timeout.total_seconds()

    def send(
        self,
        path: str,
        *,
        deadline: float,
        max_bytes: int,
        body: bytes | None = None,
        content_type: str = "",
    ) -> Answer:
        """GET `path` below the source's url, or POST `body` to it.

        Only for requests that may be repeated: a kept connection that the server had
        closed is replaced once.

        Args:
            path: path and query, with its leading slash.
            deadline: on the clock of time.monotonic.
            max_bytes: size of the largest accepted answer.
            body: None makes a GET.
            content_type: of the body.

        Raises:
            TemporaryError: no answer; DeadlineExceededError if not in time.
            PermanentError: answer too large, TLS refused, or the source's settings can't
                be used. All messages begin with the source's address.
        """
        try:
            return self._send(self._request(path, body, content_type), deadline, max_bytes)
        except ExchangeError as exc:
            raise self._named(exc) from exc
        except PermanentError as exc:
            raise PermanentError(f"{self.address}: {exc}") from exc

    def close(self) -> None:
        """Close the connections. Idempotent; a later `send` opens new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _send(self, request: Request, deadline: float, max_bytes: int) -> Answer:
        http, kept = self._connections()
        try:
            return http.exchange(request, deadline=deadline, max_bytes=max_bytes)
        except ExchangeError as exc:
            if exc.failure is Failure.TLS:
                self.close()  # certificates are renewed: the next request reads them again
            if not kept or exc.failure is not Failure.BROKEN:
                raise
        return http.exchange(request, deadline=deadline, max_bytes=max_bytes)

    def _connections(self) -> tuple[BoundedHttp, bool]:
        """The pool, and whether it was there before."""
        with self._lock:
            if self._http is not None:
                return self._http, True
            from monitoring.http_transport import BoundedHttp  # noqa: PLC0415 - httpcore costs 90 ms

            tls = _tls_context(self._source.tls) if self._source.url.startswith("https") else None
            self._http = BoundedHttp(tls=tls, keep_alive=True)
            return self._http, False

    def _request(self, path: str, body: bytes | None, content_type: str) -> Request:
        url = _split(self._source.url)
        host, port = _host(url), _port(url)
        authority = f"[{host}]" if ":" in host else host
        if port != _DEFAULT_PORTS[url.scheme]:
            authority += f":{port}"
        headers = {"Host": authority, "Accept": "application/json", "User-Agent": "uici"}
        if body is not None:
            headers |= {"Content-Type": content_type, "Content-Length": str(len(body))}
        headers |= _authorization(self._source, url) | self._source.headers
        tls = self._source.tls
        return Request(
            method="GET" if body is None else "POST",
            scheme=url.scheme.encode(),
            host=host.encode("ascii"),
            port=port,
            target=(url.path.rstrip("/") + path).encode(errors="replace"),
            headers=tuple(_header(name, value) for name, value in headers.items()),
            body=body or b"",
            server_name=tls.server_name if tls is not None else None,
        )

    def _named(self, exc: ExchangeError) -> UiciError:
        message = f"{self.address}: {exc}"
        if exc.failure is Failure.TIMED_OUT:
            return DeadlineExceededError(message)
        if exc.failure is Failure.TLS:
            return PermanentError(f"{message}: check tls.caFile, certFile and serverName")
        return TemporaryError(message)


class MonitoringClients:
    """All clients of a process, by the settings of their source."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, SourceClient] = {}

    def sources(self, sources: Sequence[HttpSource]) -> tuple[SourceClient, ...]:
        """The client of each source, in the same order; equal settings share one."""
        with self._lock:
            return tuple(
                self._clients.setdefault(source.model_dump_json(), SourceClient(source))
                for source in sources
            )

    def close(self) -> None:
        """Close all connections. Idempotent."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()


def refused(source: SourceClient, answer: Answer, path: str) -> UiciError:
    """The error for an answer whose status is not the expected one."""
    status = answer.status
    if status in {401, 403}:
        return PermanentError(
            f"{source.address}: refused the credentials ({status}): check basicAuth, "
            "bearerToken and headers of this source in environments.yml"
        )
    if status in {408, 425, 429} or status >= 500:
        return TemporaryError(f"{source.address}: answered {status} to {path}")
    return PermanentError(
        f"{source.address}: answered {status} to {path}: check the url of this source in "
        "environments.yml"
    )


def none_answered(what: str, errors: Sequence[UiciError]) -> UiciError:
    """The error when every source failed: one line, temporary if any of them was.

    `what` is the kind of server, for the case that none is configured.
    """
    if not errors:
        return PermanentError(f"no {what} is configured for this environment")
    message = f"{what} at " + "; ".join(dict.fromkeys(str(error) for error in errors))
    if any(isinstance(error, TemporaryError) for error in errors):
        return TemporaryError(message)
    return PermanentError(message)


def one_line(text: str) -> str:
    """A server's own message, fit for a line of a report: printable, at most 300 characters."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= _MAX_MESSAGE else plain[: _MAX_MESSAGE - 1] + "…"


def _tls_context(tls: Tls | None) -> ssl.SSLContext:
    """The system's authorities, or the source's own.

    Raises:
        PermanentError: a file is missing or no certificate.
    """
    if tls is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as exc:
        raise PermanentError(f"tls.caFile {tls.ca_file} can't be used: {_reason(exc)}") from exc
    if tls.cert_file is not None:
        try:
            # Without a password function OpenSSL would ask on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
        except OSError as exc:
            raise PermanentError(
                f"tls.certFile {tls.cert_file} or keyFile can't be used: {_reason(exc)}"
            ) from exc
    return context


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return "no valid certificate or key in PEM format"
    return exc.strerror or "can't be read"


def _authorization(source: HttpSource, url: SplitResult) -> dict[str, str]:
    if source.bearer_token is not None:
        return {"Authorization": f"Bearer {source.bearer_token}"}
    if source.basic_auth is not None:
        username, password = source.basic_auth.username, source.basic_auth.password
    elif url.username is not None:
        username, password = unquote(url.username), unquote(url.password or "")
    else:
        return {}
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    # Checked here so that no library's message ever quotes a credential.
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise PermanentError("a header's name holds characters that HTTP does not allow")
    if not re.fullmatch(r"[\t -~\x80-\xff]*", value) or value != value.strip():
        raise PermanentError(
            f"the value of header {name} holds characters that HTTP does not allow"
        )
    return name.encode("ascii"), value.encode("latin-1")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as exc:
        raise PermanentError("the url can't be parsed") from exc


def _host(url: SplitResult) -> str:
    """The host as it goes into DNS and headers, without the brackets of IPv6."""
    host = url.hostname or ""
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
        host.encode("idna")  # refuses what the resolver would choke on
    except UnicodeError:
        host = ""
    if not host:
        raise PermanentError("the url names no valid host")
    return host


def _port(url: SplitResult) -> int:
    try:
        return url.port or _DEFAULT_PORTS[url.scheme]
    except ValueError as exc:
        raise PermanentError("the url's port is not a number from 1 to 65535") from exc


def _address(url: str) -> str:
    try:
        parts = _split(url)
    except PermanentError:
        return "a source"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
