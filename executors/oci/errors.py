"""What an exception of the OCI SDK, of requests or of urllib3 means for the loop. Pure.

Exceptions are looked up by qualified name, so that nothing is imported here; a test
enumerates the SDK's exceptions and fails when one has no entry. The SDK carries its own
copy of requests (`oci._vendor.requests`), whose exceptions are other classes than those of
an installed requests.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import assert_never

from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

REMEDY = "look at the target in the Oracle Cloud console; the next run observes before it acts"


class Meaning(Enum):
    """What happened to a request."""

    ANSWERED = auto()  # the service answered with an HTTP error: status and code decide
    TIMED_OUT = auto()  # sent, no answer in time
    LOST = auto()  # sent, the connection broke
    NOT_SENT = auto()  # no connection: nothing can have changed
    GARBAGE = auto()  # an answer came that is not what the API promises
    MISUSE = auto()  # refused on this side: configuration, key, argument
    HELD_BACK = auto()  # the SDK itself refused to send it now


def _named(module: str, meanings: Mapping[Meaning, str]) -> Iterator[tuple[str, Meaning]]:
    for meaning, names in meanings.items():
        for name in names.split():
            yield f"{module}.{name}", meaning


_REQUESTS: Mapping[Meaning, str] = {
    Meaning.ANSWERED: "HTTPError",
    Meaning.TIMED_OUT: "Timeout ReadTimeout",
    Meaning.LOST: "RequestException ConnectionError ChunkedEncodingError RetryError",
    Meaning.NOT_SENT: "ConnectTimeout ProxyError SSLError",
    Meaning.GARBAGE: "JSONDecodeError InvalidJSONError ContentDecodingError TooManyRedirects"
    " StreamConsumedError",
    Meaning.MISUSE: "URLRequired MissingSchema InvalidSchema InvalidURL InvalidHeader"
    " InvalidProxyURL UnrewindableBodyError",
}

MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    dict(
        [
            *_named(
                "oci.exceptions",
                {
                    Meaning.ANSWERED: "ServiceError TransientServiceError",
                    Meaning.LOST: "RequestException",
                    Meaning.NOT_SENT: "ConnectTimeout",
                    Meaning.TIMED_OUT: "MaximumWaitTimeExceeded",
                    Meaning.GARBAGE: "MultipartUploadError CompositeOperationError"
                    " DownloadTerminated ResumableDownloadException"
                    " DownloadFailedIncorrectDownloadSize ChecksumVerificationError",
                    Meaning.MISUSE: "ClientError ConfigFileNotFound InvalidConfig"
                    " InvalidDeveloperToolConfiguration InvalidResourcePrincipalArguments"
                    " InvalidPrivateKey MissingPrivateKeyPassphrase InvalidKeyFilePath"
                    " ProfileNotFound WaitUntilNotSupported"
                    " MissingEndpointForNonRegionalServiceClientError",
                },
            ),
            *_named("oci._vendor.requests.exceptions", _REQUESTS),
            *_named("requests.exceptions", _REQUESTS),
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
            (
                "oci.auth.certificate_retriever.InvalidCertificateFromInstanceMetadataError",
                Meaning.GARBAGE,
            ),
            ("circuitbreaker.CircuitBreakerError", Meaning.HELD_BACK),
            ("json.decoder.JSONDecodeError", Meaning.GARBAGE),
            ("builtins.UnicodeDecodeError", Meaning.GARBAGE),
            ("builtins.RecursionError", Meaning.GARBAGE),
            ("builtins.TimeoutError", Meaning.TIMED_OUT),
            ("builtins.ConnectionRefusedError", Meaning.NOT_SENT),
            # What the SDK raises, bare, where a date or a body can't be read, and what a
            # configuration that does not fit shows as.
            ("builtins.ValueError", Meaning.MISUSE),
            ("builtins.KeyError", Meaning.MISUSE),
            # Bare in the SDK's sign-in: a certificate without a tenancy, an answer without token.
            ("builtins.RuntimeError", Meaning.MISUSE),
            ("builtins.FileNotFoundError", Meaning.MISUSE),
            ("builtins.PermissionError", Meaning.MISUSE),
            ("builtins.IsADirectoryError", Meaning.MISUSE),
            ("builtins.OSError", Meaning.LOST),
        ]
    )
)

# OCIDs, request ids and times differ from run to run; a message must not.
_CHANGING = re.compile(
    r"ocid1\.[a-z0-9]+\.[^\s,'\"]+|\b[0-9A-Fa-f]{12,64}\b|\b[0-9A-F/]{32,}\b"
    r"|\d{4}-\d\d-\d\dT[0-9:.+Z-]+"
)


def translate(exc: Exception, *, what: str, where: str, mutating: bool) -> UiciError:
    """The UICI error for an exception of the SDK; to be raised `from` it.

    Args:
        exc: what was caught.
        what: the action and its object, for the message: "stop web-1".
        where: the service's address, for the message.
        mutating: whether the request would have changed something.
    """
    chain = tuple(_chain(exc))
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in chain):
        return PermanentError(
            f"{what}: the certificate of {where} is not trusted: check `caFile` in the"
            " environment's connection"
        )
    meaning = _most_telling(chain)
    error: UiciError
    match meaning:
        case Meaning.ANSWERED:
            status = getattr(exc, "status", None)
            code = str(getattr(exc, "code", None) or "")
            said = str(getattr(exc, "message", None) or "no words")
            error = error_of_status(status or 0, code, said, what=what, mutating=mutating)
        case Meaning.NOT_SENT:
            error = TemporaryError(f"{what}: no connection to {where}")
        case Meaning.HELD_BACK:
            error = TemporaryError(f"{what}: {where} failed too often just now; not asked again")
        case Meaning.MISUSE:
            error = PermanentError(f"{what}: {stable(str(exc)) or type(exc).__name__}")
        case Meaning.TIMED_OUT | Meaning.LOST | Meaning.GARBAGE if mutating:
            error = OutcomeUnknownError(
                f"{what}: sent to {where}, but its answer never came", remedy=REMEDY
            )
        case Meaning.TIMED_OUT:
            error = DeadlineExceededError(f"{what}: {where} did not answer in time")
        case Meaning.GARBAGE:
            error = TemporaryError(f"{what}: {where} answers, but not as Oracle Cloud does")
        case Meaning.LOST:
            error = TemporaryError(f"{what}: the connection to {where} broke")
        case _:
            assert_never(meaning)
    return error


def meaning_of(exc: BaseException) -> Meaning | None:
    """The entry of the nearest class; None for an exception that is no service's."""
    if type(exc) is OSError and exc.errno is None:
        return Meaning.MISUSE  # the SDK's own words about a missing variable
    for cls in type(exc).__mro__:
        found = MEANINGS.get(f"{cls.__module__}.{cls.__qualname__}")
        if found is not None:
            return found
    return None


