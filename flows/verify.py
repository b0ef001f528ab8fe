"""Stage 6, verify: did the service really recover?

Looks again, at the incident's targets only, until everything that must hold holds or
the deadline is reached. Unknown is never success. Next stage: report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """Result of one check."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    PENDING = "pending"  # its next sample is not due yet, and it need not hold now


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `name`: engine, effect, probe, metric/<n>, alert/<n>."""

    target: str
    name: str
    state: CheckState
    detail: str


class VerificationResult(StrEnum):
    """The end of it."""

    RECOVERED = "recovered"
    NOT_RECOVERED = "not_recovered"
    UNKNOWN = "unknown"  # what should tell did not answer
    NOT_RUN = "not_run"  # nothing was executed


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict about one incident, with the last state of each check."""

    fingerprint: str
    result: VerificationResult
    checks: tuple[Check, ...]
    seconds: float
