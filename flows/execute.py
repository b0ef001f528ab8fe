"""Stage 5, execute: run the allowed steps of a plan, in order, through the guard.

A failed step ends its plan: the later ones are SKIPPED. Next stage: verify.
"""

from __future__ import annotations

from dataclasses import dataclass

from infrastructure.operations import OperationOutcome


@dataclass(frozen=True, slots=True)
class Execution:
    """What was done about one incident. Empty `outcomes`: nothing was allowed to run."""

    fingerprint: str
    outcomes: tuple[OperationOutcome, ...]
