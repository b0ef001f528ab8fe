"""A target that recovers and fails again: seen and told once, instead of repaired for ever."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.report import IncidentResult, RunResult
from tests.fakes.loop import ENVIRONMENT, LoopWorld, service_yaml
from tests.fakes.telemetry import FakeAlertmanager
from tests.unit.reconcile.test_monitored import monitored


@contextmanager
def flapping(root: Path, within: str) -> Iterator[tuple[LoopWorld, FakeAlertmanager]]:
    """Two recoveries within that time are the limit."""
    limit = {"flapping": {"recoveries": 2, "within": within}}
    with monitored(root, platform={"guard": limit}) as made:
        made.world.commit(a=service_yaml("a"))
        made.world.run()  # it was missing: its creation is the first
        made.world.engine.kill("a")
        assert made.world.run().result is RunResult.CONVERGED
        made.world.engine.calls.clear()
        yield made.world, made.alerts


def status(world: LoopWorld) -> Any:
    return json.loads(world.file(f"status/{ENVIRONMENT}/a.json"))


def stalled(world: LoopWorld) -> list[str]:
    return [c["reason"] for c in status(world)["conditions"] if c["type"] == "Stalled"]


def test_one_failure_too_many_is_told_once_and_not_repaired(tmp_path: Path) -> None:
    with flapping(tmp_path, "10m") as (world, alerts):
        world.engine.kill("a")
        report = world.run()
        assert [i.result for i in report.incidents] == [IncidentResult.ESCALATED]
        assert "has recovered 2 times within 10m" in report.incidents[0].summary
        assert stalled(world) == ["Flapping"]
        assert [told["target"] for told in alerts.told()] == [f"{ENVIRONMENT}/a"]
        told = world.reports()
        # It comes up by itself and falls down again: nothing new, to nobody.
        world.engine.named("a").run()
        world.run()
        world.engine.kill("a")
        assert world.run().result is RunResult.DRIFT_REMAINS
        assert len(alerts.told()) == 1
        assert stalled(world) == ["Flapping"]
        assert world.engine.calls == []
        assert len(world.reports()) <= len(told) + 2  # what it looks like, and nothing else


def test_it_ends_by_itself_when_the_window_has_passed(tmp_path: Path) -> None:
    with flapping(tmp_path, "8s") as (world, _alerts):
        begun = time.monotonic()
        world.engine.kill("a")
        assert world.run().incidents[0].result is IncidentResult.ESCALATED
        assert world.engine.calls == []
        time.sleep(max(0.0, 8.5 - (time.monotonic() - begun)))
        assert world.run().result is RunResult.CONVERGED
        assert [call.primitive for _, call in world.engine.calls] == ["start"]
        assert stalled(world) == []


def test_another_spec_has_not_flapped_yet(tmp_path: Path) -> None:
    with flapping(tmp_path, "10m") as (world, _alerts):
        world.engine.kill("a")
        assert world.run().incidents[0].result is IncidentResult.ESCALATED
        world.commit(a=service_yaml("a", env={"WORKERS": "2"}))
        assert world.run().result is RunResult.CONVERGED
        assert world.engine.calls != []
        assert stalled(world) == []
