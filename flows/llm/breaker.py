"""A circuit breaker over runs: an endpoint that keeps failing is left alone for a while.

One small file beside the day's counters, for all processes of this machine. Closed: ask.
Open: don't, until `llm.circuitBreaker.openFor` has passed. Then one question is the trial
(half-open): its answer closes the breaker, its failure opens it anew; nobody else asks
meanwhile. A breaker is a courtesy and saves time; it is no limit: a file that can't be
read or written counts as closed. Neighbours: `flows.llm.client` asks it,
`uici doctor` shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import structlog
from pydantic import Field, ValidationError

from flows.llm.kept_file import locked, replace_file
from infrastructure.config_models import CircuitBreaker
from infrastructure.errors import TemporaryError
from infrastructure.service import Document

_log = structlog.get_logger("uici")


class BreakerState(StrEnum):
    """As people know them from circuit breakers."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class _Kept(Document):
    """`opened_at` None: closed. `trial_at`: when the question began that tries it."""

    endpoint: str
    failures: int = Field(ge=0)
    reason: str = ""
    opened_at: datetime | None = None
    trial_at: datetime | None = None


class EndpointBreaker:
    """A `flows.llm.client.Breaker` of one endpoint. Safe to use from several threads."""

    def __init__(
        self, path: Path, endpoint: str, settings: CircuitBreaker, now: Callable[[], datetime]
    ) -> None:
        """Touch nothing yet.

        Args:
            path: the JSON file; its folder is made when needed.
            endpoint: whose state it is; another endpoint's is not heeded.
            settings: when it opens, and for how long.
            now: aware time.
        """
        self._path = path
        self._endpoint = endpoint
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()

    def state(self) -> tuple[BreakerState, str]:
        """Where it stands, and why in words; changes nothing."""
        kept = self._read()
        if kept.opened_at is None:
            why = f"{kept.failures} failed so far: {kept.reason}" if kept.failures else ""
            return BreakerState.CLOSED, why
        if self._now() < kept.opened_at + self._settings.open_for:
            return BreakerState.OPEN, self._words(kept)
        return BreakerState.HALF_OPEN, f"the next question is a trial; last: {kept.reason}"

    def before_question(self) -> None:
        """See `flows.llm.client.Breaker`.

        Raises:
            TemporaryError: open, or another question is the trial.
        """
        if self._read().opened_at is not None:  # the usual case costs one small read
            self._change(self._tried)

    def answered(self) -> None:
        """Close it."""
        if self._read().failures:
            self._change(lambda _: _Kept(endpoint=self._endpoint, failures=0))
            _log.info("llm_breaker_closed", endpoint=self._endpoint)

    def failed(self, reason: str) -> None:
        """Count a failure; the last one that is allowed, or that of a trial, opens it."""

        def counted(kept: _Kept) -> _Kept:
            failures = kept.failures + 1
            opens = failures >= self._settings.failures or kept.opened_at is not None
            if opens:
                _log.warning("llm_breaker_opened", endpoint=self._endpoint, reason=reason)
            opened_at = self._now() if opens else None
            return _Kept(
                endpoint=self._endpoint, failures=failures, reason=reason, opened_at=opened_at
            )

        self._change(counted)

    def _tried(self, kept: _Kept) -> _Kept:
        now, open_for = self._now(), self._settings.open_for
        if kept.opened_at is None:
            return kept
        if now < kept.opened_at + open_for:
            raise TemporaryError(self._words(kept))
        # A trial whose process died must not keep everybody out for ever.
        if kept.trial_at and now < kept.trial_at + open_for:
            raise TemporaryError(
                f"the LLM endpoint is being tried again by one question: {kept.reason}"
            )
        _log.info("llm_breaker_trial", endpoint=self._endpoint)
        return kept.model_copy(update={"trial_at": now})

    def _words(self, kept: _Kept) -> str:
        assert kept.opened_at is not None  # noqa: S101 - narrows the type; callers have looked
        until = (kept.opened_at + self._settings.open_for).isoformat(timespec="seconds")
        return (
            f"the LLM endpoint is left alone until {until} after {kept.failures} failed "
            f"questions in a row: {kept.reason}"
        )

    def _read(self) -> _Kept:
        fresh = _Kept(endpoint=self._endpoint, failures=0)
        try:
            kept = _Kept.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return fresh
        moments = [moment for moment in (kept.opened_at, kept.trial_at) if moment]
        if any(moment.tzinfo is None or moment > self._now() for moment in moments):
            return fresh  # a clock that was set back must not keep it open for long
        return kept if kept.endpoint == self._endpoint else fresh

    def _change(self, change: Callable[[_Kept], _Kept]) -> None:
        """Read, change and write, with everybody else outside."""
        with self._lock:
            try:
                with locked(self._path):
                    kept = change(self._read())
                    replace_file(self._path, kept.model_dump_json(by_alias=True) + "\n")
            except OSError as exc:
                _log.warning("llm_breaker_not_kept", file=str(self._path), error=str(exc))
