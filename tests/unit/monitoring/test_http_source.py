"""The client of one source: credentials, TLS, deadlines, limits, messages."""

from __future__ import annotations

import base64
import inspect
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpcore
import pytest

from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from monitoring.http_source import MonitoringClients, none_answered, one_line
from monitoring.http_transport import HTTPCORE_ERRORS, translated
from tests.fakes.http_server import (
    Behaviour,
    Exchange,
    FakeServer,
    closes_early,
    huge,
    raw,
    silent,
    slow_drip,
    slow_headers,
    text,
)
from tests.unit.monitoring.builders import client, source


def get(url: str, *, timeout: str = "2s", max_bytes: int = 65536, **settings: Any) -> bytes:
    with client(url, timeout=timeout, **settings) as made:
        return made.send("/path?a=b", deadline=made.deadline(), max_bytes=max_bytes).body


def test_credentials_headers_and_path_prefix_arrive() -> None:
    with FakeServer(text("ok")) as server:
        get(server.url + "/prometheus/", headers={"X-Scope-OrgID": "team-a"})
        get(server.url, bearerToken="t0ken")
        get(server.url, basicAuth={"username": "u", "password": "p:w"})
        get(server.url.replace("//", "//u:p%40w@"))
    prefixed, bearer, basic, in_url = server.requests
    assert prefixed.path == "/prometheus/path?a=b"
    assert prefixed.headers["x-scope-orgid"] == "team-a"
    assert prefixed.headers["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in prefixed.headers
    assert bearer.headers["authorization"] == "Bearer t0ken"
    assert basic.headers["authorization"] == "Basic " + base64.b64encode(b"u:p:w").decode()
    assert in_url.headers["authorization"] == "Basic " + base64.b64encode(b"u:p@w").decode()


def test_one_connection_serves_many_requests() -> None:
    with FakeServer(text("ok")) as server, client(server.url) as made:
        for _ in range(3):
            made.send("/", deadline=made.deadline(), max_bytes=10)
    assert {asked.connection for asked in server.requests} == {0}


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    def once(exchange: Exchange) -> None:
        if exchange.asked.connection == 0 and len(server.requests) > 1:
            exchange.hang_up()
        exchange.answer(b"ok")

    with FakeServer(once) as server, client(server.url) as made:
        made.send("/", deadline=made.deadline(), max_bytes=10)
        assert made.send("/", deadline=made.deadline(), max_bytes=10).body == b"ok"
    assert [asked.connection for asked in server.requests] == [0, 0, 1]


@pytest.mark.parametrize("behaviour", [silent, slow_headers, slow_drip])
def test_no_server_holds_a_read_beyond_the_deadline(behaviour: Behaviour) -> None:
    with FakeServer(behaviour) as server:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError, match="no answer in time"):
            get(server.url, timeout="300ms")
        assert time.monotonic() - started < 1.5


def test_a_large_request_to_a_server_that_does_not_read_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        with client(url, timeout="300ms") as made, pytest.raises(DeadlineExceededError):
            made.send("/", deadline=made.deadline(), max_bytes=10, body=b"x" * 20_000_000)
        assert time.monotonic() - started < 1.5


def test_a_huge_answer_is_dropped() -> None:
    with (
        FakeServer(huge) as server,
        pytest.raises(PermanentError, match="larger than 100000 bytes"),
    ):
        get(server.url, max_bytes=100_000)


@pytest.mark.parametrize(
    "behaviour", [closes_early, raw(b""), raw(b"garbage\r\n\r\n"), raw(b"HTTP/1.1 20")]
)
def test_broken_answers_are_temporary(behaviour: Behaviour) -> None:
    with (
        FakeServer(behaviour) as server,
        pytest.raises(TemporaryError, match=rf"^{server.url}: closed the connection early"),
    ):
        get(server.url)


