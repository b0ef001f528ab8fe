"""Clients of the SDK without models: what they are loaded from, and what they still are."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from executors.oci.clients import client_class
from executors.oci.sdk import _CLIENTS
from executors.oci.settings import Api

_LOAD_ALL = """
import sys
from executors.oci.clients import client_class
from executors.oci.sdk import _CLIENTS
import oci
before = set(sys.modules)
for client in _CLIENTS.values():
    client_class(*client)
print(*(name for name in set(sys.modules) - before if name.startswith("oci.")))
"""


def test_neither_models_nor_packages_of_services_are_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_ALL], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("api", [Api.WORK, Api.METRICS])
def test_it_is_the_client_that_the_sdk_has(api: Api) -> None:
    package, _, name = _CLIENTS[api]
    theirs = getattr(importlib.import_module(package), name)
    ours = client_class(*_CLIENTS[api])
    assert ours is not theirs
    assert ours.__module__ != theirs.__module__
    assert _signatures(ours) == _signatures(theirs)
    assert client_class(*_CLIENTS[api]) is ours  # loaded once


def test_an_sdk_that_is_laid_out_otherwise_is_used_as_it_is() -> None:
    theirs = importlib.import_module("oci.work_requests").WorkRequestClient
    assert client_class("oci.work_requests", "moved_elsewhere", "WorkRequestClient") is theirs


def test_what_the_sdk_does_not_have_is_an_error() -> None:
    with pytest.raises(AttributeError):
        client_class("oci.work_requests", "work_request_client", "NoSuchClient")
    with pytest.raises(ImportError):
        client_class("oci.no_such_service", "some_client", "SomeClient")


def _signatures(client: type) -> dict[str, str]:
    methods = inspect.getmembers(client, inspect.isfunction)
    return {name: str(inspect.signature(method)) for name, method in methods}
