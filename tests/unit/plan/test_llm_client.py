"""The client against a real HTTP endpoint that misbehaves in every way we know of."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import openai  # noqa: TID251 - the test enumerates the package's exceptions
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from flows.llm.client import LlmClient
from flows.llm.contract import LlmAnswer, Meter
from flows.llm.errors import ERRORS, map_error, retry_after_seconds
from flows.llm.protocol import AnswerFormat, ChatRequest, Dialect, TokenUsage
from infrastructure.config_models import Retry
from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from infrastructure.service import Backoff
from tests.fakes.llm_server import (
    MODEL,
    Behaviour,
    ScriptedLlm,
    answer,
    broken_off,
    cut_off,
    dripping_body,
    dripping_headers,
    error,
    hang_up,
    huge,
    no_choices,
    only_understands,
    rate_limited,
    raw,
    refusal,
    slow,
)
from tests.fakes.llm_setting import KEY, settings

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class RecordingMeter:
    """Remembers; refuses from the n-th request on."""

    def __init__(self, allowed: int = 100) -> None:
        self.usages: list[TokenUsage | None] = []
        self._allowed = allowed

    def before_request(self) -> None:
        if len(self.usages) >= self._allowed:
            raise PermanentError("spent")

    def after_request(self, usage: TokenUsage | None) -> None:
        self.usages.append(usage)


def self_signed(directory: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = directory / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def ask(client: LlmClient, *, timeout: float = 3.0, meter: Meter | None = None) -> LlmAnswer:
    question = ChatRequest(MODEL, 0, 100, "be brief", "is it up?", "reply", SCHEMA)
    return client.ask(question, timeout=timeout, meter=meter)


def test_a_good_answer_with_its_cost() -> None:
    meter = RecordingMeter()
    with ScriptedLlm(answer({"ok": True}, usage=(12, 3))) as server:
        result = ask(LlmClient(settings(server.base_url)), meter=meter)
    assert result.text == '{"ok": true}'
    assert (result.prompt_tokens, result.output_tokens) == (12, 3)
    assert (result.requests, result.model) == (1, MODEL)
    assert 0 < result.seconds < 3
    assert meter.usages == [TokenUsage(12, 3)]


def test_what_is_sent() -> None:
    with ScriptedLlm(answer({"ok": True})) as server:
        ask(LlmClient(settings(server.base_url)))
        [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "model": MODEL,
        "temperature": 0,
        "max_tokens": 100,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "is it up?"},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA},
        },
    }
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_environment_variables_and_machine_details_are_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-x")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Extra: 1\nAuthorization: Bearer stolen")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ScriptedLlm(answer({"ok": True})) as server:
        ask(LlmClient(settings(server.base_url)))
        headers = {name.lower(): value for name, value in server.requests[0].headers.items()}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert set(headers) <= {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "content-type",
        "content-length",
        "user-agent",
        "authorization",
    }


def test_a_local_endpoint_needs_no_key_and_gets_none() -> None:
    with ScriptedLlm(answer({"ok": True})) as server:
        client = LlmClient(settings(server.base_url, api_key="", key_required=False))
        assert client.missing is None
        ask(client)
        assert "authorization" not in {h.lower() for h in server.requests[0].headers}


def test_no_key_where_one_is_required_asks_nobody() -> None:
    with ScriptedLlm(answer({"ok": True})) as server:
        client = LlmClient(settings(server.base_url, api_key=""))
        assert client.missing == "no LLM configured: llm.apiKey in platform.yml is empty"
        with pytest.raises(PermanentError, match="no LLM configured"):
            ask(client)
        assert server.requests == []


@pytest.mark.parametrize(
    "passing",
    [
        rate_limited(),
        rate_limited(0.05),
        rate_limited(formatdate(0, usegmt=True)),
        rate_limited("soon"),
        error(500),
        error(503),
        error(408),
        error(409),
        hang_up(),
        broken_off(),
    ],
)
def test_what_may_pass_is_tried_again(passing: Behaviour) -> None:
    with ScriptedLlm(passing, passing, answer({"ok": True})) as server:
        result = ask(LlmClient(settings(server.base_url)))
    assert result.requests == 3


def test_retry_after_is_waited_for() -> None:
    waits: list[float] = []
    with ScriptedLlm(rate_limited(1.5), answer({"ok": True})) as server:
        ask(LlmClient(settings(server.base_url), sleep=waits.append))
    assert waits == [1.5]


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +999999999999",
        "Mon, 01 Jan 0001 00:00:00",
        "Mon, 31 Feb 2026 25:61:61 GMT",
        "nan",
        "1e400",
        "9" * 5000,
        "\xff\xfe",
    ],
)
def test_a_retry_after_that_is_none_ends_no_run(date: str) -> None:
    seconds = retry_after_seconds({"retry-after": date})
    assert seconds is None or seconds >= 0


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} Jan \d{1,30} [\d:]{1,9} \S{1,9}"))
def test_no_retry_after_raises(date: str) -> None:
    seconds = retry_after_seconds({"retry-after": date})
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    "head",
    [
        *(
            {"Content-Type": f"application/json; charset={codec}"}
            for codec in ("undefined", "idna", "base64", "utf-16", "\xff", "no-such-thing")
        ),
        {"Set-Cookie": f"a=b; Max-Age={'9' * 5000}; Expires=Mon, 01-Jan-99999999999 00:00:00 GMT"},
        {"Location": "http://[::1"},
    ],
    ids=lambda head: next(iter(head.values()))[:40],
)
@pytest.mark.parametrize("status", [200, 302, 400, 429])
def test_no_header_of_an_answer_ends_a_run(head: dict[str, str], status: int) -> None:
    said = json.dumps({"choices": [{"message": {"content": "größer"}}]}, ensure_ascii=False)
    with ScriptedLlm(lambda e: e.reply(said.encode(), status=status, headers=head)) as server:
        client = LlmClient(settings(server.base_url))
        if status == 200:
            assert ask(client).text == "größer"
        else:
            with pytest.raises(UiciError, match=f"HTTP {status}"):
                ask(client)


def test_back_off_doubles_up_to_its_maximum_with_full_jitter() -> None:
    ranges: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        ranges.append((low, high))
        return 0.0

    retry = Retry(
        attempts=5,
        backoff=Backoff(initial=timedelta(milliseconds=10), max=timedelta(milliseconds=40)),
    )
    with ScriptedLlm(error(500)) as server, pytest.raises(TemporaryError, match="HTTP 500"):
        ask(LlmClient(settings(server.base_url, retry=retry), jitter=jitter))
    assert ranges == [(0.0, 0.01), (0.0, 0.02), (0.0, 0.04), (0.0, 0.04)]
    assert len(server.requests) == 5


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    started = time.monotonic()
    with (
        ScriptedLlm(rate_limited(60)) as server,
        pytest.raises(TemporaryError, match="limits the rate"),
    ):
        ask(LlmClient(settings(server.base_url)), timeout=2)
    assert len(server.requests) == 1
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    "stalling",
    [slow(30, answer({"ok": True})), dripping_headers(), dripping_body()],
    ids=["silent", "headers", "body"],
)
def test_the_deadline_holds_however_it_is_stalled(stalling: Behaviour) -> None:
    meter = RecordingMeter()
    started = time.monotonic()
    with ScriptedLlm(stalling) as server, pytest.raises(DeadlineExceededError, match="in time"):
        ask(LlmClient(settings(server.base_url)), timeout=0.4, meter=meter)
    assert 0.3 < time.monotonic() - started < 2.0
    assert meter.usages == [None]  # nobody knows what it cost


def test_an_endpoint_that_cannot_prove_who_it_is_gets_neither_key_nor_question(
    tmp_path: Path,
) -> None:
    with ScriptedLlm(answer({"ok": True}), tls=self_signed(tmp_path)) as server:
        meter = RecordingMeter()
        with pytest.raises(TemporaryError, match="certificate verify failed"):
            ask(LlmClient(settings(server.base_url)), meter=meter)
    assert server.requests == []
    assert meter.usages == [TokenUsage(0, 0)] * 3


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meter = RecordingMeter()
    with pytest.raises(TemporaryError, match=r"could not be reached.*refused"):
        ask(LlmClient(settings(f"http://127.0.0.1:{port}/v1")), meter=meter)
    assert meter.usages == [TokenUsage(0, 0)] * 3


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (error(400, "context too long"), "refused the request.*context too long"),
        (error(401), "API key"),
        (error(403), "denied"),
        (error(404), "no such model"),
        (error(422), "refused"),
        (error(418), "refused"),
        (error(429, "no money", code="insufficient_quota"), "no quota"),
        (error(302, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 302"),
        (huge(), "larger than 1000000 bytes"),
        (raw(b"<html>login</html>", headers={"Content-Type": "text/html"}), "Chat Completions"),
        (raw(b'{"choices": 3}'), "Chat Completions"),
        (raw(b"[" * 100_000), "Chat Completions"),
        (raw(b"\xff\xfe"), "Chat Completions"),
        (raw(b""), "Chat Completions"),
        (raw(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), "compressed"),
        (no_choices(), "no choices"),
        (refusal("I must not"), "refused to answer: I must not"),
        (cut_off(), "cut off"),
        (answer(""), "empty"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(behaviour: Behaviour, words: str) -> None:
    started = time.monotonic()
    with ScriptedLlm(behaviour) as server, pytest.raises(PermanentError, match=words):
        ask(LlmClient(settings(server.base_url)))
    assert len(server.requests) == 1
    assert time.monotonic() - started < 2.5


def test_the_breaker_leaves_a_failing_endpoint_alone_for_the_run() -> None:
    with ScriptedLlm(error(500)) as server:
        client = LlmClient(settings(server.base_url))
        with pytest.raises(TemporaryError, match="failed"):
            ask(client)
        asked = len(server.requests)
        server.then(answer({"ok": True}))
        with pytest.raises(TemporaryError, match=r"left alone for the rest of this run.*HTTP 500"):
            ask(client)
        assert len(server.requests) == asked == 3


@pytest.mark.parametrize(
    "refusing", [error(401), error(403), error(404), error(429, code="insufficient_quota")]
)
def test_what_only_a_person_can_mend_is_asked_once_a_run(refusing: Behaviour) -> None:
    with ScriptedLlm(refusing) as server:
        client = LlmClient(settings(server.base_url))
        with pytest.raises(PermanentError):
            ask(client)
        with pytest.raises(TemporaryError, match="left alone"):
            ask(client)
        assert len(server.requests) == 1


def test_one_bad_answer_does_not_open_the_breaker() -> None:
    with ScriptedLlm(refusal(), answer({"ok": True})) as server:
        client = LlmClient(settings(server.base_url))
        with pytest.raises(PermanentError):
            ask(client)
        assert ask(client).requests == 1


@pytest.mark.parametrize(
    ("understood", "chosen"),
    [(("json_object",), AnswerFormat.OBJECT), ((), AnswerFormat.PLAIN)],
)
def test_an_endpoint_without_strict_schemas_is_asked_in_words(
    understood: tuple[str, ...], chosen: AnswerFormat
) -> None:
    with ScriptedLlm(only_understands(understood, answer({"ok": True}))) as server:
        client = LlmClient(settings(server.base_url))
        ask(client)
        learning = len(server.requests)
        ask(client)
        assert len(server.requests) == learning + 1  # it remembers
        assert client.dialect.format is chosen
        assert '"additionalProperties":false' in server.requests[-1].system


def test_newer_models_name_their_limit_otherwise_and_take_no_temperature() -> None:
    script = [
        error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        error(400, "Unsupported value: 'temperature' does not support 0"),
        answer({"ok": True}),
    ]
    with ScriptedLlm(*script) as server:
        assert ask(LlmClient(settings(server.base_url))).requests == 3
        body = server.requests[-1].body
    assert body["max_completion_tokens"] == 100
    assert not {"max_tokens", "temperature"} & set(body)


def test_a_400_that_repeats_ends() -> None:
    message = "response_format, max_completion_tokens and temperature are all wrong"
    with ScriptedLlm(error(400, message)) as server, pytest.raises(PermanentError):
        ask(LlmClient(settings(server.base_url)))
    assert len(server.requests) == 5


def test_the_same_refusal_of_two_threads_lowers_the_dialect_once() -> None:
    barrier = threading.Barrier(2)

    def together(exchange: Any) -> None:
        if exchange.request.body.get("response_format", {}).get("type") == "json_schema":
            barrier.wait(5)
        only_understands(("json_object",), answer({"ok": True}))(exchange)

    with ScriptedLlm(together) as server, ThreadPoolExecutor(2) as pool:
        client = LlmClient(settings(server.base_url))
        results = list(pool.map(lambda _: ask(client), range(2)))
    assert [result.requests for result in results] == [2, 2]
    assert client.dialect == Dialect(format=AnswerFormat.OBJECT)


def test_the_meter_ends_the_asking_between_two_attempts() -> None:
    with ScriptedLlm(error(500)) as server, pytest.raises(PermanentError, match="spent"):
        ask(LlmClient(settings(server.base_url)), meter=RecordingMeter(allowed=2))
    assert len(server.requests) == 2


@pytest.mark.parametrize("usage", [None, (-1, 5), (10**12, 5)])
def test_usage_that_cannot_be_is_unknown(usage: tuple[int, int] | None) -> None:
    meter = RecordingMeter()
    with ScriptedLlm(answer({"ok": True}, usage=usage)) as server:
        result = ask(LlmClient(settings(server.base_url)), meter=meter)
    assert meter.usages == [None]
    assert (result.prompt_tokens, result.output_tokens) == (0, 0)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_the_key_is_in_no_error_log_or_repr(
    status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    echo = error(status, f"Incorrect API key provided: {KEY}.\x1b[31m\nAuthorization: {KEY}")
    with ScriptedLlm(echo) as server:
        client = LlmClient(settings(server.base_url))
        with pytest.raises(UiciError) as caught:
            ask(client)
    shown = "".join(traceback.format_exception(caught.value)) + repr(client) + str(vars(client))
    printed = capsys.readouterr()
    assert KEY not in shown + printed.out + printed.err
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("key", ["with space ", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_named_but_not_shown(key: str) -> None:
    client = LlmClient(settings("http://127.0.0.1:9/v1", api_key=key))
    with pytest.raises(PermanentError, match="no HTTP header") as caught:
        ask(client)
    assert key not in str(caught.value)


def test_the_endpoint_is_shown_without_its_credentials() -> None:
    client = LlmClient(settings("https://user:pw@llm.example:8443/v1/?token=x"))
    assert client.endpoint == "https://llm.example:8443/v1"


def test_text_that_is_no_unicode_is_sent_all_the_same() -> None:
    with ScriptedLlm(answer({"ok": True})) as server:
        client = LlmClient(settings(server.base_url))
        asked = ChatRequest(MODEL, 0, 10, "s", "lone \ud800 surrogate", "reply", SCHEMA)
        client.ask(asked, timeout=3)
        assert server.requests[0].user == "lone ? surrogate"


def test_every_exception_of_the_openai_package_is_mapped() -> None:
    import openai._exceptions as module  # noqa: PLC0415, TID251 - to enumerate them

    defined = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__.startswith("openai")
    }
    assert "RateLimitError" in defined
    assert defined == set(ERRORS)


def test_an_exception_without_an_entry_counts_as_its_parent() -> None:
    class NewKindOfLimitError(openai.RateLimitError):
        """Of a version to come."""

    response = httpx2.Response(429, request=httpx2.Request("POST", "http://127.0.0.1/"))
    new = NewKindOfLimitError("slow down", response=response, body=None)
    assert map_error(new) == ERRORS["RateLimitError"]


def test_only_what_may_pass_is_temporary() -> None:
    temporary = {name for name, (kind, _) in ERRORS.items() if issubclass(kind, TemporaryError)}
    assert temporary == {
        "APITimeoutError",
        "APIConnectionError",
        "ConflictError",
        "RateLimitError",
        "InternalServerError",
    }
    assert map_error(OSError("no route"))[0] is TemporaryError
