"""From wishes to runs: united while one works, repeated when another held the slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.states import Cancelled, Completed

from flows.prefect_edge import trigger as under_test
from flows.prefect_edge.trigger import RunTrigger
from flows.prefect_edge.worker import UiciWorker

DEPLOYMENT = uuid4()


@dataclass
class Worker:
    """What the trigger needs of a worker and its client; runs end when they are let."""

    made: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    cancels: int = 0
    outages: int = 0
    known: frozenset[str] | None = None  # targets that the deployment's schema knows; None: all
    works: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.works.set()
        self.client = self

    async def idle(self) -> None:
        await self.works.wait()

    async def create_flow_run_from_deployment(
        self, deployment: UUID, *, parameters: dict[str, Any], tags: list[str], idempotency_key: str
    ) -> Any:
        assert deployment == DEPLOYMENT
        assert tags == [under_test.TAG]
        if self.outages:
            self.outages -= 1
            raise httpx.ConnectError("down")
        if self.known is not None and not self.known.issuperset(parameters.get("targets", ())):
            request = httpx.Request("POST", "http://prefect.test")
            response = httpx.Response(409, request=request)
            raise httpx.HTTPStatusError("refused", request=request, response=response)
        self.made.append(parameters)
        self.keys.append(idempotency_key)
        return SimpleNamespace(id=uuid4())

    async def get_and_submit_flow_runs(self) -> None:
        await asyncio.sleep(0)

    async def read_flow_run(self, _: UUID) -> Any:
        if self.cancels:
            self.cancels -= 1
            return SimpleNamespace(state=Cancelled())
        return SimpleNamespace(state=Completed())


def play(scene: Callable[[RunTrigger, Worker], Any]) -> Worker:
    """The scene beside a working trigger; then it is given time to do what is left."""

    async def run() -> Worker:
        worker, trigger = Worker(), RunTrigger()
        task = asyncio.create_task(trigger.run(cast("UiciWorker", worker), DEPLOYMENT))
        await scene(trigger, worker)
        worker.works.set()
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return worker

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_PAUSE_SECONDS", 0.0)


def test_one_wish_is_one_run_for_its_targets() -> None:
    async def scene(trigger: RunTrigger, _: Worker) -> None:
        trigger.ask(frozenset({"e/b", "e/a"}))

    assert play(scene).made == [{"targets": ["e/a", "e/b"]}]


def test_a_wish_before_the_worker_is_there_is_kept() -> None:
    async def run() -> list[dict[str, Any]]:
        worker, trigger = Worker(), RunTrigger()
        trigger.ask(frozenset({"e/a"}))
        task = asyncio.create_task(trigger.run(cast("UiciWorker", worker), DEPLOYMENT))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return worker.made

    assert asyncio.run(run()) == [{"targets": ["e/a"]}]


def test_a_thousand_wishes_while_a_run_works_are_one_run() -> None:
    async def scene(trigger: RunTrigger, worker: Worker) -> None:
        worker.works.clear()
        for number in range(1000):
            trigger.ask(frozenset({f"e/{number % 3}"}))
        await asyncio.sleep(0.02)
        assert worker.made == []

    assert play(scene).made == [{"targets": ["e/0", "e/1", "e/2"]}]


def test_a_target_that_the_form_does_not_know_yet_is_looked_at_with_all_others() -> None:
    async def scene(trigger: RunTrigger, worker: Worker) -> None:
        worker.known = frozenset({"e/a"})
        trigger.ask(frozenset({"e/a", "e/young"}))
        await asyncio.sleep(0.02)

    assert play(scene).made == [{}]


def test_all_takes_in_every_target() -> None:
    async def scene(trigger: RunTrigger, worker: Worker) -> None:
        worker.works.clear()
        trigger.ask(frozenset({"e/a"}))
        trigger.ask(None)
        await asyncio.sleep(0.01)

    assert play(scene).made == [{}]


def test_nothing_wanted_is_no_run() -> None:
    async def scene(trigger: RunTrigger, _: Worker) -> None:
        trigger.ask(frozenset())
        await asyncio.sleep(0.01)

    assert play(scene).made == []


def test_a_run_that_found_the_slot_taken_is_made_again_as_another() -> None:
    async def scene(trigger: RunTrigger, worker: Worker) -> None:
        worker.cancels = 2
        trigger.ask(frozenset({"e/a"}))
        await asyncio.sleep(0.05)

    worker = play(scene)
    assert worker.made == [{"targets": ["e/a"]}] * 3
    assert len(set(worker.keys)) == 3


def test_a_slot_that_stays_taken_is_left_to_the_schedule() -> None:
    async def scene(trigger: RunTrigger, worker: Worker) -> None:
        worker.cancels = 99
        trigger.ask(frozenset({"e/a"}))
        await asyncio.sleep(0.05)

    assert len(play(scene).made) == 5


def test_an_api_that_is_away_is_asked_again_and_the_next_wish_still_works() -> None:
    async def scene(trigger: RunTrigger, worker: Worker) -> None:
        worker.outages = 99
        trigger.ask(frozenset({"e/a"}))
        await asyncio.sleep(0.05)
        worker.outages = 1
        trigger.ask(frozenset({"e/b"}))
        await asyncio.sleep(0.05)

    assert play(scene).made == [{"targets": ["e/b"]}]


def test_asking_when_the_loop_is_gone_is_no_error() -> None:
    async def run() -> RunTrigger:
        trigger = RunTrigger()
        task = asyncio.create_task(trigger.run(cast("UiciWorker", Worker()), DEPLOYMENT))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return trigger

    asyncio.run(run()).ask(frozenset({"e/a"}))
