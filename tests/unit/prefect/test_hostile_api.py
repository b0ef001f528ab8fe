"""A Prefect API that is away, hangs, or answers anything: approvals by command go on."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast
from uuid import uuid4

import pytest
import structlog
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.prefect_edge import approve_runs
from flows.prefect_edge.approve_runs import ApprovalRuns
from tests.fakes.http_server import Behaviour, FakeServer, closes_early, silent, text


class _Desk:
    """Nothing waits; the runs are asked for all the same."""

    def all(self) -> tuple[Any, ...]:
        return ()


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda exchange: exchange.hang_up(),
        silent,
        closes_early,
        text(b"\xff<html>{]"),
        text(b'{"detail": "no"}'),
        text(b"[5, null]"),
        text(b"x" * 50 * 1024 * 1024),
        text(b"oops", status=500),
        text(b"", status=401),
    ],
    ids=["down", "hangs", "cut", "garbage", "strange", "odd", "50 MB", "500", "401"],
)
def test_whatever_prefect_answers_is_told_in_a_line_and_asked_again(behaviour: Behaviour) -> None:
    async def look(url: str) -> None:
        settings = {"timeout": 0.5}
        async with PrefectClient(f"{url}/api", httpx_settings=settings) as client:
            runs = ApprovalRuns(cast("Any", _Desk()), uuid4())
            await approve_runs._guarded(runs, client)

    begun = time.monotonic()
    with (
        FakeServer(behaviour) as server,
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        structlog.testing.capture_logs() as told,
    ):
        asyncio.run(look(server.url))
    assert [line["event"] for line in told] == ["approvals_not_shown"]
    assert "\n" not in told[0]["error"]
    assert len(told[0]["error"]) < 2000
    assert time.monotonic() - begun < 20
