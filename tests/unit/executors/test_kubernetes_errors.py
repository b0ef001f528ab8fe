"""Every exception of the Kubernetes package, and every answer, is one of our errors."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Iterator

import pytest

from executors.kubernetes.errors import (
    MEANINGS,
    ExpiredError,
    FieldConflictError,
    ForbiddenError,
    error_of_status,
    translate,
)
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
    "kubernetes.client.exceptions",
    "kubernetes.dynamic.exceptions",
    "kubernetes.config.config_exception",
    "urllib3.exceptions",
    "websocket._exceptions",
)


def vendor_exceptions() -> Iterator[type[Exception]]:
    for name in MODULES:
        for found in vars(importlib.import_module(name)).values():
            if (
                isinstance(found, type)
                and issubclass(found, Exception)
                and not issubclass(found, Warning)
                and found.__module__ == name
            ):
                yield found


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def test_every_exception_of_the_package_and_its_parts_has_a_meaning() -> None:
    """A package that adds an exception fails here, and somebody decides what it means."""
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
    for name in (
        "status",
        "reason",
        "body",
        "headers",
        "data",
        "status_code",
        "resp_body",
        "original_traceback",
    ):
        if not isinstance(getattr(cls, name, None), property):
            exc.__dict__[name] = None
    error = translate(exc, what="scale shop/web", engine="a cluster", mutating=mutating)
    assert isinstance(error, UiciError)
    assert str(error).startswith("scale shop/web: ")


@pytest.mark.parametrize(
    ("exc", "read", "change"),
    [
        (TimeoutError("slow"), DeadlineExceededError, OutcomeUnknownError),
        (ConnectionResetError(104, "reset"), TemporaryError, OutcomeUnknownError),
        (ConnectionRefusedError(111, "refused"), TemporaryError, TemporaryError),
        (ssl.SSLCertVerificationError("self-signed"), PermanentError, PermanentError),
        (ValueError("no kubeconfig"), PermanentError, PermanentError),
    ],
)
def test_what_is_not_known_is_known_as_such(
    exc: Exception, read: type[UiciError], change: type[UiciError]
) -> None:
    assert type(translate(exc, what="x", engine="e", mutating=False)) is read
    assert type(translate(exc, what="x", engine="e", mutating=True)) is change


@pytest.mark.parametrize(
    ("status", "mutating", "expected"),
    [
        (400, True, PermanentError),
        (401, False, PermanentError),
        (403, True, ForbiddenError),
        (404, True, NotFoundError),
        (409, True, ConflictError),
        (410, False, ExpiredError),
        (422, True, PermanentError),
        (429, True, TemporaryError),
        (500, False, TemporaryError),
        (500, True, OutcomeUnknownError),
        (503, True, TemporaryError),
        (504, True, OutcomeUnknownError),
    ],
)
def test_every_status_has_a_meaning(status: int, mutating: bool, expected: type[UiciError]) -> None:
    error = error_of_status(status, {"message": "no"}, what="x", engine="e", mutating=mutating)
    assert type(error) is expected


def test_a_conflict_names_who_owns_what() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "hpa" using autoscaling/v2',
            "field": ".spec.replicas",
        }
    ]
    error = error_of_status(
        409,
        {"message": "Apply failed", "details": {"causes": causes}},
        what="apply web",
        engine="e",
        mutating=True,
    )
    assert isinstance(error, FieldConflictError)
    assert error.managers == {"hpa"}
    assert "hpa owns spec.replicas" in str(error)
    assert "ignoreDifferences" in str(error)


def test_a_message_does_not_change_from_run_to_run() -> None:
    texts = {
        str(
            error_of_status(
                404,
                {"message": f'pod "web" uid {uid} not found'},
                what="x",
                engine="e",
                mutating=False,
            )
        )
        for uid in ("8f0c8d6e-1111-2222-3333-444455556666", "00000000-aaaa-bbbb-cccc-ddddeeeeffff")
    }
    assert len(texts) == 1
