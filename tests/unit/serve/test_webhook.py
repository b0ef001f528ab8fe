"""What Alertmanager posts, over real sockets: who may, how much, and what it starts."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flows.endpoint import endpoint
from flows.webhook import Webhook
from infrastructure.config_models import HttpEndpoint, ServerTls, WebhookSettings
from infrastructure.errors import PermanentError, TemporaryError
from infrastructure.identity import AgentIdentity
from infrastructure.service import Service
from tests.builders import service, services

TOKEN = "correct-horse-battery"
IDENTITY = AgentIdentity("devops-ai-agent", frozenset({"devops-ai-agent"}))
WORLD = services(
    service("market-db"),
    service(
        "market-predictor",
        dependsOn=["market-db"],
        alerts=[{"matchers": {"service": "market-predictor"}}],
    ),
    service("other", alerts=[{"matchers": {"service": "other"}}]),
)


@dataclass
class Place:
    """A listening webhook and what it asked for."""

    settings: WebhookSettings
    port: int = 0
    asked: list[frozenset[str] | None] = field(default_factory=list)
    known: Mapping[str, Service] | None = field(default_factory=lambda: WORLD)
    now: float = 0.0
    refuses: bool = False

    def ask(self, targets: frozenset[str] | None) -> None:
        if self.refuses:
            raise TemporaryError("no runs are taken yet")
        self.asked.append(targets)

    def post(self, body: bytes, token: str | None = TOKEN, path: str = "/alerts") -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code


def settings(**changes: Any) -> WebhookSettings:
    values = {"path": "/alerts", "token": TOKEN, "maxBytes": 20_000, "perMinute": 600, "burst": 100}
    return WebhookSettings.model_validate({**values, **changes})


@pytest.fixture
def place() -> Iterator[Place]:
    yield from _listening(settings())


def _listening(with_settings: WebhookSettings) -> Iterator[Place]:
    made = Place(with_settings)
    webhook = Webhook(
        with_settings,
        services=lambda: made.known,
        identity=IDENTITY,
        ask=made.ask,
        clock=lambda: made.now,
    )
    http = HttpEndpoint.model_construct(host="127.0.0.1", port=0, tls=None)
    with endpoint(http, {}, {"/alerts": webhook}) as made.port:
        yield made


def alert(name: str = "market-predictor", status: str = "firing", **more: Any) -> dict[str, Any]:
    labels = {"alertname": "Down", "service": name}
    return {
        "status": status,
        "labels": labels,
        "annotations": {},
        "startsAt": "2026-11-22T10:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"f-{name}",
        **more,
    }


def message(*alerts: dict[str, Any], truncated: int = 0) -> bytes:
    return json.dumps(
        {
            "version": "4",
            "groupKey": '{}:{service="market-predictor"}',
            "truncatedAlerts": truncated,
            "status": "firing",
            "receiver": "uici",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager",
            "alerts": list(alerts),
        }
    ).encode()


CONCERNED = frozenset({"local-docker/market-predictor", "local-docker/market-db"})


def test_an_alert_asks_for_its_target_and_what_that_needs(place: Place) -> None:
    assert place.post(message(alert())) == 202
    assert place.asked == [CONCERNED]


def test_the_same_alert_again_asks_for_nothing_and_a_new_fire_does(place: Place) -> None:
    place.post(message(alert()))
    assert place.post(message(alert())) == 200
    assert place.post(message(alert(startsAt="2026-11-22T11:00:00Z"))) == 202
    assert place.asked == [CONCERNED, CONCERNED]


@pytest.mark.parametrize(
    "told",
    [
        alert(status="resolved"),
        alert("devops-ai-agent"),
        alert(labels={"alertname": "UICIEscalation", "service": "market-predictor"}),
        alert("nobody-declared-this"),
    ],
    ids=["resolved", "the agent itself", "an escalation of its own", "nobody's"],
)
def test_what_there_is_nothing_to_look_at_for(place: Place, told: dict[str, Any]) -> None:
    assert place.post(message(told)) == 200
    assert place.asked == []


def test_a_group_is_one_wish(place: Place) -> None:
    assert place.post(message(alert(), alert("other"), alert(status="resolved"))) == 202
    assert place.asked == [CONCERNED | {"local-docker/other"}]


def test_alerts_that_were_cut_off_may_be_anybodys(place: Place) -> None:
    assert place.post(message(alert("other"), truncated=3)) == 202
    assert place.asked == [None]


def test_before_desired_state_is_known_all_is_looked_at(place: Place) -> None:
    place.known = None
    assert place.post(message(alert())) == 202
    assert place.asked == [None]


def test_a_wish_that_can_not_be_taken_comes_again(place: Place) -> None:
    place.refuses = True
    assert place.post(message(alert())) == 503
    place.refuses = False
    assert place.post(message(alert())) == 202
    assert place.asked == [CONCERNED]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "ünïcode"])
def test_without_the_token_nothing_is_taken(place: Place, token: str | None) -> None:
    assert place.post(message(alert()), token) == 401
    assert place.asked == []


def test_without_a_configured_token_nobody_is_let_in() -> None:
    for made in _listening(settings(token="")):
        assert made.post(message(alert()), "") == 403
        assert made.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version": "4"',
        b'{"version": "3", "alerts": []}',
        b'{"version": "4", "alerts": [{}]}',
        message(alert(labels={str(n): "x" for n in range(300)})),
        message(alert(labels={"service": "x" * 5000})),
        b"[" * 10_000,
    ],
)
def test_what_is_no_notification_is_refused(place: Place, body: bytes) -> None:
    assert place.post(body) == 400
    assert place.asked == []


def raw(port: int, request: bytes) -> bytes:
    """All that is answered; a server that hangs up at once answers nothing."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(4096):
            answer += part
    return answer


