"""What /metrics tells, of real runs of the loop over an engine in memory."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.approvals.news import ApprovalNews
from flows.llm.protocol import TokenUsage
from flows.metrics import RunMetrics
from infrastructure.errors import PermanentError, TemporaryError
from tests.fakes.loop import LoopWorld, loop_world, service_yaml

DOCUMENT = Path(__file__).parents[3] / "docs" / "METRICS.md"


def samples(metrics: RunMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def value(metrics: RunMetrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def run(world: LoopWorld, metrics: RunMetrics, **request: object) -> None:
    metrics.run(lambda: world.run(listener=metrics, **request))  # type: ignore[arg-type]  # as `run` takes them


def test_a_healed_fault_is_counted_at_every_stage(tmp_path: Path) -> None:
    metrics = RunMetrics()
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"), b=service_yaml("b"))
        world.run()
        run(world, metrics)
        world.engine.kill("a")
        run(world, metrics)
    assert value(metrics, "uici_runs_total", result="converged") == 2
    assert value(metrics, "uici_operations_total", operation="start", result="succeeded") == 1
    assert value(metrics, "uici_verdicts_total", decision="allowed", rule="risk") == 1
    assert value(metrics, "uici_incidents_total", result="recovered") == 1
    assert value(metrics, "uici_recovery_duration_seconds_count") == 1
    assert value(metrics, "uici_drifts", environment="local-docker", kind="Stopped") == 1
    assert value(metrics, "uici_drifts", environment="local-docker", kind="Missing") == 0
    assert value(metrics, "uici_targets", environment="local-docker", health="Healthy") == 2
    for stage in ("read", "look", "decide", "intent", "act", "report"):
        assert value(metrics, "uici_stage_duration_seconds_count", stage=stage) == 2
    ended = value(metrics, "uici_last_run_end_timestamp_seconds", result="converged")
    assert ended is not None
    assert ended > 1_700_000_000


def test_a_run_about_a_few_targets_leaves_the_gauges_of_all_alone(tmp_path: Path) -> None:
    metrics = RunMetrics()
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"), b=service_yaml("b"))
        run(world, metrics)
        run(world, metrics, targets=("a",))
    assert value(metrics, "uici_targets", environment="local-docker", health="Healthy") == 2


def test_a_stalled_target_is_a_gauge_until_it_is_well(tmp_path: Path) -> None:
    limits = {"guard": {"policy": {"maxAttempts": 1, "backoff": {"initial": "0s", "max": "0s"}}}}
    metrics = RunMetrics()
    with loop_world(tmp_path, platform=limits) as world:
        world.commit(a=service_yaml("a"))
        run(world, metrics)
        assert value(metrics, "uici_stalled_targets", environment="local-docker") == 0
        world.engine.kill("a")
        world.engine.failures["start"] = PermanentError("no such device")
        run(world, metrics)
        run(world, metrics)
        assert value(metrics, "uici_stalled_targets", environment="local-docker") == 1
        assert value(metrics, "uici_operations_total", operation="start", result="failed") == 1
        world.engine.failures.clear()
        world.engine.named("a").run()
        run(world, metrics)
    assert value(metrics, "uici_stalled_targets", environment="local-docker") == 0


def test_a_refused_desired_state_is_a_gauge(tmp_path: Path) -> None:
    metrics = RunMetrics()
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        run(world, metrics)
        assert value(metrics, "uici_desired_state_refused") == 0
        world.commit(a="kind: Nonsense")
        run(world, metrics)
    assert value(metrics, "uici_desired_state_refused") == 1


def test_a_run_that_fails_is_counted_and_its_error_goes_on(tmp_path: Path) -> None:
    metrics = RunMetrics()
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        with world.runtime.one_run_at_a_time(), pytest.raises(TemporaryError):
            run(world, metrics)
    assert value(metrics, "uici_runs_total", result="failed") == 1
    assert value(metrics, "uici_runs_total", result="converged") == 0


def test_what_the_llm_took_is_counted_and_an_unanswered_request_has_no_tokens() -> None:
    metrics = RunMetrics()
    metrics.llm_asked("m", TokenUsage(100, 20), 0.5)
    metrics.llm_asked("m", None, None)
    assert value(metrics, "uici_llm_requests_total", model="m", outcome="answered") == 1
    assert value(metrics, "uici_llm_requests_total", model="m", outcome="unanswered") == 1
    assert value(metrics, "uici_llm_tokens_total", model="m", kind="prompt") == 100
    assert value(metrics, "uici_llm_tokens_total", model="m", kind="output") == 20
    assert value(metrics, "uici_llm_cost_dollars_total", model="m") == 0.5


def test_the_document_names_each_metric_with_its_help_and_labels(tmp_path: Path) -> None:
    metrics = RunMetrics()
    metrics.llm_asked("m", TokenUsage(1, 1), 0.0)
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        run(world, metrics)
    shown = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("uici_") and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {key for sample in family.samples for key in sample.labels if key != "le"}
            shown[name] = (labels, family.documentation)
    rows = re.findall(r"^\| `(uici_\w+)` \|(.*)\| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert {
        name: (set(re.findall(r"`(\w+)`", labels)), text) for name, labels, text in rows
    } == shown


def test_plans_that_wait_for_a_person_are_told_until_they_do_not(tmp_path: Path) -> None:
    metrics = RunMetrics()
    with loop_world(tmp_path) as world:
        world.commit(a=service_yaml("a"))
        report = world.run()
    for waiting in ({"f1": "recreate waits", "f2": "scale waits"}, {}):
        metrics.run_finished(replace(report, approvals=ApprovalNews(waiting=waiting)))
        assert value(metrics, "uici_waiting_approvals") == len(waiting)
