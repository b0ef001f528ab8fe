"""Waiting: for a work request, for a lifecycle state.

A change in Oracle Cloud is accepted first and done later. Where the answer names a work
request, that is awaited; where it does not (power actions), the state itself is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from executors.oci.answers import Answer, Resource, WorkRequest
from executors.oci.session import BudgetSpentError, Cloud, Deadline, Request, fetch, pages
from executors.oci.settings import Api
from infrastructure.errors import (
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
)

R = TypeVar("R", bound=Resource)
A = TypeVar("A", bound=Answer)

_REMEDY = "nothing to do by hand: the next run observes and goes on from there"


class WorkRequestError(Answer):
    """Why some work failed."""

    code: str = ""
    message: str = ""


class Waiting:
    """How one call waits. `interval`: seconds between two looks."""

    def __init__(self, cloud: Cloud, deadline: Deadline, interval: float) -> None:
        self.cloud = cloud
        self.deadline = deadline
        self._interval = interval

    def for_work(self, api: Api, work_request: str, *, what: str) -> None:
        """Until the work is done.

        Raises:
            PermanentError: it failed; the service's own words.
            ConflictError: it was cancelled.
            OutcomeUnknownError: not done in time.
        """
        request = Request(
            api, "get_work_request", (work_request,), what=f"{what}: ask for its work request"
        )
        while True:
            found = _look(lambda: fetch(self.cloud, request, WorkRequest, self.deadline), what)
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
        leaving: bool = False,
    ) -> R:
        """Until it has one of the states.

        Args:
            get: looks at it.
            wanted: the states to wait for.
            what: for messages.
            failed: states out of which nothing comes.
            leaving: whether it has to be seen in another state first (a reset ends where it
                began).

        Raises:
            PermanentError: it came to one of `failed`.
            OutcomeUnknownError: not there in time.
        """
        left = not leaving
        state = "not told"
        while True:
            found = _look(get, what)
            if found is not None:
                state = found.lifecycle_state
                if state in failed:
                    raise PermanentError(f"{what}: it is {state}")
                if state in wanted and left:
                    return found
                left = left or state not in wanted
            self._pause(f"{what}: accepted, but it is {state} when time is over")

    def for_absence(self, get: Callable[[], Resource], gone: Collection[str], *, what: str) -> None:
        """Until it is gone, or as good as.

        Raises:
            OutcomeUnknownError: not gone in time.
        """
        while True:
            try:
                found = _look(get, what)
            except NotFoundError:
                return
            if found is not None and found.lifecycle_state in gone:
                return
            self._pause(f"{what}: accepted, but it is still there when time is over")

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
        except TemporaryError:
            found = []
        return "; ".join(" ".join(m.split())[:300] for m in found) or "its work request failed"


def _look(get: Callable[[], A], what: str) -> A | None:
    """One look; what is temporary about it is no reason to stop waiting."""
    try:
        return get()
    except BudgetSpentError as exc:
        raise OutcomeUnknownError(f"{what}: accepted, but {exc}", remedy=_REMEDY) from exc
    except TemporaryError:
        return None
