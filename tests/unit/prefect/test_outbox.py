"""What Prefect's API fails to take is dropped; a bad moment of it costs no more than that."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
import structlog
from prefect.client.orchestration import PrefectClient

from flows.prefect_edge.listener import Outbox


def sent(outcomes: str) -> tuple[list[int], list[str]]:
    """Which of the requests arrived, and what was told.

    Args:
        outcomes: a letter each: "." is taken, "x" fails, "4" is refused as a wrong request,
            "1" because nobody is signed in.
    """
    arrived: list[int] = []

    async def all_of_them() -> None:
        outbox = Outbox(cast("PrefectClient", object()), uuid4())

        async def send(number: int, _: Any) -> None:
            arrived.append(number)
            if outcomes[number] == "x":
                raise OSError("database is locked")
            if outcomes[number] in "14":
                asked = httpx.Request("POST", "http://localhost/task_runs/1/set_state")
                answer = httpx.Response({"1": 401, "4": 404}[outcomes[number]], request=asked)
                raise httpx.HTTPStatusError("not found", request=asked, response=answer)

        for number in range(len(outcomes)):
            outbox.put(lambda client, number=number: send(number, client))  # type: ignore[misc]  # bound now
        await asyncio.sleep(0)
        await outbox.close()

    with structlog.testing.capture_logs() as told:
        asyncio.run(all_of_them())
    return arrived, [line["event"] for line in told]


@pytest.mark.parametrize(
    ("outcomes", "tried", "told"),
    [
        ("...", 3, []),
        ("x..", 3, ["prefect_request_failed"]),
        ("x.x.", 4, ["prefect_request_failed"] * 2),
        ("x44.", 4, ["prefect_request_failed"] * 3),  # what needs the first can't be there
        ("11..", 2, ["prefect_request_failed", "prefect_unreachable"]),
        (".xx...", 3, ["prefect_request_failed", "prefect_unreachable"]),
    ],
)
def test_only_two_failures_in_a_row_end_it(outcomes: str, tried: int, told: list[str]) -> None:
    assert sent(outcomes) == (list(range(tried)), told)
