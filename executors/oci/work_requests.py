"""Waiting: for a work request, for a lifecycle state.

A change in Oracle Cloud is accepted first and done later. Where the answer names a work
request, that is awaited; where it does not (power actions), the state itself is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import TypeVar

from pydantic.dataclasses import dataclass

from executors.deadline import Deadline
from executors.oci.answers import CAMEL, Resource, WorkRequest
from executors.oci.errors import REMEDY
from executors.oci.session import BudgetSpentError, Cloud, Request, fetch, pages
from executors.oci.settings import Api
from infrastructure.errors import (
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UiciError,
)

R = TypeVar("R", bound=Resource)
T = TypeVar("T")

# So many looks in a row find all of them up: then the restart is over, seen or not.
_QUIET_LOOKS = 5
_REMEDY = "nothing to do by hand: the next run observes and goes on from there"


@dataclass(frozen=True, slots=True, kw_only=True, config=CAMEL)
class WorkRequestError:
    """Why some work failed."""

    code: str = ""
    message: str = ""


class Before(Enum):
    """What went before the waiting: what an error then means."""

    CHANGE = "change"  # accepted by the service: an error leaves open what became of it
    NOTHING = "nothing"


class Waiting:
    """How one call waits. `interval`: seconds between two looks."""

    def __init__(
        self, cloud: Cloud, deadline: Deadline, interval: float, before: Before = Before.CHANGE
    ) -> None:
        self.cloud = cloud
        self.deadline = deadline
        self._interval = interval
        self._before = before

    def for_work(self, api: Api, work_request: str, *, what: str) -> None:
        """Until the work is done.

        Raises:
            PermanentError: it failed; the service's own words.
            ConflictError: it was cancelled.
            OutcomeUnknownError: not done in time, or it can't be looked at.
        """
        request = Request(
            api, "get_work_request", (work_request,), what=f"{what}: ask for its work request"
        )
        while True:
            found = self._look(lambda: fetch(self.cloud, request, WorkRequest, self.deadline), what)
            if found is not None and found.status == "SUCCEEDED":
                return
            if found is not None and found.status == "FAILED":
                raise PermanentError(f"{what}: {self._why(api, work_request)}")
            if found is not None and found.status == "CANCELED":
                raise ConflictError(f"{what}: somebody cancelled it")
            share = f"{found.percent_complete or 0:.0f} % done" if found else "not told"
            self._pause(f"{what}: accepted, but {share} in time")

    def for_state(
        self,
        get: Callable[[], R],
        wanted: Collection[str],
        *,
        what: str,
        failed: Collection[str] = (),
    ) -> R:
        """Until it has one of the states.

        Args:
            get: looks at it.
            wanted: the states to wait for.
            what: for messages.
            failed: states out of which nothing comes.

        Raises:
            PermanentError: it came to one of `failed`.
            OutcomeUnknownError: not there in time, or it can't be looked at.
        """
        state = "not told"
        while True:
            found = self._look(get, what)
            if found is not None:
                state = found.lifecycle_state
                if state in failed:
                    raise PermanentError(f"{what}: it is {state}")
                if state in wanted:
                    return found
            self._pause(f"{what}: accepted, but it is {state} when time is over")

    def for_restart(
        self,
        states: Callable[[], Mapping[str, str]],
        wanted: Collection[str],
        *,
        what: str,
        failed: Collection[str] = (),
        begun: bool = False,
    ) -> None:
        """Until all of them are up again after a reset, which ends in the state it began in.

        Each was seen down in between, or all have been up for a while: a quick restart may
        fall between two looks.

        Args:
            states: asks for id → state of all of them, at once.
            wanted: the states of what is up.
            what: for messages.
            failed: states out of which nothing comes.
            begun: whether it is known to have begun: then what is up is up again.

        Raises:
            PermanentError: one came to one of `failed`.
            OutcomeUnknownError: not all up in time, or they can't be looked at.
        """
        seen_down: set[str] = set()
        quiet = 0
        while True:
            found = self._look(states, what)
            down = [] if found is None else [i for i, s in found.items() if s not in wanted]
            if found is not None:
                broken = sorted({s for s in found.values() if s in failed})
                if broken:
                    raise PermanentError(f"{what}: it is {broken[0]}")
                seen_down.update(down)
                quiet = 0 if down else quiet + 1
                if not down and (begun or seen_down >= found.keys() or quiet >= _QUIET_LOOKS):
                    return
            told = f"{len(down)} of {len(found)} are not up" if found else "its state is not told"
            self._pause(f"{what}: accepted, but {told} when time is over")

    def for_absence(self, get: Callable[[], Resource], gone: Collection[str], *, what: str) -> None:
        """Until it is gone, or as good as.

        Raises:
            OutcomeUnknownError: not gone in time.
        """
        while True:
            try:
                found = self._look(_or_gone(get), what)
            except _GoneError:
                return
            if found is not None and found.lifecycle_state in gone:
                return
            self._pause(f"{what}: accepted, but it is still there when time is over")

    def _look(self, get: Callable[[], T], what: str) -> T | None:
        """One look; what is temporary about it is no reason to stop waiting.

        Raises:
            OutcomeUnknownError: after a change, it can't be looked at, now or ever.
            PermanentError: it can't be looked at, and nothing was changed.
        """
        try:
            return get()
        except BudgetSpentError as exc:
            raise OutcomeUnknownError(f"{what}: accepted, but {exc}", remedy=_REMEDY) from exc
        except TemporaryError:
            return None
        except PermanentError as exc:
            if self._before is Before.NOTHING:
                raise
            raise OutcomeUnknownError(f"{what}: accepted, but {exc}", remedy=REMEDY) from exc

    def _pause(self, message: str) -> None:
        if self.deadline.left <= self._interval:
            raise OutcomeUnknownError(message, remedy=_REMEDY)
        time.sleep(self._interval)

    def _why(self, api: Api, work_request: str) -> str:
        request = Request(
            api, "list_work_request_errors", (work_request,), what="ask why it failed"
        )
        try:
            found = [e.message for e in pages(self.cloud, request, WorkRequestError, self.deadline)]
        except UiciError:  # that it failed is known all the same
            found = []
        return "; ".join(" ".join(m.split())[:300] for m in found) or "its work request failed"


class _GoneError(Exception):
    """It is not found: what is waited for. Never leaves this module."""


def _or_gone(get: Callable[[], T]) -> Callable[[], T]:
    def look() -> T:
        try:
            return get()
        except NotFoundError as exc:
            raise _GoneError from exc

    return look
