"""What an exception of the Docker SDK, of requests or of the socket means for the loop.

Pure: exceptions are looked up by qualified name, so that nothing is imported here. The
one caller is `executors.docker`; the test beside it enumerates every exception class of
`docker.errors`, `requests.exceptions` and `urllib3.exceptions` and fails when one has no
entry.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, TypeGuard, assert_never

from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

REMEDY = "look at the target with `docker ps -a`; the next run observes before it acts"


class Meaning(Enum):
    """What happened to a request."""

    ANSWERED = auto()  # the engine answered with an HTTP error: its status decides
    TIMED_OUT = auto()  # sent, no answer in time
    LOST = auto()  # sent, the connection broke
    NOT_SENT = auto()  # no connection: nothing can have changed
    GARBAGE = auto()  # an answer came that is not what the API promises
    MISUSE = auto()  # refused on this side: wrong argument, missing file, wrong address


def _is_system_error(exc: BaseException) -> TypeGuard[OSError]:
    """An OSError with an errno of connect(2); what `ssl` numbers is something else."""
    return isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) and bool(exc.errno)


def _named(module: str, meanings: Mapping[Meaning, str]) -> Iterator[tuple[str, Meaning]]:
    for meaning, names in meanings.items():
        for name in names.split():
            yield f"{module}.{name}", meaning


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    dict(
        [
            *_named(
                "docker.errors",
                {
                    Meaning.ANSWERED: "APIError NotFound ImageNotFound",
                    Meaning.GARBAGE: "StreamParseError BuildError ImageLoadError ContainerError",
                    Meaning.MISUSE: "DockerException InvalidVersion InvalidRepository"
                    " InvalidConfigFile InvalidArgument DeprecatedMethod TLSParameterError"
                    " NullResource MissingContextParameter ContextAlreadyExists"
                    " ContextException ContextNotFound",
                },
            ),
            *_named(
                "requests.exceptions",
                {
                    Meaning.ANSWERED: "HTTPError",
                    Meaning.TIMED_OUT: "Timeout ReadTimeout",
                    Meaning.LOST: "RequestException ConnectionError ChunkedEncodingError"
                    " RetryError",
                    Meaning.NOT_SENT: "ConnectTimeout ProxyError SSLError",
                    Meaning.GARBAGE: "JSONDecodeError InvalidJSONError ContentDecodingError"
                    " TooManyRedirects StreamConsumedError",
                    Meaning.MISUSE: "URLRequired MissingSchema InvalidSchema InvalidURL"
                    " InvalidHeader InvalidProxyURL UnrewindableBodyError",
                },
            ),
            *_named(
                "urllib3.exceptions",
                {
                    Meaning.TIMED_OUT: "TimeoutError ReadTimeoutError",
                    Meaning.LOST: "HTTPError PoolError RequestError MaxRetryError ProtocolError"
                    " IncompleteRead InvalidChunkLength",
                    Meaning.NOT_SENT: "ConnectTimeoutError NewConnectionError"
                    " NameResolutionError ProxyError SSLError EmptyPoolError FullPoolError"
                    " ClosedPoolError",
                    Meaning.GARBAGE: "DecodeError ResponseError ResponseNotChunked"
                    " BodyNotHttplibCompatible InvalidHeader HeaderParsingError",
                    Meaning.MISUSE: "HostChangedError TimeoutStateError LocationValueError"
                    " LocationParseError URLSchemeUnknown ProxySchemeUnknown"
                    " ProxySchemeUnsupported UnrewindableBodyError",
                },
            ),
            ("http.client.HTTPException", Meaning.LOST),
            ("http.client.BadStatusLine", Meaning.GARBAGE),
            ("http.client.RemoteDisconnected", Meaning.LOST),
            ("http.client.UnknownProtocol", Meaning.GARBAGE),
            ("http.client.LineTooLong", Meaning.GARBAGE),
            ("json.decoder.JSONDecodeError", Meaning.GARBAGE),
            ("builtins.TimeoutError", Meaning.TIMED_OUT),
            ("builtins.UnicodeDecodeError", Meaning.GARBAGE),
            ("builtins.RecursionError", Meaning.GARBAGE),
            ("builtins.ValueError", Meaning.MISUSE),
            ("builtins.OSError", Meaning.LOST),
        ]
    )
)

# No connection was made, so nothing was sent (connect(2)).
_NEVER_CONNECTED = frozenset(
    {errno.ENOENT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTDIR}
)
_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM})
# Ids and addresses differ from run to run; a message must not.
_CHANGING = re.compile(r"\b[0-9a-f]{12,64}\b")


def translate(exc: Exception, *, what: str, engine: str, mutating: bool) -> UiciError:
    """The UICI error for an exception of the SDK; to be raised `from` it.

    Args:
        exc: what was caught.
        what: the action and its object, for the message: "stop web-1".
        engine: the engine's address, for the message.
        mutating: whether the request would have changed something.
    """
    chain = tuple(_chain(exc))
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in chain):
        return PermanentError(
            f"{what}: the certificate of {engine} is not trusted: check `tls.caFile` in the"
            " environment's connection"
        )
    system = next((e.errno for e in chain if _is_system_error(e)), None)
    if system in _NO_ACCESS:
        return PermanentError(
            f"{what}: no access to the Docker Engine at {engine}: let the agent's user into the"
            " group that owns the socket"
        )
    if system in _NEVER_CONNECTED:
        return TemporaryError(
            f"{what}: the Docker Engine at {engine} can't be reached: check that it runs"
        )
    return _by_meaning(exc, chain, what=what, engine=engine, mutating=mutating)


def meaning_of(exc: BaseException) -> Meaning | None:
    """The entry of the nearest class; None for an exception that is no engine's."""
    for cls in type(exc).__mro__:
        found = MEANINGS.get(f"{cls.__module__}.{cls.__qualname__}")
        if found is not None:
            return found
    return None


