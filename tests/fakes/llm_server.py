"""A scripted OpenAI-compatible server on loopback that behaves badly on demand.

Real HTTP on a free port: the openai package, its HTTP library and our transport are all
in the test. A script is a list of behaviours, one a request; the last one repeats.

    with ScriptedLlm(rate_limited(0.1), answer({...})) as server:
        client = LlmClient(settings(server.base_url))
"""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MODEL = "scripted-model"


@dataclass(frozen=True)
class ReceivedRequest:
    """What the endpoint saw."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def system(self) -> str:
        return self._message("system")

    @property
    def user(self) -> str:
        return self._message("user")

    def _message(self, role: str) -> str:
        return "\n".join(m["content"] for m in self.body["messages"] if m["role"] == role)

    @property
    def checks_abilities(self) -> bool:
        """Whether it asks what the endpoint can do, and not about an incident."""
        return self.system.startswith("This checks how you answer.")

    @property
    def tools(self) -> list[str]:
        """Names of the tools that it offers."""
        return [tool["function"]["name"] for tool in self.body.get("tools", ())]


class Exchange:
    """One request with the means to answer it in any way, however rude."""

    def __init__(
        self, handler: BaseHTTPRequestHandler, request: ReceivedRequest, closing: threading.Event
    ) -> None:
        self.request = request
        self._handler = handler
        self._closing = closing

    def reply(
        self,
        body: bytes,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Send an HTTP answer. `length` lies about the body's length."""
        self.start(status=status, headers=headers, length=len(body) if length is None else length)
        self.write(body)

    def start(self, *, status: int, headers: Mapping[str, str] | None, length: int | None) -> None:
        self._handler.send_response(status)
        merged = {"Content-Type": "application/json", **(headers or {})}
        if length is not None:
            merged["Content-Length"] = str(length)
        merged["Connection"] = "close"
        for name, value in merged.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def pause(self, seconds: float) -> bool:
        """Wait; True when the server is being closed, and the behaviour should end."""
        return self._closing.wait(seconds)


Behaviour = Callable[[Exchange], None]


class ScriptedLlm:
    """The server. Use it as a context manager: it leaves no thread and no socket behind.

    Questions about its abilities are kept apart, in `checks`, and answered by `check`.
    """

    def __init__(
        self,
        *script: Behaviour,
        tls: ssl.SSLContext | None = None,
        check: Behaviour | None = None,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self.checks: list[ReceivedRequest] = []
        self._check = check or strict_without_tools()
        self._script = list(script)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._tls = tls
        if tls is not None:
            # The handshake is the handler's, so that a client that breaks it off breaks no more.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def base_url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}/v1"

    def then(self, *script: Behaviour) -> None:
        """Replace what is left of the script."""
        with self._lock:
            self._script = list(script)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, request: ReceivedRequest) -> Behaviour:
        with self._lock:
            if request.checks_abilities:
                self.checks.append(request)
                return self._check
            self.requests.append(request)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = json.loads(self.rfile.read(length))
                request = ReceivedRequest(self.path, dict(self.headers.items()), body)
                # The client may hang up whenever it likes.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    outer._next(request)(Exchange(self, request, outer._closing))
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off a TLS handshake is no error; a broken behaviour is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def completion(
    text: str | None,
    *,
    usage: tuple[int, int] | None = (100, 20),
    finish_reason: str = "stop",
    refusal: str | None = None,
    calls: Sequence[tuple[str, Any]] = (),
) -> dict[str, Any]:
    """A Chat Completions answer as the API documents it. `calls`: (tool, arguments)."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": given if isinstance(given, str) else json.dumps(given),
                },
            }
            for index, (name, given) in enumerate(calls)
        ]
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }
    if usage is not None:
        prompt, output = usage
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
        }
    return body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


# ── behaviours ──────────────────────────────────────────────────────────────────


def answer(content: Any, *, usage: tuple[int, int] | None = (100, 20)) -> Behaviour:
    """Well-behaved: `content` as JSON, or as it is when it is text."""
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda exchange: exchange.reply(_json(completion(text, usage=usage)))


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Nothing for a while."""

    def behave(exchange: Exchange) -> None:
        if not exchange.pause(seconds):
            then(exchange)

    return behave


def dripping_headers(pause: float = 0.05) -> Behaviour:
    """A byte of a header now and then, for ever: no single read ever times out."""

    def behave(exchange: Exchange) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not exchange.pause(pause):
            exchange.write(b"a")

    return behave


