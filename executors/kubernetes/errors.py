"""What an exception of the Kubernetes client, of urllib3 or of the socket means for the loop.

Pure: exceptions are looked up by qualified name, so that nothing is imported here. The one
caller is `executors.kubernetes.sdk`; the test beside it enumerates the exception classes of
the client and of what it is built of, and fails when one has no entry. What the API server
says in a `Status` object is mapped by `error_of_status`.
"""

from __future__ import annotations

import errno
import json
import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, assert_never

from executors.vendor_errors import URLLIB3, Meaning, causes, most_telling, named, nearest
from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

REMEDY = "look at the workload with `kubectl describe`; the next run observes before it acts"

# What an answer of another shape than the API's shows as when it is read: such a cluster is
# unknown, and the other environments of the run are none the worse.
STRANGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)


class FieldConflictError(ConflictError):
    """Fields that we want to set belong to other field managers.

    Attributes:
        managers: who they are.
    """

    def __init__(self, message: str, *, managers: frozenset[str]) -> None:
        super().__init__(message)
        self.managers = managers


class ExpiredError(TemporaryError):
    """410: the place in a list from which to go on is too old; list from the start."""


class ForbiddenError(PermanentError):
    """403: the agent's roles do not hold the right. What needs another right still works."""


class UnservedError(NotFoundError):
    """404 for a whole resource: the server has no such kind in this version of its API."""


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    dict(
        [
            *named(
                "kubernetes.client.exceptions",
                {
                    Meaning.ANSWERED: "ApiException BadRequestException NotFoundException"
                    " UnauthorizedException ForbiddenException ServiceException"
                    " ConflictException UnprocessableEntityException",
                    Meaning.MISUSE: "OpenApiException ApiTypeError ApiValueError"
                    " ApiAttributeError ApiKeyError",
                },
            ),
            *named(
                "kubernetes.dynamic.exceptions",
                {
                    Meaning.ANSWERED: "DynamicApiError BadRequestError UnauthorizedError"
                    " ForbiddenError NotFoundError MethodNotAllowedError ConflictError GoneError"
                    " UnprocessibleEntityError TooManyRequestsError InternalServerError"
                    " ServiceUnavailableError ServerTimeoutError",
                    Meaning.MISUSE: "ResourceNotFoundError ResourceNotUniqueError"
                    " KubernetesValidateMissing",
                },
            ),
            ("kubernetes.config.config_exception.ConfigException", Meaning.MISUSE),
            *named("urllib3.exceptions", URLLIB3),
            *named(
                "websocket._exceptions",
                {
                    Meaning.ANSWERED: "WebSocketBadStatusException",
                    Meaning.TIMED_OUT: "WebSocketTimeoutException",
                    Meaning.LOST: "WebSocketException WebSocketConnectionClosedException",
                    Meaning.NOT_SENT: "WebSocketProxyException WebSocketAddressException",
                    Meaning.GARBAGE: "WebSocketProtocolException WebSocketPayloadException",
                },
            ),
            ("http.client.HTTPException", Meaning.LOST),
            ("http.client.BadStatusLine", Meaning.GARBAGE),
            ("http.client.RemoteDisconnected", Meaning.LOST),
            ("json.decoder.JSONDecodeError", Meaning.GARBAGE),
            ("yaml.error.YAMLError", Meaning.MISUSE),
            ("builtins.TimeoutError", Meaning.TIMED_OUT),
            ("builtins.UnicodeDecodeError", Meaning.GARBAGE),
            ("builtins.RecursionError", Meaning.GARBAGE),
            ("builtins.ValueError", Meaning.MISUSE),
            ("builtins.FileNotFoundError", Meaning.MISUSE),
            ("builtins.OSError", Meaning.LOST),
        ]
    )
)

# No connection was made, so nothing was sent (connect(2)).
_NEVER_CONNECTED = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH})
_NO_SUCH_KIND = ("the server could not find the requested resource", "404 page not found")
# Uids, hashes of pod templates and addresses differ from run to run; a message must not.
_CHANGING = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12,64}\b")
_MANAGER = re.compile(r'conflict with "([^"]+)"')
# An answer that says nothing about what became of the change.
_UNCERTAIN = frozenset({500, 502, 504})


