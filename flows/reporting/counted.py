"""The attempt that an intent counts, kept in the intent itself until its outcome is told.

A status is not written twice a run for that: with many targets its folder alone costs more
than all the rest. The attempt counts upon the status that stands, however its file is
written, unless that one tells of the attempt itself or of what came after it. Pure.
Neighbours: `flows.report` (writes), `flows.repository.memory` (reads).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pydantic import ConfigDict, Field

from flows.reporting.status import Attempts, PastIncident, TargetStatus
from infrastructure.service import Document

_BASE = 12  # characters of a blob's identity


class CountedAttempt(Document):
    """One target's attempt, and its history's newest entry.

    `base` names the status file that it was made of, by which older versions know what it
    counts upon; `kept` of its newest past incidents stay.
    """

    model_config = ConfigDict(extra="ignore")  # a newer UICI may have written more

    target: str
    base: str = Field(min_length=_BASE, max_length=_BASE)
    spec_digest: str
    attempts: Attempts | None = None
    past: PastIncident
    kept: int = Field(ge=0, le=1000)

    def told_by(self, status: TargetStatus) -> bool:
        """Whether a status knows of this attempt, or of a recovery that came after it."""
        run, at, last = self.past.run_id, self.past.at, status.last_incident
        if last is not None and last.run_id == run and last.at >= at:
            return True
        if any(past.run_id == run and past.at >= at for past in status.history):
            return True
        if len(status.history) > self.kept and status.history[0].at > at:
            return True  # newer ones have driven it out
        return status.last_well is not None and status.last_well > at

    def on(self, status: TargetStatus) -> TargetStatus:
        """The status with the attempt."""
        attempts = _later(self.attempts, status.attempts)
        kept = status.history[max(0, len(status.history) - self.kept) :]
        changes: dict[str, object] = {
            "attempts": attempts,
            "history": tuple(sorted((*kept, self.past), key=lambda past: past.at)),
        }
        if attempts is None or attempts.spec_digest == self.spec_digest:
            changes |= status.of_spec(self.spec_digest)
        return status.model_copy(update=changes)


def _later(ours: Attempts | None, theirs: Attempts | None) -> Attempts | None:
    """Both tell of attempts on a target: on one spec the higher count, else the newer one."""
    if ours is None or theirs is None:
        return ours or theirs
    if ours.spec_digest != theirs.spec_digest:
        return max(theirs, ours, key=lambda attempts: attempts.last_at)
    changes = {
        "count": max(ours.count, theirs.count),
        "last_at": max(ours.last_at, theirs.last_at),
        "not_before": max(ours.not_before, theirs.not_before),
    }
    return theirs.model_copy(update=changes)


def without(intent: bytes, roots: Collection[str]) -> dict[str, Any] | None:
    """An intent without the incidents of these roots, nor what it counts of them.

    None: it is no intent, or tells of none of them.
    """
    try:
        data = json.loads(intent)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    left = dict(data)
    for key, name in (("incidents", "root"), ("counted", "target")):
        told = data.get(key)
        if isinstance(told, list):
            left[key] = [e for e in told if not (isinstance(e, dict) and e.get(name) in roots)]
    return left if left != data else None


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
    # Where another's clock is ahead, what stands may look like what came later.
    return made if made.on(before) == after and not made.told_by(before) else None