def dripping_body(pause: float = 0.05) -> Behaviour:
    """A blank now and then before a JSON answer that never comes."""

    def behave(exchange: Exchange) -> None:
        exchange.start(status=200, headers=None, length=1_000_000)
        while not exchange.pause(pause):
            exchange.write(b" ")

    return behave


def error(
    status: int,
    message: str = "something broke",
    *,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Behaviour:
    """An error as the API words it."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return lambda exchange: exchange.reply(_json(body), status=status, headers=headers)


def rate_limited(retry_after: float | str | None = None) -> Behaviour:
    """429, with Retry-After where one is given."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return error(429, "Rate limit reached", headers=headers)


def hang_up() -> Behaviour:
    """Closes the connection without a word."""
    return lambda _exchange: None


def broken_off() -> Behaviour:
    """Half of the promised bytes, then the end."""

    def behave(exchange: Exchange) -> None:
        body = _json(completion('{"diagnosis": "x"}'))
        exchange.reply(body[: len(body) // 2], length=len(body))

    return behave


def raw(body: bytes, *, headers: Mapping[str, str] | None = None, status: int = 200) -> Behaviour:
    """Any bytes at all."""
    return lambda exchange: exchange.reply(body, status=status, headers=headers)


def huge(size: int = 10_000_000) -> Behaviour:
    """A valid answer of that many bytes."""

    def behave(exchange: Exchange) -> None:
        exchange.reply(_json(completion("x" * size)))

    return behave


def cut_off(text: str = '{"diagnosis": "the conta') -> Behaviour:
    """The model ran into its token limit in the middle of the JSON."""
    return lambda exchange: exchange.reply(_json(completion(text, finish_reason="length")))


def refusal(words: str = "I can't help with that.") -> Behaviour:
    """The model declines in the field made for it."""
    return lambda exchange: exchange.reply(_json(completion(None, refusal=words)))


def no_choices() -> Behaviour:
    """An envelope with nothing in it."""
    return lambda exchange: exchange.reply(_json({**completion("x"), "choices": []}))


def only_understands(formats: tuple[str, ...], then: Behaviour) -> Behaviour:
    """Refuses every response_format whose type is not among these, as servers do."""

    def behave(exchange: Exchange) -> None:
        kind = exchange.request.body.get("response_format", {}).get("type")
        if kind is None or kind in formats:
            then(exchange)
        else:
            message = f"Invalid parameter: 'response_format' of type '{kind}' is not supported"
            error(400, message)(exchange)

    return behave


def calls_tools(*calls: tuple[str, Any], text: str | None = None) -> Behaviour:
    """The model calls these tools: (name, arguments)."""
    body = _json(completion(text, finish_reason="tool_calls", calls=calls))
    return lambda exchange: exchange.reply(body)


def without_tools(then: Behaviour) -> Behaviour:
    """Refuses requests that offer tools, as servers without them do."""

    def behave(exchange: Exchange) -> None:
        if exchange.request.tools:
            error(400, "tools are not supported with this template")(exchange)
        else:
            then(exchange)

    return behave


# ── answers to the questions about abilities ────────────────────────────────────


def _kept_schema(request: ReceivedRequest) -> Any:
    """What an endpoint that keeps a strict schema answers."""
    schema = request.body["response_format"]["json_schema"]["schema"]
    return {name: inner["enum"][0] for name, inner in schema["properties"].items()}


def strict_without_tools() -> Behaviour:
    """Keeps schemas, and has never heard of tools."""

    def behave(exchange: Exchange) -> None:
        form = exchange.request.body.get("response_format", {}).get("type")
        text = json.dumps(_kept_schema(exchange.request)) if form == "json_schema" else "Hello."
        exchange.reply(_json(completion(text, usage=(60, 5))))

    return behave


def strict_with_tools() -> Behaviour:
    """Keeps schemas and calls tools."""

    def behave(exchange: Exchange) -> None:
        if exchange.request.tools:
            calls_tools((exchange.request.tools[0], {"word": "teal"}))(exchange)
        else:
            strict_without_tools()(exchange)

    return behave


def claims_and_writes_prose() -> Behaviour:
    """Takes every schema and every tool without a word, and answers prose."""
    return answer("Hello, how nice to meet you!", usage=(60, 9))