def translate(exc: Exception, *, what: str, engine: str, mutating: bool) -> UiciError:
    """The UICI error for an exception of the client; to be raised `from` it.

    Args:
        exc: what was caught.
        what: the action and its object, for the message: "apply Deployment shop/web".
        engine: the cluster, for the message.
        mutating: whether the request would have changed something.
    """
    chain = tuple(causes(exc))
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in chain):
        return PermanentError(
            f"{what}: the certificate of {engine} is not trusted: check the certificate"
            " authority in the kubeconfig"
        )
    if any(isinstance(e, OSError) and e.errno in _NEVER_CONNECTED for e in chain):
        return TemporaryError(f"{what}: {engine} can't be reached: check that it runs")
    meaning = most_telling(chain, meaning_of)
    error: UiciError
    match meaning:
        case Meaning.ANSWERED:
            status = getattr(exc, "status", None) or getattr(exc, "status_code", None) or 0
            said = getattr(exc, "resp_body", None) or getattr(exc, "body", None) or str(exc)
            # Instead of a websocket: what it was to be opened for has not begun.
            begun = mutating and not _is_refused_upgrade(exc)
            error = error_of_status(
                status, _status_in(said), what=what, engine=engine, mutating=begun
            )
        case Meaning.NOT_SENT | Meaning.HELD_BACK:
            error = TemporaryError(f"{what}: no connection to {engine}")
        case Meaning.MISUSE:
            error = PermanentError(f"{what}: {stable(str(exc))}")
        case Meaning.TIMED_OUT | Meaning.LOST | Meaning.GARBAGE if mutating:
            error = OutcomeUnknownError(
                f"{what}: sent to {engine}, but its answer never came", remedy=REMEDY
            )
        case Meaning.TIMED_OUT:
            error = DeadlineExceededError(f"{what}: {engine} did not answer in time")
        case Meaning.GARBAGE:
            error = not_an_api_server(what, engine)
        case Meaning.LOST:
            error = TemporaryError(f"{what}: the connection to {engine} broke")
        case _:
            assert_never(meaning)
    return error


_REFUSED_UPGRADE = "websocket._exceptions.WebSocketBadStatusException"


def _is_refused_upgrade(exc: Exception) -> bool:
    return any(f"{c.__module__}.{c.__qualname__}" == _REFUSED_UPGRADE for c in type(exc).__mro__)


def _status_in(said: Any) -> Mapping[str, Any]:
    """The `Status` object of an answer, or what it says as one."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"message": text}


def not_an_api_server(what: str, engine: str) -> TemporaryError:
    """The error for an answer that can't be read: it is never read as "nothing there"."""
    return TemporaryError(f"{what}: {engine} answers, but not as a Kubernetes API server does")


def meaning_of(exc: BaseException) -> Meaning | None:
    """The entry of the nearest class; None for an exception that is no cluster's."""
    return nearest(exc, MEANINGS)


def error_of_status(status: int, said: Any, *, what: str, engine: str, mutating: bool) -> UiciError:
    """The error for an HTTP status, with the server's own words.

    Args:
        status: of the answer.
        said: its body; a `Status` object, if the server keeps to its API.
        what: the action and its object.
        engine: the cluster.
        mutating: whether the request would have changed something.
    """
    answer: Mapping[str, Any] = said if isinstance(said, dict) else {"message": str(said)}
    message = f"{what}: {stable(str(answer.get('message') or f'answered {status}'))}"
    known: dict[int, UiciError] = {
        401: PermanentError(
            f"{what}: {engine} does not accept the credentials: renew the kubeconfig or the"
            " service account's token"
        ),
        403: ForbiddenError(f"{message}: grant it, see `uici doctor`"),
        404: _not_found(message, answer),
        409: _conflict(message, answer),
        410: ExpiredError(message),
    }
    if status in known:
        return known[status]
    if mutating and (status in _UNCERTAIN or status == 0):
        return OutcomeUnknownError(message, remedy=REMEDY)
    if status == 429 or status >= 500:
        return TemporaryError(message)
    return PermanentError(message)


def _not_found(message: str, answer: Mapping[str, Any]) -> NotFoundError:
    """A 404: the server names the object that it lacks, but not a kind that it does not know."""
    details = answer.get("details")
    named = isinstance(details, dict) and details.get("name")
    if named or not any(words in message for words in _NO_SUCH_KIND):
        return NotFoundError(message)
    return UnservedError(message)


def _conflict(message: str, answer: Mapping[str, Any]) -> ConflictError:
    """A 409: other field managers' fields, or an object that changed in between."""
    details = answer.get("details")
    causes = (details.get("causes") or ()) if isinstance(details, dict) else ()
    fields: dict[str, list[str]] = {}
    for cause in causes:
        if cause.get("reason") != "FieldManagerConflict":
            continue
        found = _MANAGER.search(str(cause.get("message", "")))
        manager = found[1] if found else "somebody else"
        fields.setdefault(manager, []).append(str(cause.get("field", "")).lstrip("."))
    if not fields:
        return ConflictError(message)
    owners = "; ".join(f"{manager} owns {', '.join(names)}" for manager, names in fields.items())
    text = (
        f"{message.partition(':')[0]}: {owners}: not changed. List the field under"
        " spec.ignoreDifferences, or the manager under `takeOver` of the connection"
    )
    return FieldConflictError(stable(text), managers=frozenset(fields))


def stable(text: str) -> str:
    """One line, without ids that change from run to run, at most 400 characters."""
    return _CHANGING.sub("…", " ".join(text.split()))[:400]
