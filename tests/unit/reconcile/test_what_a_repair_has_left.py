"""A status tells how a repair has left its target, and a title what is down beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.report import render_markdown
from infrastructure.errors import PermanentError
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveResult
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

AT_ONCE: dict[str, Any] = {
    "compare": {"grace": {"confirmAfter": "0s", "stopped": "0s", "missing": "0s"}},
    "verify": {"deadline": "1s", "interval": "100ms", "stableFor": "0s"},
    "guard": {"policy": {"backoff": {"initial": "1h", "max": "1h"}}},
}
STAMP, SECRET = "2026-11-23T12:00:00.123456789Z", "sk-abcdefghijklmnopqrstuvwx"
SHOP, TILL = "local-docker/shop", "local-docker/till"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    with loop_world(tmp_path, platform=AT_ONCE) as made:
        made.commit(shop=service_yaml("shop"), till=service_yaml("till"))
        for service in made.runtime.git.desired().services.values():
            made.engine.run(service)
        made.run()
        yield made


def test_what_ran_before_its_repair_and_ends_after_it_is_not_called_healthy(
    world: LoopWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    recreate = world.engine._recreate

    def ends(task: Any) -> PrimitiveResult:
        done: PrimitiveResult = recreate(task)
        shop = world.engine.named("shop")
        shop.logs = f"{STAMP} ready\n{STAMP} FATAL: API_KEY is not set: {SECRET}\n\n"
        shop.end(78)
        return done

    monkeypatch.setattr(world.engine, "_recreate", ends)
    world.commit("another image", shop=service_yaml("shop", image="shop:9"))
    report = world.run()
    said = "stopped, exit code 78; its last words: FATAL: API_KEY is not set: [redacted]"
    assert said in report.incidents[0].summary
    assert SECRET not in world.file(f"status/{SHOP}.json")
    status = world.remembered().statuses[SHOP]
    assert status.health == "Degraded"
    assert status.attempts is not None
    assert "exit code 78" in status.conditions[0].message


def test_what_is_down_and_was_not_worked_on_stands_in_the_title(world: LoopWorld) -> None:
    world.engine.named("till").end(1)
    world.engine.failures["start"] = PermanentError("start: the engine refuses it")
    world.run()  # it backs off for an hour
    world.engine.named("shop").end(1)
    title = render_markdown(world.run()).splitlines()[0]
    assert title.startswith("# shop: ")
    assert title.endswith("; down as well: till")
    world.engine.failures.clear()
    world.engine.named("shop").state = InstanceState.RUNNING
    title = render_markdown(world.run()).splitlines()[0]
    assert "till (Stopped) still differs" in title
    assert "down as well" not in title  # once is enough
