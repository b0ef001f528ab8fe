from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.http_server import FakeServer, text


@pytest.fixture(scope="module")
def any_server() -> Iterator[FakeServer]:
    """A server whose behaviour each example sets."""
    with FakeServer(text("")) as server:
        yield server
