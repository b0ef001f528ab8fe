from __future__ import annotations

import http.client
import importlib
import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from executors.docker.errors import MEANINGS, error_of_status, meaning_of, translate
from executors.vendor_errors import Meaning
from infrastructure.errors import (
    ConflictError,
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

MODULES = ("docker.errors", "requests.exceptions", "urllib3.exceptions")


def vendor_exceptions() -> Iterator[type[Exception]]:
    for name in MODULES:
        module = importlib.import_module(name)
        for found in vars(module).values():
            if (
                isinstance(found, type)
                and issubclass(found, Exception)
                and not issubclass(found, Warning)
                and found.__module__ == name
            ):
                yield found


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def test_every_exception_of_the_sdk_and_its_parts_has_a_meaning() -> None:
    """An SDK that adds an exception fails here, and somebody decides what it means."""
    missing = [qualified(cls) for cls in vendor_exceptions() if qualified(cls) not in MEANINGS]
    assert missing == []


def test_there_is_no_meaning_for_what_does_not_exist() -> None:
    known = {qualified(cls) for cls in vendor_exceptions()}
    strange = [name for name in MEANINGS if name.startswith(MODULES) and name not in known]
    assert strange == []


@pytest.mark.parametrize("cls", list(vendor_exceptions()), ids=qualified)
@pytest.mark.parametrize("mutating", [True, False])
def test_every_exception_becomes_an_error_of_ours(cls: type[Exception], mutating: bool) -> None:
    exc = cls.__new__(cls)  # constructors differ; the class alone decides
    exc.args = ("it broke",)
    if qualified(cls).startswith("docker.errors"):
        exc.__dict__.update(msg="it broke", param="x", name="x", response=None, explanation=None)
    error = translate(exc, what="stop web-1", engine="tcp://e:1", mutating=mutating)
    assert isinstance(error, UiciError)
    assert str(error).startswith("stop web-1: ")
    if mutating and meaning_of(exc) in (Meaning.TIMED_OUT, Meaning.LOST, Meaning.GARBAGE):
        assert isinstance(error, OutcomeUnknownError)
        assert error.remedy
    if not mutating:
        assert not isinstance(error, OutcomeUnknownError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (401, PermanentError),
        (403, PermanentError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, TemporaryError),
        (500, TemporaryError),
        (503, TemporaryError),
    ],
)
def test_an_answer_is_judged_by_its_status(status: int, kind: type[UiciError]) -> None:
    error = error_of_status(status, "said", what="stop web-1", engine="e", mutating=True)
    assert type(error) is kind
    assert str(error) == "stop web-1: said"


def test_the_sdks_api_error_is_judged_by_its_status() -> None:
    errors = importlib.import_module("docker.errors")
    response = SimpleNamespace(status_code=409, url="u", reason="Conflict")
    exc = errors.APIError("x", response=response, explanation="name in use by " + "ab" * 32)
    error = translate(exc, what="create web", engine="e", mutating=True)
    assert type(error) is ConflictError
    assert str(error) == "create web: name in use by …"  # an id would differ from run to run


@pytest.mark.parametrize("cause", [FileNotFoundError(2, "no"), ConnectionRefusedError(111, "no")])
@pytest.mark.parametrize("mutating", [True, False])
def test_without_a_connection_nothing_was_sent(cause: OSError, mutating: bool) -> None:
    urllib3 = importlib.import_module("urllib3.exceptions")
    requests = importlib.import_module("requests.exceptions")
    exc = requests.ConnectionError(urllib3.ProtocolError("Connection aborted.", cause))
    error = translate(exc, what="stop web-1", engine="unix:///s", mutating=mutating)
    assert type(error) is TemporaryError
    assert "check that it runs" in str(error)


def test_no_access_says_what_to_do() -> None:
    error = translate(PermissionError(13, "no"), what="list", engine="unix:///s", mutating=False)
    assert type(error) is PermanentError
    assert "group" in str(error)


def test_a_refused_connect_inside_requests_was_never_sent() -> None:
    urllib3 = importlib.import_module("urllib3.exceptions")
    requests = importlib.import_module("requests.exceptions")
    inner = urllib3.ConnectTimeoutError("timed out")
    exc = requests.ConnectionError(urllib3.MaxRetryError(None, "/", inner))
    assert type(translate(exc, what="stop", engine="e", mutating=True)) is TemporaryError


@pytest.mark.parametrize(
    ("exc", "read", "change"),
    [
        (TimeoutError("timed out"), DeadlineExceededError, OutcomeUnknownError),
        (http.client.RemoteDisconnected("gone"), TemporaryError, OutcomeUnknownError),
        (ConnectionResetError(104, "reset"), TemporaryError, OutcomeUnknownError),
        (http.client.BadStatusLine("hello"), TemporaryError, OutcomeUnknownError),
        (json.JSONDecodeError("no", "x", 0), TemporaryError, OutcomeUnknownError),
        (ValueError("a wrong argument"), PermanentError, PermanentError),
    ],
)
def test_errors_of_the_socket_and_of_json(
    exc: Exception, read: type[UiciError], change: type[UiciError]
) -> None:
    assert type(translate(exc, what="w", engine="e", mutating=False)) is read
    assert type(translate(exc, what="w", engine="e", mutating=True)) is change


def test_a_tls_port_spoken_to_in_the_clear_is_told_so() -> None:
    engine = "tcp://10.0.0.5:2376"
    broke = translate(
        http.client.RemoteDisconnected("end"), what="look", engine=engine, mutating=False
    )
    said = "Client sent an HTTP request to an HTTPS server."
    answered = error_of_status(400, said, what="look", engine=engine, mutating=False)
    for error in (broke, answered):
        assert "has to say `tls`" in str(error)
    other = translate(
        http.client.RemoteDisconnected("end"), what="look", engine="unix:///x", mutating=False
    )
    assert "tls" not in str(other)
