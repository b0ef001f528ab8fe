from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

from executors.oci.errors import (
    MEANINGS,
    error_of_status,
    meaning_of,
    never_sent,
    stable,
    translate,
)
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

MODULES = (
    "oci.exceptions",
    "oci._vendor.requests.exceptions",
    "urllib3.exceptions",
    "circuitbreaker",
)
# Parts of the SDK that this executor's requests go through.
PARTS = ("oci.auth", "oci.retry", "oci.pagination", "oci.circuit_breaker")


def of_module(module: ModuleType) -> Iterator[type[Exception]]:
    for found in vars(module).values():
        if (
            isinstance(found, type)
            and issubclass(found, Exception)
            and not issubclass(found, Warning)
            and found.__module__ == module.__name__
        ):
            yield found


def vendor_exceptions() -> Iterator[type[Exception]]:
    for name in MODULES:
        yield from of_module(importlib.import_module(name))


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def test_every_exception_of_the_sdk_and_its_parts_has_a_meaning() -> None:
    """An SDK that adds an exception fails here, and somebody decides what it means."""
    found = list(vendor_exceptions())
    assert len(found) > 40
    assert [qualified(cls) for cls in found if qualified(cls) not in MEANINGS] == []


def test_what_the_parts_of_the_sdk_define_has_a_meaning_too() -> None:
    """Also exceptions outside the SDK's module of exceptions, by their nearest base."""
    missing = []
    for part in PARTS:
        package = importlib.import_module(part)
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{part}.{info.name}")
            missing += [
                qualified(cls) for cls in of_module(module) if meaning_of(cls.__new__(cls)) is None
            ]
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
    if cls.__name__ == "InvalidConfig":
        exc.__dict__["errors"] = {"user": "missing"}
    error = translate(exc, what="stop web-1", where="Oracle Cloud", mutating=mutating)
    assert isinstance(error, UiciError)
    assert str(error).startswith("stop web-1: ")
    if mutating and meaning_of(exc) in (Meaning.TIMED_OUT, Meaning.LOST, Meaning.GARBAGE):
        assert isinstance(error, OutcomeUnknownError)
        assert error.remedy
    if not mutating:
        assert not isinstance(error, OutcomeUnknownError)


@pytest.mark.parametrize(
    ("status", "code", "read", "change"),
    [
        (400, "InvalidParameter", PermanentError, PermanentError),
        (400, "LimitExceeded", PermanentError, PermanentError),
        (401, "NotAuthenticated", PermanentError, PermanentError),
        (404, "NotAuthorizedOrNotFound", NotFoundError, NotFoundError),
        (409, "IncorrectState", ConflictError, ConflictError),
        (412, "NoEtagMatch", ConflictError, ConflictError),
        (429, "TooManyRequests", TemporaryError, TemporaryError),
        (500, "InternalServerError", TemporaryError, OutcomeUnknownError),
        (501, "MethodNotImplemented", PermanentError, PermanentError),
        (502, "", TemporaryError, OutcomeUnknownError),
        (503, "ServiceUnavailable", TemporaryError, TemporaryError),
        (504, "", TemporaryError, OutcomeUnknownError),
    ],
)
def test_an_answer_is_judged_by_its_status(
    status: int, code: str, read: type[UiciError], change: type[UiciError]
) -> None:
    for mutating, kind in ((False, read), (True, change)):
        error = error_of_status(status, code, "said", what="stop web", mutating=mutating)
        assert type(error) is kind
        assert str(error).startswith(f"stop web: said ({status}{' ' + code if code else ''})")


def test_the_sdks_service_error_says_status_code_and_words() -> None:
    errors = importlib.import_module("oci.exceptions")
    exc = errors.ServiceError(409, "IncorrectState", {}, "ocid1.instance.oc1.phx.abc is STOPPING")
    error = translate(exc, what="start web", where="w", mutating=True)
    assert type(error) is ConflictError
    assert str(error) == "start web: … is STOPPING (409 IncorrectState)"


def test_a_refused_connection_was_never_sent() -> None:
    vendored = importlib.import_module("oci._vendor.requests.exceptions")
    urllib3 = importlib.import_module("urllib3.exceptions")
    errors = importlib.import_module("oci.exceptions")
    inner = urllib3.NewConnectionError(None, "refused")
    exc = errors.RequestException(vendored.ConnectionError(urllib3.MaxRetryError(None, "/", inner)))
    assert never_sent(exc)
    assert type(translate(exc, what="stop", where="w", mutating=True)) is TemporaryError


def test_a_read_that_timed_out_may_have_been_done() -> None:
    vendored = importlib.import_module("oci._vendor.requests.exceptions")
    errors = importlib.import_module("oci.exceptions")
    exc = errors.RequestException(vendored.ReadTimeout("read timed out"))
    assert not never_sent(exc)
    assert type(translate(exc, what="s", where="w", mutating=False)) is DeadlineExceededError
    assert type(translate(exc, what="s", where="w", mutating=True)) is OutcomeUnknownError


def test_messages_do_not_change_from_run_to_run() -> None:
    said = (
        "Instance ocid1.instance.oc1.phx.anyhqljt, request 3F2504E04F8911D39A0C0305E82C3301"
        " at 2026-01-02T03:04:05.678Z"
    )
    assert stable(said) == "Instance …, request … at …"
