"""Universal operations as values: what is asked, how it is done, what came of it.

operations.yml declares an operation → `OperationCall` asks for it on a target → the
translator turns it into `PrimitiveCall`s of the environment → the executor answers
with a `PrimitiveResult` each → together they are an `OperationOutcome`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from infrastructure.observed import empty

# Name of the alert by which UICI tells people. Made by escalate_to_human, and never taken
# for a fault when it is read back from Alertmanager.
ESCALATION_ALERT = "UICIEscalation"


class Risk(StrEnum):
    """How much an operation can hurt. Declared for each operation, never guessed."""

    READ = "read"
    LOW = "low"
    HIGH = "high"
    DESTRUCTIVE = "destructive"

    @property
    def rank(self) -> int:
        """0 (read) … 3 (destructive): for comparing."""
        return list(Risk).index(self)


class Effect(StrEnum):
    """What an operation promises; `flows.verify` checks it against the engine."""

    NONE = "none"
    RUNNING = "running"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    SPEC_APPLIED = "spec_applied"
    SCALED = "scaled"
    PAUSED = "paused"
    NOTIFIED = "notified"


@dataclass(frozen=True, slots=True)
class OperationCall:
    """One operation on one target, with validated parameters."""

    operation: str
    target: str
    parameters: Mapping[str, Any] = field(default_factory=empty)

    @property
    def digest(self) -> str:
        """Identity of the call: a verdict is bound to it."""
        text = json.dumps([self.operation, self.target, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PrimitiveCall:
    """One call of an executor's primitive.

    `instance` is the NativeObject id it is limited to; None: the whole target.
    """

    primitive: str
    arguments: Mapping[str, Any] = field(default_factory=empty)
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class PrimitiveResult:
    """What a primitive did. `output` is JSON-able data for reads, empty for most writes.

    `changed` False: the world already was as asked. `native_ids` are the engine objects
    that were touched, for the audit.
    """

    changed: bool
    native_ids: tuple[str, ...] = ()
    output: Any = None


class OutcomeStatus(StrEnum):
    """How an operation ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"  # a change was sent, its result was never seen
    SKIPPED = "skipped"  # an earlier step of the same plan did not succeed


@dataclass(frozen=True, slots=True)
class OperationOutcome:
    """The end of one operation. Never an exception: failures are data for the report.

    `permanent`: it failed, and the same call will fail again until somebody changes something.
    """

    call: OperationCall
    status: OutcomeStatus
    started_at: datetime
    finished_at: datetime
    changed: bool = False
    native_ids: tuple[str, ...] = ()
    output: Any = field(default=None, repr=False)
    error: str = ""
    remedy: str = ""
    permanent: bool = False

    @property
    def seconds(self) -> float:
        """Wall time."""
        return (self.finished_at - self.started_at).total_seconds()
