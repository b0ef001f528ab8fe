"""Stage 4, guard: which steps of a plan may run. Deterministic, deny by default.

`judge` is pure. `GuardedInterface` wraps the universal interface: nothing that changes
the world reaches an executor without a verdict from here. Next stage: execute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flows.plan import PlanStep


class Decision(StrEnum):
    """Three answers; everything that is not ALLOWED reaches no engine."""

    ALLOWED = "allowed"
    NEEDS_APPROVAL = "needs_approval"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one step. `rule` is a stable kebab-case name, `reason` a sentence."""

    step: PlanStep
    decision: Decision
    rule: str
    reason: str
