"""What an exception of the OCI SDK, of requests or of urllib3 means for the loop. Pure.

Exceptions are looked up by qualified name, so that nothing is imported here; a test
enumerates the SDK's exceptions and fails when one has no entry. The SDK carries its own
copy of requests (`oci._vendor.requests`), whose exceptions are other classes than those of
an installed requests.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from executors.vendor_errors import REQUESTS, URLLIB3, Meaning, causes, most_telling, named, nearest
from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

# What an answer of another shape than the API's shows as when it is read: such a region is
# unknown, and the other environments of the run are none the worse.
STRANGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
REMEDY = "look at the target in the Oracle Cloud console; the next run observes before it acts"


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    dict(
        [
            *named(
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
            *named("oci._vendor.requests.exceptions", REQUESTS),
            *named("requests.exceptions", REQUESTS),
            *named("urllib3.exceptions", URLLIB3),
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


# What says more than "the connection broke".
_TELLING = (Meaning.NOT_SENT, Meaning.TIMED_OUT, Meaning.MISUSE)


def translate(exc: Exception, *, what: str, where: str, mutating: bool) -> UiciError:
    """The UICI error for an exception of the SDK; to be raised `from` it.

    Args:
        exc: what was caught.
        what: the action and its object, for the message: "stop web-1".
        where: the service's address, for the message.
        mutating: whether the request would have changed something.
    """
    chain = tuple(causes(exc))
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in chain):
        return PermanentError(
            f"{what}: the certificate of {where} is not trusted: check `caFile` in the"
            " environment's connection"
        )
    meaning = most_telling(chain, meaning_of, telling=_TELLING)
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
            error = not_the_service(what, where)
        case Meaning.LOST:
            error = TemporaryError(f"{what}: the connection to {where} broke")
        case _:
            assert_never(meaning)
    return error


def not_the_service(what: str, where: str) -> TemporaryError:
    """The error for an answer that can't be read: it is never read as "nothing there"."""
    return TemporaryError(f"{what}: {where} answers, but not as Oracle Cloud does")


def meaning_of(exc: BaseException) -> Meaning | None:
    """The entry of the nearest class; None for an exception that is no service's."""
    if type(exc) is OSError and exc.errno is None:
        return Meaning.MISUSE  # the SDK's own words about a missing variable
    return nearest(exc, MEANINGS)


def never_sent(exc: BaseException) -> bool:
    """Whether no connection was made, so that nothing can have happened."""
    return most_telling(tuple(causes(exc)), meaning_of, telling=_TELLING) is Meaning.NOT_SENT


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