def test_refused_and_unknown_hosts() -> None:
    with FakeServer(text("")) as server:
        pass
    with pytest.raises(TemporaryError, match="connection refused"):
        get(server.url)
    with pytest.raises(TemporaryError, match="can't be reached"):
        get("http://host.invalid:1")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://:9090", "no valid host"),
        ("http://a..b", "no valid host"),
        ("http://" + "a" * 64, "no valid host"),
        ("http://host:99999", "port"),
        ("http://host:x", "port"),
        ("http://[::1", "can't be parsed"),
    ],
)
def test_unusable_urls_fail_with_one_line(url: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message) as caught:
        get(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"headers": {"X-A": "line\nbreak"}},
        {"headers": {"X A": "b"}},
        {"headers": {"X-A": "€"}},
        {"bearerToken": "s3cret\n"},
    ],
)
def test_illegal_headers_fail_without_showing_their_value(settings: dict[str, Any]) -> None:
    with pytest.raises(PermanentError, match="does not allow") as caught:
        get("http://127.0.0.1:1", **settings)
    assert "s3cret" not in str(caught.value)


def test_credentials_in_the_url_are_in_no_message() -> None:
    with pytest.raises(UiciError) as caught:
        get("http://user:s3cret@127.0.0.1:1/")
    assert "s3cret" not in str(caught.value)
    assert "http://127.0.0.1:1" in str(caught.value)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FakeServer(text("direct")) as server:
        assert get(server.url) == b"direct"


def test_equal_sources_share_a_client_and_closing_twice_is_fine() -> None:
    clients = MonitoringClients()
    first, second = source("http://a"), source("http://b", headers={"X": "1"})
    one, two = clients.sources((first, second))
    assert one is not two
    again = clients.sources((source("http://b", headers={"X": "1"}), first))
    assert again == (two, one)
    clients.close()
    clients.close()


def test_every_exception_of_the_http_library_is_translated() -> None:
    own = {
        member
        for _, member in inspect.getmembers(httpcore, inspect.isclass)
        if issubclass(member, Exception)
    }
    assert len(own) > 10
    for exception in own:
        assert issubclass(exception, HTTPCORE_ERRORS), exception
        assert isinstance(translated(exception("x")), UiciError)


def test_importing_the_readers_does_not_import_an_http_library() -> None:
    code = (
        "import sys, monitoring.prometheus, monitoring.alertmanager, monitoring.probe;"
        "print(sorted({'httpcore', 'httpx', 'h11'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_messages_of_servers_become_one_short_line() -> None:
    assert one_line("a\n\tb\x1b[31m  c") == "a b [31m c"
    assert len(one_line("x" * 1000)) == 300


def test_none_answered_is_temporary_if_any_was() -> None:
    mixed = none_answered("Prometheus", [PermanentError("a: no"), TemporaryError("b: late")])
    assert isinstance(mixed, TemporaryError)
    assert str(mixed) == "Prometheus at a: no; b: late"
    assert isinstance(none_answered("Prometheus", [PermanentError("a: no")]), PermanentError)
    assert "no Prometheus is configured" in str(none_answered("Prometheus", []))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for the name prometheus.test, with its key, in one file."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=prometheus.test"),
            *("-addext", "subjectAltName=DNS:prometheus.test"),
            *("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return directory


def test_tls_with_an_own_authority_a_server_name_and_a_client_certificate(
    certificate: Path,
) -> None:
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    own = {"caFile": cert, "serverName": "prometheus.test", "certFile": cert, "keyFile": key}
    with FakeServer(text("secret"), tls=context) as server:
        assert get(server.url, tls=own) == b"secret"
        with pytest.raises(PermanentError, match="TLS handshake failed"):
            get(server.url)  # an unknown authority
        with pytest.raises(PermanentError, match="TLS handshake failed"):
            get(server.url, tls={**own, "serverName": "other.test"})
        with pytest.raises(UiciError):
            get(server.url, tls={"caFile": cert, "serverName": "prometheus.test"})


@pytest.mark.parametrize("field", ["caFile", "certFile"])
def test_unusable_tls_files_are_named(field: str, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    for path in (garbage, tmp_path / "missing.pem"):
        with pytest.raises(PermanentError, match=rf"tls.{field} .*{path.name}"):
            get("https://127.0.0.1:1", tls={field: str(path)})
