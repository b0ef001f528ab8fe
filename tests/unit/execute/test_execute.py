"""Stage 5: a plan runs whole or not at all, and stops where it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

import infrastructure.config
from flows.comparison.drift import Drift, Incident
from flows.execute import execute, runnable
from flows.guard import Decision, GuardedInterface, Verdict
from flows.listener import NullListener
from flows.plan import PlanStep
from infrastructure.config_models import Operations
from infrastructure.drift_kinds import DriftKind
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from tests.builders import AGENT, ENVIRONMENT, NOW

TARGET = f"{ENVIRONMENT}/market-predictor"
INCIDENT = Incident("f", ENVIRONMENT, TARGET, (TARGET,), (Drift(TARGET, DriftKind.STOPPED),))
CONFIG = Path(next(iter(infrastructure.config.__path__)))
REGISTRY = OperationRegistry(
    Operations.model_validate(yaml.safe_load((CONFIG / "operations.yml").read_text()))
)


def verdict(operation: str, decision: Decision = Decision.ALLOWED, rule: str = "risk") -> Verdict:
    parameters: Mapping[str, Any] = {}
    return Verdict(PlanStep(operation, TARGET, parameters, ""), decision, rule, "")


class Engine:
    """Answers as told and notes what it was asked to do."""

    def __init__(self, answers: Mapping[str, OutcomeStatus] | None = None) -> None:
        self.answers = answers or {}
        self.done: list[str] = []

    def run(self, call: OperationCall, *, deadline: datetime | None) -> OperationOutcome:  # noqa: ARG002 - the protocol's
        self.done.append(call.operation)
        status = self.answers.get(call.operation, OutcomeStatus.SUCCEEDED)
        return OperationOutcome(call, status, NOW, NOW)


def run(
    engine: Engine, *steps: Verdict, now: Callable[[], datetime] = lambda: NOW
) -> list[OutcomeStatus]:
    execution = execute(
        INCIDENT,
        steps,
        GuardedInterface(engine, REGISTRY, AGENT, now=now),
        listener=NullListener(),
        now=now,
        deadline=NOW + timedelta(seconds=10),
    )
    return [outcome.status for outcome in execution.outcomes]


def test_one_denied_change_stops_all_changes_of_the_plan() -> None:
    for decision in (Decision.DENIED, Decision.NEEDS_APPROVAL):
        verdicts = [
            verdict("get_logs", rule="read-only"),
            verdict("start"),
            verdict("recreate", decision),
        ]
        assert [v.step.operation for v in runnable(verdicts)] == ["get_logs"]


def test_a_plan_that_is_allowed_whole_runs_whole() -> None:
    verdicts = [verdict("start"), verdict("restart")]
    engine = Engine()
    assert run(engine, *runnable(verdicts)) == [OutcomeStatus.SUCCEEDED] * 2
    assert engine.done == ["start", "restart"]


def test_after_a_failure_the_rest_is_skipped() -> None:
    for status in (OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT, OutcomeStatus.UNKNOWN):
        engine = Engine({"start": status})
        assert run(engine, verdict("start"), verdict("restart")) == [status, OutcomeStatus.SKIPPED]
        assert engine.done == ["start"]


def test_after_the_deadline_nothing_is_begun() -> None:
    engine = Engine()
    late = NOW + timedelta(seconds=11)
    assert run(engine, verdict("start"), now=lambda: late) == [OutcomeStatus.SKIPPED]
    assert engine.done == []
