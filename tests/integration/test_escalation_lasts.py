"""An escalation on a real Alertmanager: it lasts as long as its cause, and no longer."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.report import IncidentResult, RunResult
from infrastructure.errors import PermanentError
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

pytestmark = pytest.mark.real
LASTS = 3.0  # seconds


@pytest.fixture
def world(tmp_path: Path, alertmanager_url: str) -> Iterator[LoopWorld]:
    """One service that can't be repaired."""
    name = f"lasting-{tmp_path.name}"[-40:].replace("_", "-")
    place = {"alertmanager": [{"url": alertmanager_url, "timeout": "5s"}]}
    policy = {"maxAttempts": 1, "backoff": {"initial": "1ms", "max": "1ms"}}
    with loop_world(
        tmp_path,
        environments={"environments": {ENVIRONMENT: place}},
        platform={"escalation": {"lasts": f"{LASTS:g}s"}, "guard": {"policy": policy}},
    ) as made:
        made.commit(**{name: service_yaml(name)})
        made.run()
        made.engine.kill(name)
        made.engine.failures["start"] = PermanentError("it does not start")
        made.engine.failures["recreate"] = PermanentError("nor is it made anew")
        made.engine.failures["restart"] = PermanentError("nor that")
        assert made.run().incidents[0].result is IncidentResult.FAILED
        assert made.run().incidents[0].result is IncidentResult.ESCALATED
        yield made


def firing(url: str, world: LoopWorld) -> list[Any]:
    """What Alertmanager holds for active of our target."""
    (target,) = world.runtime.git.desired().services
    with urllib.request.urlopen(f"{url}/api/v2/alerts?active=true", timeout=5) as answer:
        return [a for a in json.load(answer) if a["labels"].get("target") == target]


def test_it_is_renewed_while_its_cause_lasts(world: LoopWorld, alertmanager_url: str) -> None:
    (first,) = firing(alertmanager_url, world)
    end = time.monotonic() + LASTS + 1
    while time.monotonic() < end:
        assert world.run().result is RunResult.DRIFT_REMAINS
        time.sleep(0.5)
    (still,) = firing(alertmanager_url, world)  # beyond its first end
    # The same alert: nobody is notified again.
    assert still["fingerprint"] == first["fingerprint"]
    assert still["startsAt"] == first["startsAt"]
    assert still["annotations"] == first["annotations"]


@pytest.mark.parametrize("end", ["it is well again", "it is no longer declared"])
def test_it_is_resolved_by_itself_when_its_cause_is_gone(
    world: LoopWorld, alertmanager_url: str, end: str
) -> None:
    assert len(firing(alertmanager_url, world)) == 1
    (target,) = world.runtime.git.desired().services
    name = target.partition("/")[2]
    if end == "it is well again":
        world.engine.named(name).run()
        assert world.run().result is RunResult.CONVERGED
    else:
        world.engine.remove(name)
        files: dict[str, Any] = {name: None, "other": service_yaml(f"{name}-other")}
        world.commit(**files)
        world.run()
    assert firing(alertmanager_url, world) == []
