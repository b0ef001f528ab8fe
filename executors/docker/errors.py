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
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard, assert_never

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

REMEDY = "look at the target with `docker ps -a`; the next run observes before it acts"


class TunnelError(ConnectionError):
    """The ssh that leads to an engine has hung up, or never came about; says why."""


def _is_system_error(exc: BaseException) -> TypeGuard[OSError]:
    """An OSError with an errno of connect(2); what `ssl` numbers is something else."""
    return isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) and bool(exc.errno)


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    dict(
        [
            *named(
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
            *named("requests.exceptions", REQUESTS),
            *named("urllib3.exceptions", URLLIB3),
            (f"{TunnelError.__module__}.TunnelError", Meaning.LOST),
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
_IN_THE_CLEAR = "HTTP request to an HTTPS server"  # what a TLS port of Go's answers
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
    chain = tuple(causes(exc))
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in chain):
        return PermanentError(
            f"{what}: the certificate of {engine} is not trusted: check `tls.caFile` in the"
            " environment's connection"
        )
    tunnel = next((e for e in chain if isinstance(e, TunnelError)), None)
    if tunnel is not None and not mutating:
        host = engine.removeprefix("ssh://").partition("/")[0]
        return TemporaryError(
            f"{what}: no way to {engine}: {stable(str(tunnel))}: as the agent's user, `ssh -o"
            f" BatchMode=yes ssh://{host} docker version` has to work"
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
    return nearest(exc, MEANINGS)


def _by_meaning(
    exc: Exception, chain: tuple[BaseException, ...], *, what: str, engine: str, mutating: bool
) -> UiciError:
    meaning = most_telling(chain, meaning_of)
    error: UiciError
    match meaning:
        case Meaning.ANSWERED:
            error = _by_status(exc, what=what, engine=engine, mutating=mutating)
        case Meaning.NOT_SENT | Meaning.HELD_BACK:
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
            error = TemporaryError(f"{what}: the connection to {engine} broke{_tls_hint(engine)}")
        case _:
            assert_never(meaning)
    return error


def _tls_hint(engine: str) -> str:
    """What is often the reason where an engine is spoken to in the clear."""
    if not engine.startswith("tcp://"):
        return ""
    return ": if that is a TLS port, the environment's connection has to say `tls`"


def _by_status(exc: Exception, *, what: str, engine: str, mutating: bool) -> UiciError:
    status = getattr(getattr(exc, "response", None), "status_code", None)
    said = stable(str(getattr(exc, "explanation", None) or exc))
    return error_of_status(status or 0, said, what=what, engine=engine, mutating=mutating)


def error_of_status(status: int, said: str, *, what: str, engine: str, mutating: bool) -> UiciError:
    """The error for an HTTP status, with the engine's own words."""
    message = f"{what}: {stable(said)}"
    if status == 400 and _IN_THE_CLEAR in said:
        message += _tls_hint(engine)
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