HEAD = f"POST /alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Length: 20001\r\n\r\n", b"413"),
        (b"Content-Length: 99999999999999999999999999\r\n\r\n", b"413"),
        (b"Content-Length: -1\r\n\r\n", b"411"),
        (b"Content-Length: +5\r\n\r\nhello", b"411"),
        (b"\r\n", b"411"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", b"411"),
        (b"Content-Length: 50\r\n\r\n{}", b"400"),
    ],
)
def test_a_body_is_bounded_before_it_is_read(place: Place, rest: bytes, status: bytes) -> None:
    assert raw(place.port, HEAD + rest).split(b" ")[1] == status
    assert place.asked == []


def test_a_refused_request_leaves_no_second_one_behind_it(place: Place) -> None:
    smuggled = HEAD + f"Content-Length: {len(message(alert()))}\r\n\r\n".encode() + message(alert())
    answer = raw(place.port, HEAD + b"Content-Length: 30000\r\n\r\n" + smuggled)
    assert answer.count(b"HTTP/1.") == 1
    assert place.asked == []


def test_too_many_requests_are_turned_away_until_time_has_passed() -> None:
    for made in _listening(settings(perMinute=60, burst=2)):
        found = [made.post(message(alert())) for _ in range(3)]
        assert found == [202, 200, 429]
        made.now = 1.0
        assert made.post(message(alert())) == 200
        assert made.post(message(alert())) == 429


def test_guessing_tokens_is_slowed_down_too() -> None:
    for made in _listening(settings(perMinute=1, burst=3)):
        assert [made.post(b"{}", "guess") for _ in range(4)] == [401, 401, 401, 429]


def test_a_flood_of_wrong_tokens_never_turns_the_right_one_away() -> None:
    for made in _listening(settings(perMinute=1, burst=3)):
        flood = [made.post(message(alert()), guess) for guess in ("a", "b", None, "d", "e")]
        assert flood == [401, 401, 401, 429, 429]
        assert made.post(message(alert())) == 202
        assert made.asked == [CONCERNED]


def test_alerts_leave_guesses_no_more_room() -> None:
    for made in _listening(settings(perMinute=1, burst=2)):
        assert [made.post(message(alert())) for _ in range(3)] == [202, 200, 429]
        assert [made.post(b"{}", "guess") for _ in range(3)] == [401, 401, 429]


def test_there_is_nothing_to_post_to_elsewhere(place: Place) -> None:
    assert place.post(message(alert()), path="/healthz") == 404


def test_a_storm_is_remembered_within_bounds() -> None:
    for made in _listening(settings(maxBytes=4_000_000)):
        many = [alert("other", fingerprint=f"f{n}") for n in range(5000)]
        assert made.post(message(*many)) == 202
        assert made.post(message(*many[-4000:])) == 200
        assert made.asked == [frozenset({"local-docker/other"})]


# ── TLS ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def certificate(tmp_path: Path) -> ServerTls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ServerTls.model_validate(
        {"certFile": str(tmp_path / "cert.pem"), "keyFile": str(tmp_path / "key.pem")}
    )


def test_it_speaks_tls_where_a_certificate_is_configured(
    certificate: ServerTls, make_webhook: Callable[[], tuple[Webhook, Place]]
) -> None:
    webhook, place = make_webhook()
    http = HttpEndpoint.model_construct(host="127.0.0.1", port=0, tls=certificate)
    trusting = ssl.create_default_context(cafile=certificate.cert_file)
    with endpoint(http, {}, {"/alerts": webhook}) as port:
        request = urllib.request.Request(
            f"https://localhost:{port}/alerts",
            data=message(alert()),
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=10, context=trusting) as response:
            assert response.status == 202
        assert place.asked == [CONCERNED]
        plain = raw(port, HEAD + b"Content-Length: 2\r\n\r\n{}")
        assert b"202" not in plain
        assert place.asked == [CONCERNED]


def test_a_certificate_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    tls = ServerTls.model_validate({"certFile": str(tmp_path / "no"), "keyFile": "no"})
    http = HttpEndpoint.model_construct(host="127.0.0.1", port=0, tls=tls)
    with pytest.raises(PermanentError, match=r"certificate of serve\.http"), endpoint(http, {}):
        pass


@pytest.fixture
def make_webhook() -> Callable[[], tuple[Webhook, Place]]:
    def make() -> tuple[Webhook, Place]:
        place = Place(settings())
        made = Webhook(
            place.settings,
            services=lambda: place.known,
            identity=IDENTITY,
            ask=place.ask,
            clock=lambda: 0.0,
        )
        return made, place

    return make


def test_the_documented_settings_are_the_shipped_ones() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs/how-to/webhook.md").read_text()
    documented = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    shipped = yaml.safe_load((root / "infrastructure/config/platform.yml").read_text())
    assert documented["serve"] == shipped["serve"]
