"""One question to an OpenAI-compatible endpoint. The only module that imports `openai`.

It knows nothing of incidents and plans: text and a JSON Schema in, text out. It bounds
time, size, attempts and requests, learns which dialect of Chat Completions an endpoint
speaks, and maps everything that can go wrong to `infrastructure.errors`. Neighbours:
`flows.llm.protocol` (bodies and envelopes), `flows.llm.transport` (bounded HTTP),
`flows.llm.contract` (its own words), `flows.llm.conversation`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from flows.llm.contract import (
    Breaker,
    LlmAnswer,
    Meter,
    NoBreaker,
    RefusedRequestError,
    Unmetered,
    UnusableAnswerError,
)
from flows.llm.errors import map_error, retry_after_seconds
from flows.llm.protocol import (
    NOT_BILLED,
    ChatRequest,
    Dialect,
    Reply,
    TokenUsage,
    read_reply,
)
from infrastructure.config_models import LlmSettings
from infrastructure.errors import (
    PermanentError,
    TemporaryError,
    UiciError,
)

if TYPE_CHECKING:
    from openai import OpenAI  # noqa: TID251 - this module is its home; types only

_log = structlog.get_logger("uici")

# An endpoint's own words are outside data: enough of them for a person, in one line.
_MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request without an answer. `endpoint_is_bad`: others would fare no better."""

    error: UiciError
    usage: TokenUsage | None
    cause: BaseException | None = None
    retry_after: float | None = None
    endpoint_is_bad: bool = False
    endpoint_works: bool = False
    dialect_lowered: bool = False


# Fixed only by a person, and the same for every question.
_BAD_ENDPOINT_STATUS = frozenset({401, 403, 404})
_DIALECT_STATUS = frozenset({400, 422})


