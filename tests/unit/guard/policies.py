"""What tests of the guard rest on: a policy that allows much, and the shipped operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

import infrastructure.config
from flows.comparison.drift import Drift, Incident
from flows.guard import Acted, GuardedInterface, GuardInput
from flows.plan import Plan, PlannerKind, PlanStep
from flows.reporting.status import Attempts
from infrastructure.config_models import BlastRadius, Operations, Policy
from infrastructure.drift_kinds import DriftKind
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus, Risk
from infrastructure.service import Backoff, Freeze, Mode, Overrun, Service, Window
from tests.builders import AGENT, ENVIRONMENT, NOW, service, services

CONFIG = Path(next(iter(infrastructure.config.__path__)))
REGISTRY = OperationRegistry(
    Operations.model_validate(yaml.safe_load((CONFIG / "operations.yml").read_text()))
)
BACKOFF = Backoff(initial=timedelta(seconds=30), max=timedelta(minutes=15))
PLATFORM = Policy(
    mode=Mode.ENFORCE,
    allow_up_to=Risk.HIGH,
    approve_up_to=Risk.DESTRUCTIVE,
    max_attempts=3,
    backoff=BACKOFF,
    cool_down=timedelta(0),
    replica_share=1,
    overrun=Overrun.STOP,
)


SERVICE = service(
    replicas=2, env={"LOG_LEVEL": "info"}, resources={"memory": "256Mi", "cpu": "0.5"}
)
ALL = frozenset(REGISTRY.names())
RADIUS = BlastRadius(targets_per_run=5, steps_per_run=9, steps_per_incident=5)
OPEN_ALL_DAY = Window.model_validate({"from": "00:00", "to": "24:00", "timeZone": "UTC"})


def step(operation: str = "start", target: str = SERVICE.target, **parameters: Any) -> PlanStep:
    return PlanStep(operation, target, parameters, "because")


def plan(*steps: PlanStep) -> Plan:
    return Plan("f" * 16, PlannerKind.RUNBOOK, "r", "d", 1.0, (), steps)


def incident(*targets: str) -> Incident:
    drifts = tuple(Drift(name, DriftKind.STOPPED) for name in targets)
    return Incident("f" * 16, ENVIRONMENT, targets[0], targets, drifts)


def rules(*wanted: Service, policy: Policy = PLATFORM, **changes: Any) -> GuardInput:
    known = services(*(wanted or (SERVICE,)))
    return replace(
        GuardInput(
            services=known,
            policies=dict.fromkeys(known, policy),
            catalogue=REGISTRY,
            capabilities=lambda _environment: ALL,
            identity=AGENT,
            blast_radius=RADIUS,
            always_approve=frozenset({"execute_command"}),
            now=NOW,
        ),
        **changes,
    )


def with_policy(**changes: Any) -> Policy:
    return PLATFORM.model_copy(update=changes)


def window(start: str, end: str) -> Window:
    return Window.model_validate({"from": start, "to": end, "timeZone": "UTC"})


def attempts(count: int, *, ago: float = 3600) -> Attempts:
    last = NOW - timedelta(seconds=ago)
    return Attempts(
        spec_digest=SERVICE.spec_digest, count=count, last_at=last, not_before=last + BACKOFF.max
    )


def ago(minutes: float, operation: str = "start") -> Acted:
    return Acted(NOW - timedelta(minutes=minutes), operation)


FROZEN = Freeze(start=NOW, end=NOW + timedelta(days=1), reason="end of year")
OTHER = service("other")
LIMITED = service(
    replicas=2,
    resources={"memory": "256Mi", "cpu": "0.5"},
    remediation={"limits": {"replicas": {"max": 4}, "memory": {"max": "1Gi"}, "cpu": {"max": 2}}},
)


class RecordingEngine:
    """Notes every call that reaches it."""

    def __init__(self) -> None:
        self.calls: list[OperationCall] = []

    def run(self, call: OperationCall, *, deadline: datetime | None) -> OperationOutcome:  # noqa: ARG002 - the protocol's
        self.calls.append(call)
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW)


def guarded(
    engine: RecordingEngine,
    *,
    now: datetime = NOW,
    paused: Callable[[str], str | None] = lambda _environment: None,
) -> GuardedInterface:
    return GuardedInterface(engine, REGISTRY, AGENT, now=lambda: now, paused=paused)
