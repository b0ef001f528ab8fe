"""The attempt that an intent counts, kept in the intent itself until its outcome is told.

A status is not written twice a run for that: with many targets its folder alone costs more
than all the rest. The attempt counts upon the very status file that it was made of; where
another writer has replaced that file, his word stands. Pure. Neighbours: `flows.report`
(writes), `flows.repository.memory` (reads).
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from flows.reporting.status import Attempts, PastIncident, TargetStatus
from infrastructure.service import Document

_BASE = 12  # characters of a blob's identity


class CountedAttempt(Document):
    """One target's attempt, and its history's newest entry.

    `base` names the status file that it counts upon; `kept` of its newest past incidents stay.
    """

    model_config = ConfigDict(extra="ignore")  # a newer UICI may have written more

    target: str
    base: str = Field(min_length=_BASE, max_length=_BASE)
    spec_digest: str
    attempts: Attempts | None = None
    past: PastIncident
    kept: int = Field(ge=0, le=1000)

    def stands_on(self, blob: str) -> bool:
        """Whether the status file is still the one that was counted upon."""
        return blob.startswith(self.base)

    def on(self, status: TargetStatus) -> TargetStatus:
        """The status with the attempt."""
        attempts = self.attempts
        if attempts is not None and status.attempts is not None:
            tried = {"tried": status.attempts.tried, "open_ended": status.attempts.open_ended}
            attempts = attempts.model_copy(update=tried)
        history = status.history[len(status.history) - self.kept :]
        changes = {
            "attempts": attempts or status.attempts,
            "spec_digest": self.spec_digest,
            "history": (*history, self.past),
        }
        return status.model_copy(update=changes)


def counted(before: TargetStatus, after: TargetStatus, blob: str) -> CountedAttempt | None:
    """What makes `after` of `before`. None: that takes more than an attempt tells.

    Args:
        before: as its file tells.
        after: with the attempt.
        blob: identity of that file.
    """
    if not after.history or not 0 < len(after.history) <= len(before.history) + 1:
        return None
    attempts = after.attempts
    if attempts is not None:
        attempts = attempts.model_copy(update={"tried": (), "open_ended": ()})
    made = CountedAttempt(
        target=after.target,
        base=blob[:_BASE],
        spec_digest=after.spec_digest,
        attempts=None if after.attempts == before.attempts else attempts,
        past=after.history[-1],
        kept=len(after.history) - 1,
    )
    return made if made.on(before) == after else None
