"""A moment by which a call must have ended; every executor's requests are cut to it."""

from __future__ import annotations

import time

from infrastructure.errors import DeadlineExceededError

# A request needs some time even when the deadline is near; the contract allows one second.
_LEAST = 0.05


class Deadline:
    """A moment by which something must have ended."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, never negative."""
        return max(0.0, self._end - time.monotonic())

    def require(self, what: str) -> float:
        """Seconds for the next request, or DeadlineExceededError: it is not sent any more."""
        left = self.left
        if left <= 0:
            raise DeadlineExceededError(f"{what}: no time left")
        return max(left, _LEAST)

    def within(self, seconds: float) -> Deadline:
        """This deadline, or `seconds` from now if that is earlier."""
        return Deadline(min(self.left, seconds))

    def reserving(self, seconds: float) -> Deadline:
        """An earlier deadline: what follows it must still fit into this one."""
        return Deadline(max(0.0, self.left - seconds))
