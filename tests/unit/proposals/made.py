"""Services, histories and settings for tests of proposals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flows.proposals.cause import Cause, Memory, find_causes
from flows.reporting.status import PastIncident, Step, TargetStatus
from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models import ProposalSettings
from infrastructure.service import Service

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TARGET = "local-docker/shop"
PATTERNS = {
    "out-of-memory": CauseKind.OUT_OF_MEMORY,
    "connection-refused": CauseKind.DEPENDENCY_DOWN,
    "too-busy": CauseKind.OVERLOADED,
}


def service(name: str = "shop", **spec: Any) -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": "local-docker"},
            "spec": {"image": "shop:2.0", "resources": {"memory": "256Mi"}, **spec},
        }
    )


def settings(**changes: Any) -> ProposalSettings:
    values: dict[str, Any] = {
        "agent": "coding-ai-agent",
        "enabled": True,
        "recurrences": 3,
        "within": "24h",
        "headroom": 1.25,
        "limits": {"memory": "4Gi", "replicas": 10},
        "branchPrefix": "uici/propose/",
        "forge": None,
    }
    return ProposalSettings.model_validate({**values, **changes})


def incident(spec_digest: str, *, hours_ago: float = 1, **changes: Any) -> PastIncident:
    values: dict[str, Any] = {
        "at": NOW - timedelta(hours=hours_ago),
        "run_id": f"run-{hours_ago:g}",
        "spec_digest": spec_digest,
        "incident_class": "stopped-out-of-memory",
        "kinds": ("Stopped",),
        "patterns": ("out-of-memory",),
        "planner": "runbook",
        "steps": (Step(operation="start", parameters={}),),
        "result": "recovered",
        "seconds": 4.0,
    }
    return PastIncident(**{**values, **changes})


def status(*history: PastIncident, target: str = TARGET, **changes: Any) -> TargetStatus:
    values: dict[str, Any] = {
        "target": target,
        "observed_revision": "main@sha1:" + "0" * 40,
        "spec_digest": history[-1].spec_digest if history else "",
        "sync": "Synced",
        "health": "Healthy",
        "conditions": (),
        "history": history,
    }
    return TargetStatus(**{**values, **changes})


def memory(declared: Service, *history: PastIncident, **changes: Any) -> Memory:
    values: dict[str, Any] = {
        "services": {declared.target: declared},
        "statuses": {declared.target: status(*history, target=declared.target)},
        "pattern_causes": PATTERNS,
        "is_protected": lambda name: name == "uici-agent",
    }
    return Memory(**{**values, **changes})


def thrice(declared: Service, **changes: Any) -> tuple[PastIncident, ...]:
    return tuple(incident(declared.spec_digest, hours_ago=h, **changes) for h in (5, 3, 1))


def cause_of(declared: Service, **changes: Any) -> Cause:
    (found,) = find_causes(memory(declared, *thrice(declared, **changes)), settings(), NOW)
    return found
