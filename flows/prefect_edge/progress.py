"""How far a run's operations are, as Prefect's progress artifact. Pure, but for a lock.

Begun when the intent is in Git, so that a run that does nothing shows none. Incidents are
worked on side by side: it is told of from several threads. Neighbour:
`flows.prefect_edge.listener`, which sends each state.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

PROGRESS_KEY = "uici-progress"


@dataclass(frozen=True, slots=True)
class Shown:
    """`percent` of 0 to 100, and what happens now, in a line."""

    percent: float
    words: str


@dataclass(slots=True)
class Progress:
    """Steps that are allowed, and a look at each incident's world after them."""

    _steps: dict[str, int] = field(default_factory=dict)  # incident → allowed steps
    _done: dict[str, int] = field(default_factory=dict)  # incident → ended steps
    _verified: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def judged(self, incident: str, allowed: int) -> None:
        """So many steps of this incident may be done."""
        with self._lock:
            if allowed:
                self._steps[incident] = allowed

    def begun(self) -> Shown | None:
        """Before the first operation; None: nothing may be done."""
        with self._lock:
            return self._shown("operations begin") if self._steps else None

    def operation(self, incident: str, words: str, *, ended: bool) -> Shown:
        """One operation has begun, or ended."""
        with self._lock:
            if ended:
                self._done[incident] = self._done.get(incident, 0) + 1
            return self._shown(words)

    def verified(self, incident: str, words: str) -> Shown:
        """An incident's world was looked at again."""
        with self._lock:
            self._verified.add(incident)
            return self._shown(words)

    @staticmethod
    def ended(words: str) -> Shown:
        """Nothing more is done, whatever was."""
        return Shown(100.0, words)

    def _shown(self, words: str) -> Shown:
        # What people are told with runs beside the plan: more may end than were allowed.
        done = sum(min(self._done.get(name, 0), count) for name, count in self._steps.items())
        done += len(self._verified & self._steps.keys())
        total = sum(self._steps.values()) + len(self._steps)
        return Shown(round(100 * done / total, 1) if total else 0.0, words)
