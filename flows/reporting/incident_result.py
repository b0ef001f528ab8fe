"""How an incident ends: the words of reports, statuses and histories. One type only.

Apart from `flows.reporting.values` because what plans reads it from the statuses, too.
"""

from __future__ import annotations

from enum import StrEnum


class IncidentResult(StrEnum):
    """How an incident stands at the end of the run."""

    RECOVERED = "recovered"
    FAILED = "failed"  # tried and not recovered; tried again after its back-off
    WAITING = "waiting"  # a person has to approve, or a back-off or window has to pass
    HELD = "held"  # suspended, silenced, observe mode, breaker, budget of the run spent
    ESCALATED = "escalated"  # a person has to act
    UNKNOWN = "unknown"  # an operation's or verification's result was never seen
    NOTHING_TO_DO = "nothing_to_do"  # the model says that it works as declared: left alone
    INTERRUPTED = "interrupted"  # of a past incident: its run ended before it could tell
