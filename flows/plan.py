"""Stage 3, plan: an incident and its evidence → a Plan of universal operations.

Order: learned → LLM → runbook. A plan is data; it has no power. Next stage: guard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from flows.comparison.drift import Incident
from infrastructure.observed import empty
from infrastructure.operations import OperationCall


class PlannerKind(StrEnum):
    """Who made the plan."""

    LEARNED = "learned"
    LLM = "llm"
    RUNBOOK = "runbook"
    PERSON = "person"  # asked for by hand: uici run
    NONE = "none"  # nobody had a plan: a person must look


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One operation to run, and why."""

    operation: str
    target: str
    parameters: Mapping[str, Any]
    why: str
    expected_effect: str = ""

    @property
    def call(self) -> OperationCall:
        """The step as the universal interface takes it."""
        return OperationCall(self.operation, self.target, self.parameters)


@dataclass(frozen=True, slots=True)
class LlmUsage:
    """What the asking cost. Dollars by the prices in platform.yml, None if unpriced."""

    model: str
    endpoint: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    dollars: float | None
    seconds: float
    prompt_version: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be done about one incident.

    `planner_reason` says why this planner and not the one before it in the order.
    """

    fingerprint: str
    planner: PlannerKind
    planner_reason: str
    diagnosis: str
    confidence: float
    evidence: tuple[str, ...]
    steps: tuple[PlanStep, ...]
    rollback: tuple[PlanStep, ...] = ()
    usage: LlmUsage | None = None
    runbook: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over what would be done: approvals and commits are bound to it."""
        steps = [[s.operation, s.target, dict(s.parameters)] for s in self.steps]
        text = json.dumps([self.fingerprint, steps], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Facts that were collected for an incident, already redacted.

    `patterns` are names of matched error patterns (runbooks.yml).
    """

    logs: Mapping[str, str] = field(default_factory=empty)  # target → text
    patterns: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


class Planner(Protocol):
    """Makes a plan, or says why it has none.

    Never raises for what the outside did: a planner that fails returns its reason.
    """

    kind: PlannerKind

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | str:
        """A Plan, or the reason why this planner has none (one line)."""
        ...
