"""A small world for dossiers: two services that need each other, and answers of their engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flows.comparison.drift import Drift, Incident
from flows.dossier import collect_evidence
from flows.observe import EnvironmentObservation, Observation
from flows.plan import Evidence
from infrastructure.config_models import EvidenceSettings
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import EngineSnapshot, ObservedInstance, ObservedService
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.redaction import Redactor
from tests.unit.operations import shipped
from tests.unit.operations.recorded_engine import instance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = shipped.service(
    "shop",
    dependsOn=["db"],
    resources={"memory": "256Mi"},
    alerts=[{"matchers": {"service": "shop"}}],
)
DB = shipped.service("db")
WEB = shipped.service("web", dependsOn=["shop"])
SERVICES = {service.target: service for service in (SHOP, DB, WEB)}
INCIDENT = Incident(
    "f" * 16,
    "local",
    SHOP.target,
    (SHOP.target, WEB.target),
    (Drift(SHOP.target, DriftKind.STOPPED),),
)
SECRET = "hunter2-secret"
REDACTOR = Redactor(
    [*shipped.document("platform.yml")["secrets"]["redactPatterns"], r"sk-[A-Za-z0-9]{8,}"],
    [SECRET],
)


def limits(**changes: Any) -> EvidenceSettings:
    """The shipped limits with changes."""
    shipped_limits = EvidenceSettings.model_validate(
        shipped.document("platform.yml")["evidence"], strict=False
    )
    return shipped_limits.model_copy(update={"max_tokens": 20_000, **changes})


class Engine:
    """What read-only operations answer, by operation and target; all else gives nothing."""

    def __init__(self, outputs: Mapping[tuple[str, str], Any], *, error: str = "") -> None:
        self.outputs = outputs
        self.error = error
        self.calls: list[OperationCall] = []
        self.at_once = 0
        self._now = 0
        self._guard = threading.Lock()

    def __call__(self, call: OperationCall) -> OperationOutcome:
        with self._guard:
            self.calls.append(call)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(0.001)
        with self._guard:
            self._now -= 1
        if self.error:
            return OperationOutcome(call, OutcomeStatus.FAILED, NOW, NOW, error=self.error)
        output = self.outputs.get((call.operation, call.target))
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW, output=output)


def seen(
    instances: Mapping[str, tuple[ObservedInstance, ...]] | None, **fields: Any
) -> Observation:
    """An observation of `local`; None: its engine did not answer."""
    engine = None
    if instances is not None:
        services = {target: ObservedService(target, of) for target, of in instances.items()}
        engine = EngineSnapshot("local", services)
    return Observation(NOW, {"local": EnvironmentObservation("local", engine, **fields)})


RUNNING = seen({SHOP.target: (instance("shop-1"),), WEB.target: (), DB.target: ()})


def collect(logs: Any = "", **given: Any) -> Evidence:
    """The dossier where the root's log is `logs`, or what an `Engine` gives."""
    engine = logs if isinstance(logs, Engine) else Engine({("get_logs", SHOP.target): logs})
    arguments: dict[str, Any] = {
        "services": SERVICES,
        "observation": RUNNING,
        "run_read": engine,
        "patterns": shipped.runbooks().patterns,
        "redactor": REDACTOR,
        "limits": limits(),
        **given,
    }
    return collect_evidence(arguments.pop("incident", INCIDENT), **arguments)
