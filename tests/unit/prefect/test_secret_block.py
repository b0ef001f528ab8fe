"""`prefect:NAME` references, when the Prefect API is away or has no such block."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.prefect_edge.secret_block import read_prefect_block
from infrastructure.errors import PermanentError
from infrastructure.secret_references import SecretResolver
from tests.fakes.http_server import Exchange, FakeServer


@contextlib.contextmanager
def prefect_at(port: int, home: Path) -> Iterator[None]:
    address = f"http://127.0.0.1:{port}/api"
    with temporary_settings({PREFECT_API_URL: address, PREFECT_HOME: home}):
        yield


def resolve() -> str:
    return SecretResolver({}, read_block=read_prefect_block).resolve("prefect:db")


def test_a_block_that_does_not_exist_is_told_in_one_line(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.answer(b'{"detail": "not found"}', status=404)

    with FakeServer(answer) as server, prefect_at(server.port, tmp_path):
        told_in_one_line("ValueError")


def test_prefect_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        with prefect_at(taken.getsockname()[1], tmp_path):
            told_in_one_line("ConnectError")


def told_in_one_line(kind: str) -> None:
    with pytest.raises(PermanentError) as caught:
        resolve()
    text = str(caught.value)
    assert text.startswith(f"the Prefect Secret block db can't be read ({kind}): create it, or")
    assert "\n" not in text
    assert "127.0.0.1" not in text