class LlmClient:
    """Asks one endpoint. Make one a run: what it learned and gave up ends with it.

    After the attempts on a question are spent, or the endpoint refuses the key or the
    model, the endpoint is left alone: every further question fails at once. Safe to use
    from several threads. Holds no connection between questions.
    """

    def __init__(
        self,
        settings: LlmSettings,
        *,
        redact: Callable[[str], str] = lambda text: text,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[float, float], float] = random.uniform,  # noqa: S311 - no secret, a wait
    ) -> None:
        """Talk to nothing yet.

        Args:
            settings: endpoint, key, retries, size limit.
            redact: applied to an endpoint's own words before they stand in an error.
            breaker: told how each question ended; may forbid the next. None: never does.
            clock: seconds, monotonic.
            sleep: waits between attempts.
            jitter: (low, high) → a wait between them.
        """
        self._settings = settings
        self._redact = redact
        self._breaker = breaker or NoBreaker()
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._dialect = Dialect()
        self._left_alone: str | None = None

    def __repr__(self) -> str:
        return f"LlmClient({self.endpoint})"

    @property
    def endpoint(self) -> str:
        """Base URL without user, password and query: fit for a report."""
        parts = urlsplit(self._settings.base_url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}".rstrip("/")

    @property
    def dialect(self) -> Dialect:
        """What the endpoint is known to understand by now."""
        return self._dialect

    def speak(self, dialect: Dialect) -> None:
        """Ask in this dialect from now on. A refusal still lowers it."""
        with self._lock:
            self._dialect = dialect

    @property
    def missing(self) -> str | None:
        """Why no LLM is configured, or None."""
        if self._settings.key_required and not self._settings.api_key.strip():
            return "no LLM configured: llm.apiKey in platform.yml is empty"
        return None

    def ask(
        self,
        question: ChatRequest,
        *,
        timeout: float,
        meter: Meter | None = None,
        attempts: int | None = None,
    ) -> LlmAnswer:
        """Ask once, retrying what may pass.

        Args:
            question: what is asked.
            timeout: seconds for everything together, retries and waits too. Only the
                system's name resolution is outside of it.
            meter: allows and counts each HTTP request.
            attempts: instead of those of the settings, for a question that only tries what
                the endpoint can do: when it fails, the endpoint is not left alone.

        Raises:
            TemporaryError: no answer after all attempts, or the endpoint is left alone.
            DeadlineExceededError: no answer in time.
            RefusedRequestError: the endpoint does not take such a request.
            UnusableAnswerError: an answer that is no answer (refusal, nothing, cut off).
            PermanentError: no key, a refused key or model, an answer that is too large.
            UiciError: whatever the meter raised.
        """
        self._refuse_early()
        self._breaker.before_question()
        meter = meter or Unmetered()
        _load_sdk()
        started = self._clock()
        ends = started + timeout
        requests = failures = 0
        failed: _Failure | None = None
        with self._connection(lambda: ends - self._clock()) as openai_client:
            while True:
                self._allowed(meter, failed, leave_alone=attempts is None)
                requests += 1
                result = self._request(openai_client, question, left=ends - self._clock())
                meter.after_request(result.usage)
                if isinstance(result, Reply):
                    self._breaker.answered()
                    return self._answer(result, requests, self._clock() - started)
                if result.dialect_lowered:
                    continue
                failures, failed = failures + 1, result
                wait = self._next_wait(result, failures, attempts, left=ends - self._clock())
                if wait is None:
                    self._ended(result, leave_alone=attempts is None)
                    raise result.error from self._shown_cause(result)
                _log.info(
                    "llm_retry",
                    endpoint=self.endpoint,
                    error=str(result.error),
                    wait=round(wait, 3),
                )
                self._sleep(wait)

    def _refuse_early(self) -> None:
        if self.missing:
            raise PermanentError(self.missing)
        key = self._settings.api_key
        if key != key.strip() or not key.isascii() or not key.isprintable():
            raise PermanentError("llm.apiKey has characters that no HTTP header can carry")
        if self._left_alone:
            raise TemporaryError(
                f"the LLM endpoint is left alone for the rest of this run: {self._left_alone}"
            )

    @contextmanager
    def _connection(self, left: Callable[[], float]) -> Iterator[OpenAI]:
        import httpx2  # noqa: PLC0415 - see _load_sdk
        from openai import OpenAI  # noqa: PLC0415, TID251 - see _load_sdk; this is its one home

        from flows.llm.transport import BoundedTransport, tls_context  # noqa: PLC0415 - see above

        transport = BoundedTransport(
            api_key=self._settings.api_key,
            left=left,
            max_bytes=self._settings.max_response_bytes,
            tls=tls_context(self._settings.base_url),
        )
        http = httpx2.Client(transport=transport, trust_env=False, follow_redirects=False)
        with OpenAI(
            api_key="set-by-the-transport",
            base_url=self._settings.base_url,
            max_retries=0,
            http_client=http,
        ) as client:
            yield client

    def _request(self, client: OpenAI, question: ChatRequest, *, left: float) -> Reply | _Failure:
        import httpx2  # noqa: PLC0415 - see _load_sdk
        import openai  # noqa: PLC0415, TID251 - see _load_sdk

        dialect = self._dialect
        try:
            raw = client.chat.completions.with_raw_response.create(
                **question.body(dialect), timeout=max(left, 0.001)
            )
            return self._read(raw.text)
        except UiciError as exc:  # from the transport: too large, compressed
            return _Failure(exc, usage=None)
        except openai.APIStatusError as exc:
            return self._refused(exc, dialect, question)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
            # Nothing was sent when there was no connection; else nobody knows the cost.
            unsent = isinstance(exc.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
            usage = NOT_BILLED if unsent else None
            return _Failure(self._mapped(exc), usage=usage, cause=exc)
        except (ValueError, LookupError, ArithmeticError, AssertionError) as exc:
            # A head or a body that the HTTP library itself stumbles over.
            bad = PermanentError(f"{self.endpoint} does not speak HTTP: {type(exc).__name__}")
            return _Failure(bad, usage=None, cause=exc, endpoint_is_bad=True)

    def _read(self, text: str) -> Reply | _Failure:
        reply = read_reply(text)
        if reply is None:
            bad = PermanentError(
                f"{self.endpoint} does not speak Chat Completions; check llm.baseUrl"
            )
            return _Failure(bad, usage=None, endpoint_is_bad=True)
        if reply.problem:
            words = f": {self._plain(reply.refusal)}" if reply.refusal else ""
            error = UnusableAnswerError(reply.problem + words)
            return _Failure(error, reply.usage, endpoint_works=True)
        return reply

    def _refused(self, exc: Any, dialect: Dialect, question: ChatRequest) -> _Failure:
        status: int = exc.status_code
        about_form = status in _DIALECT_STATUS
        lowered = dialect.lowered(exc.message) if about_form else None
        if lowered and question.tools and lowered.format is not dialect.format:
            lowered = None  # the form beside tools is refused; alone it may be taken
        if lowered:
            with self._lock:
                if self._dialect == dialect:  # else another thread has lowered it already
                    self._dialect = lowered
            _log.info("llm_dialect_lowered", endpoint=self.endpoint, format=lowered.format.value)
        error = self._mapped(exc)
        if about_form and isinstance(error, PermanentError):
            error = RefusedRequestError(str(error))
        no_quota = status == 429 and isinstance(error, PermanentError)
        return _Failure(
            error,
            usage=NOT_BILLED,
            cause=exc,
            retry_after=retry_after_seconds(exc.response.headers),
            endpoint_is_bad=no_quota or status in _BAD_ENDPOINT_STATUS,
            endpoint_works=about_form,
            dialect_lowered=lowered is not None,
        )

    def _mapped(self, exc: BaseException) -> UiciError:
        error_type, words = map_error(exc)
        status = getattr(exc, "status_code", None)
        text = f"{self.endpoint} {words}"
        if status is not None:
            text += f" (HTTP {status})"
        if status is None and exc.__cause__ is not None:
            text += f": {self._plain(str(exc.__cause__))}"
        elif status is not None and issubclass(error_type, PermanentError):
            text += f": {self._plain(str(getattr(exc, 'message', '')))}"
        return error_type(text)

    def _plain(self, text: str) -> str:
        """An endpoint's own words: one line, short, without anything secret."""
        if self._settings.api_key:
            text = text.replace(self._settings.api_key, "[redacted]")
        words = "".join(
            c if c.isprintable() else " " for c in self._redact(text[: _MAX_DETAIL * 4])
        )
        return " ".join(words.split())[:_MAX_DETAIL]

    def _next_wait(
        self, failure: _Failure, failures: int, attempts: int | None, *, left: float
    ) -> float | None:
        """Seconds before the next attempt, or None: the failure is the end of the question."""
        retry = self._settings.retry
        if isinstance(failure.error, PermanentError) or failures >= (attempts or retry.attempts):
            return None
        longest = min(
            retry.backoff.max.total_seconds(),
            retry.backoff.initial.total_seconds() * 2 ** (failures - 1),
        )
        wait = max(self._jitter(0.0, longest), failure.retry_after or 0.0)
        return None if wait >= left else wait

    def _allowed(self, meter: Meter, failed: _Failure | None, *, leave_alone: bool) -> None:
        """Ask the meter. A purse that is empty before the last attempt mends no endpoint."""
        try:
            meter.before_request()
        except UiciError:
            if failed is not None:
                self._ended(failed, leave_alone=leave_alone)
            raise

    def _ended(self, failure: _Failure, *, leave_alone: bool) -> None:
        if failure.endpoint_works:
            self._breaker.answered()
            return
        temporary = not isinstance(failure.error, PermanentError)
        if leave_alone or failure.endpoint_is_bad:
            self._breaker.failed(str(failure.error))
            if temporary or failure.endpoint_is_bad:
                self._leave_alone(failure.error)

    def _leave_alone(self, error: UiciError) -> None:
        self._left_alone = str(error)
        _log.warning("llm_left_alone", endpoint=self.endpoint, error=str(error))

    def _shown_cause(self, failure: _Failure) -> BaseException | None:
        """The cause for the traceback, unless the endpoint put our key into it."""
        key = self._settings.api_key
        leaks = bool(key) and key in f"{failure.cause!r} {failure.cause}"
        return None if leaks else failure.cause

    def _answer(self, reply: Reply, requests: int, seconds: float) -> LlmAnswer:
        usage = reply.usage or NOT_BILLED
        return LlmAnswer(
            text=reply.text,
            prompt_tokens=usage.prompt,
            output_tokens=usage.output,
            seconds=seconds,
            requests=requests,
            model=reply.model,
            calls=reply.calls,
        )


def _load_sdk() -> None:
    """Import what is needed to ask: 1.3 CPU-s, paid by a run only when a model is asked.

    Not on the question's own time: the endpoint is not to blame for a slow machine.
    """
    import openai.resources.chat.completions  # noqa: PLC0415, TID251, F401 - see above

    import flows.llm.transport  # noqa: PLC0415, F401 - see above