def _by_meaning(
    exc: Exception, chain: tuple[BaseException, ...], *, what: str, engine: str, mutating: bool
) -> UiciError:
    meaning = _most_telling(chain)
    error: UiciError
    match meaning:
        case Meaning.ANSWERED:
            error = _by_status(exc, what=what, engine=engine, mutating=mutating)
        case Meaning.NOT_SENT:
            error = TemporaryError(f"{what}: no connection to the Docker Engine at {engine}")
        case Meaning.MISUSE:
            error = PermanentError(f"{what}: {stable(str(exc))}")
        case Meaning.TIMED_OUT | Meaning.LOST | Meaning.GARBAGE if mutating:
            error = OutcomeUnknownError(
                f"{what}: sent to the Docker Engine at {engine}, but its answer never came",
                remedy=REMEDY,
            )
        case Meaning.TIMED_OUT:
            error = DeadlineExceededError(f"{what}: the Docker Engine at {engine} did not answer")
        case Meaning.GARBAGE:
            error = TemporaryError(f"{what}: {engine} answers, but not as a Docker Engine does")
        case Meaning.LOST:
            error = TemporaryError(f"{what}: the connection to {engine} broke")
        case _:
            assert_never(meaning)
    return error


def _most_telling(chain: tuple[BaseException, ...]) -> Meaning:
    """The outermost meaning, unless a cause tells that nothing was ever sent."""
    meanings = [found for found in map(meaning_of, chain) if found is not None]
    outermost = meanings[0] if meanings else Meaning.LOST
    if outermost is Meaning.LOST:
        for telling in (Meaning.NOT_SENT, Meaning.TIMED_OUT):
            if telling in meanings:
                return telling
    return outermost


def _by_status(exc: Exception, *, what: str, engine: str, mutating: bool) -> UiciError:
    status = getattr(getattr(exc, "response", None), "status_code", None)
    said = stable(str(getattr(exc, "explanation", None) or exc))
    return error_of_status(status or 0, said, what=what, engine=engine, mutating=mutating)


def error_of_status(status: int, said: str, *, what: str, engine: str, mutating: bool) -> UiciError:
    """The error for an HTTP status, with the engine's own words."""
    message = f"{what}: {stable(said)}"
    if status == 404:
        return NotFoundError(message)
    if status == 409:
        return ConflictError(message)
    if status == 429 or status >= 500:
        # The engine undoes what it could not finish; its 5xx is an answer, not a loss.
        return TemporaryError(message)
    if status == 0 and mutating:
        return OutcomeUnknownError(f"{what}: {engine} gave no readable answer", remedy=REMEDY)
    return PermanentError(message)


def said_in(answer: Any) -> str:
    """The engine's own words in the body of an error; all of it, if it has another shape."""
    return str(answer.get("message", "") if isinstance(answer, dict) else answer)


def stable(text: str) -> str:
    """One line, without ids that change from run to run, at most 300 characters."""
    return _CHANGING.sub("…", " ".join(text.split()))[:300]


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and exceptions kept in `args` (urllib3's way)."""
    seen: set[int] = set()
    waiting: list[BaseException] = [exc]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None)]
        inner += list(current.args)
        waiting.extend(e for e in inner if isinstance(e, BaseException))
