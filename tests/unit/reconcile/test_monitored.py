"""The loop with a Prometheus and an Alertmanager: what they say, and what a person silenced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.report import IncidentResult, RunResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import ESCALATION_ALERT
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml
from tests.fakes.telemetry import FakeAlertmanager, FakePrometheus, alertmanager, prometheus

AGENT = "devops-ai-agent"


@dataclass
class Monitored:
    """A loop and what it listens to."""

    world: LoopWorld
    alerts: FakeAlertmanager
    metrics: FakePrometheus


@contextmanager
def monitored(root: Path, **config: Any) -> Iterator[Monitored]:
    with ExitStack() as stack:
        alerts, metrics = stack.enter_context(alertmanager()), stack.enter_context(prometheus())
        place = {"alertmanager": [alerts.source], "prometheus": [metrics.source]}
        world = stack.enter_context(
            loop_world(root, environments={"environments": {ENVIRONMENT: place}}, **config)
        )
        yield Monitored(world, alerts, metrics)


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Monitored]:
    """One service with an alert and a metric, running and well."""
    with monitored(tmp_path) as made:
        made.metrics.values["up_of_a"] = 1
        made.world.commit(a=watched("a"))
        made.world.run()
        made.world.engine.calls.clear()
        yield made


def watched(name: str) -> str:
    return service_yaml(
        name,
        alerts=[{"matchers": {"service": name}}],
        health={"metrics": [{"name": "up", "query": f"up_of_{name}", "expect": "== 1"}]},
    )


def operations(seen: Monitored) -> list[str]:
    return [call.primitive for _, call in seen.world.engine.calls]


def test_an_alert_that_nothing_else_confirms_is_told_to_people_once(seen: Monitored) -> None:
    seen.alerts.fire("ADown", service="a")
    (told,) = seen.world.run().incidents
    assert [d.kind for d in told.incident.drifts] == [DriftKind.ALERT_FIRING]
    assert (told.result, operations(seen)) == (IncidentResult.ESCALATED, [])
    (first,) = seen.alerts.posted
    assert seen.world.run().incidents == ()
    # Renewed while it lasts, which is the same alert and no second message.
    assert {str(each["labels"]) for each in seen.alerts.posted} == {str(first["labels"])}


def test_an_alert_lags_behind_a_repair_that_is_verified(seen: Monitored) -> None:
    seen.alerts.fire("ADown", service="a")
    seen.world.engine.kill("a")
    (told,) = seen.world.run().incidents
    assert {d.kind for d in told.incident.drifts} == {DriftKind.STOPPED, DriftKind.ALERT_FIRING}
    assert operations(seen) == ["start"]


def test_a_breached_metric_is_acted_upon(seen: Monitored) -> None:
    seen.metrics.values["up_of_a"] = 0
    report = seen.world.run()
    assert [d.kind for d in report.comparison.drifts] == [DriftKind.METRIC_BREACH]
    assert operations(seen) == ["restart"]


def test_a_metric_without_samples_is_unknown_and_nothing_is_done(seen: Monitored) -> None:
    seen.metrics.values.clear()
    report = seen.world.run()
    assert report.result is RunResult.DRIFT_REMAINS
    assert (report.comparison.drifts, operations(seen)) == ((), [])


def test_a_silenced_target_is_seen_and_left_alone_until_the_silence_ends(seen: Monitored) -> None:
    seen.alerts.silence(service="a")
    seen.world.engine.kill("a")
    report = seen.world.run()
    state = report.comparison.states[f"{ENVIRONMENT}/a"]
    assert [d.kind for d in report.comparison.drifts] == [DriftKind.STOPPED]
    assert state.held is not None
    assert "silenced by ann" in state.held
    assert (report.result, operations(seen)) == (RunResult.DRIFT_REMAINS, [])

    seen.alerts.silences.clear()
    assert seen.world.run().incidents[0].result is IncidentResult.RECOVERED
    assert operations(seen) == ["start"]


def test_a_silence_about_another_service_holds_nothing(seen: Monitored) -> None:
    seen.alerts.silence(service="b")
    seen.world.engine.kill("a")
    assert seen.world.run().incidents[0].result is IncidentResult.RECOVERED


def test_the_agents_own_alert_is_told_to_people_and_nothing_is_done(seen: Monitored) -> None:
    seen.alerts.fire("DevOpsAIAgentDown", service=AGENT)
    container = seen.world.engine.add(AGENT)
    for _ in range(3):
        report = seen.world.run()
        assert (report.incidents, report.comparison.drifts) == ((), ())
        assert report.comparison.ignored_alerts == ("DevOpsAIAgentDown",)
    (told,) = seen.alerts.told(AGENT)
    assert (told["alertname"], told["target"]) == (ESCALATION_ALERT, f"agent/{AGENT}")
    assert operations(seen) == []
    assert container.id in seen.world.engine.containers
    status = json.loads(seen.world.file(f"status/agent/{AGENT}.json"))
    assert status["conditions"][0]["reason"] == "OwnAlertFiring"


def test_what_it_told_itself_is_not_an_alert_about_itself(seen: Monitored) -> None:
    seen.alerts.fire(ESCALATION_ALERT, service=AGENT)
    assert seen.world.run().comparison.own_alerts == ()
    assert seen.alerts.posted == []


def test_an_open_breaker_lets_nothing_through_and_tells_people(tmp_path: Path) -> None:
    with monitored(tmp_path) as seen:
        names = [f"s{number}" for number in range(6)]
        seen.metrics.values.update({f"up_of_{name}": 1.0 for name in names})
        seen.world.commit(**{name: watched(name) for name in names})
        while seen.world.run().result is not RunResult.CONVERGED:
            pass
        seen.world.engine.calls.clear()
        told = seen.world.reports()

        seen.metrics.values = dict.fromkeys(seen.metrics.values, 0.0)
        report = seen.world.run()
        assert "6 of 6 targets" in report.comparison.breaker[ENVIRONMENT]
        assert (report.result, operations(seen)) == (RunResult.DRIFT_REMAINS, [])
        (alert,) = seen.alerts.told()
        assert (alert["alertname"], alert["target"]) == (ESCALATION_ALERT, ENVIRONMENT)
        assert not any(
            subject.startswith("intent") for subject in seen.world.reports()[: -len(told)]
        )

        # What the engine itself says is not doubted.
        seen.metrics.values = dict.fromkeys(seen.metrics.values, 1.0)
        for name in names:
            seen.world.engine.kill(name)
        assert seen.world.run().result is RunResult.CONVERGED
        assert operations(seen) == ["start"] * 6


def test_an_attempt_that_did_not_help_is_told_to_people_when_none_is_left(tmp_path: Path) -> None:
    limits = {"guard": {"policy": {"maxAttempts": 1, "backoff": {"initial": "0s", "max": "0s"}}}}
    with monitored(tmp_path, platform=limits) as seen:
        seen.metrics.values["up_of_a"] = 1
        seen.world.commit(a=watched("a"))
        seen.world.run()
        seen.metrics.values["up_of_a"] = 0
        assert seen.world.run().incidents[0].result is IncidentResult.FAILED
        assert seen.world.run().incidents[0].result is IncidentResult.ESCALATED
        (told,) = seen.alerts.told()
        assert told["alertname"] == ESCALATION_ALERT
        assert told["target"] == f"{ENVIRONMENT}/a"