def never_sent(exc: BaseException) -> bool:
    """Whether no connection was made, so that nothing can have happened."""
    return _most_telling(tuple(_chain(exc))) is Meaning.NOT_SENT


def _most_telling(chain: tuple[BaseException, ...]) -> Meaning:
    """The outermost meaning, unless a cause tells more than "the connection broke"."""
    meanings = [found for found in map(meaning_of, chain) if found is not None]
    outermost = meanings[0] if meanings else Meaning.LOST
    if outermost is Meaning.LOST:
        for telling in (Meaning.NOT_SENT, Meaning.TIMED_OUT, Meaning.MISUSE):
            if telling in meanings:
                return telling
    return outermost


# 500, 502 and 504 come from in between, too: what was behind may have gone on.
_MAYBE_DONE = frozenset({0, 500, 502, 504})


def error_of_status(status: int, code: str, said: str, *, what: str, mutating: bool) -> UiciError:
    """The error for an HTTP status and the code of Oracle Cloud, with its own words."""
    message = f"{what}: {stable(said)} ({status} {code})".replace(" )", ")")
    if status == 401:
        return PermanentError(f"{message}: check the key, its fingerprint and this machine's clock")
    if status == 404:
        # By design, the service does not tell a lack of rights from a lack of the thing.
        return NotFoundError(f"{message}: it is gone, or a policy does not let the agent see it")
    if status in (409, 412):
        return ConflictError(message)
    if mutating and status in _MAYBE_DONE:
        return OutcomeUnknownError(f"{message}: it may have been done all the same", remedy=REMEDY)
    if status == 429 or status >= 500 or status == 0:
        return PermanentError(message) if status == 501 else TemporaryError(message)
    return PermanentError(message)


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
