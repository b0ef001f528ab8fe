"""Since when a difference has been seen: the memory behind grace periods.

The engine dates a stop and Alertmanager an alert; that a container is missing or a probe
fails nobody dates. So the agent notes when it first saw it, in its data directory and not
in Git, where every transient would be two commits (docs/adr/0010). The file may be
deleted: grace periods then begin anew. Neighbours: `flows.compare` reads the moments,
`flows.reconcile` has them noted.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from flows.compare import Comparison
from flows.comparison.drift import HealthStatus
from flows.comparison.target_judgement import UNDATED
from infrastructure.config_models import GraceSettings

_log = structlog.get_logger("uici")

_FILE = "first-seen.json"
_SKEW = timedelta(minutes=1)  # a moment so far ahead was noted while the clock was wrong


class FirstSeen:
    """The memory. Read and written by one run at a time."""

    def __init__(self, data_directory: Path, grace: GraceSettings) -> None:
        """Touch nothing yet.

        Args:
            data_directory: of the agent.
            grace: without a grace period that needs it, nothing is kept.
        """
        self._path = data_directory / _FILE
        self._needed = bool(grace.missing or grace.unhealthy)

    def read(self, now: datetime) -> Mapping[str, datetime]:
        """`Drift.key` → when it was first seen. What can't be read counts as never seen.

        So does what lies ahead of `now`, by a clock that was set back since or by whoever wrote
        the file: its grace would never end.
        """
        if not self._needed:
            return {}
        try:
            kept = json.loads(self._path.read_bytes())
            moments = {str(key): datetime.fromisoformat(at) for key, at in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            _log.warning("first_seen_not_read", file=str(self._path), error=str(exc))
            return {}
        dated = {key: at for key, at in moments.items() if at.tzinfo is not None}
        past = {key: at for key, at in dated.items() if at <= now + _SKEW}
        if len(past) < len(dated):
            ahead = sorted(dated.keys() - past.keys())
            _log.warning("first_seen_in_the_future", file=str(self._path), drifts=ahead[:5])
        return past

    def note(self, seen: Comparison, *, declared: Collection[str], now: datetime) -> None:
        """Keep what is still seen, begin what is new, forget what has gone.

        A target that this run did not look at, or could not, stays as it was noted; one
        that Git no longer declares is forgotten, and begins anew if it comes back.

        Args:
            seen: this run's comparison.
            declared: every target of desired state, looked at or not.
            now: with time zone.
        """
        if not self._needed:
            self._forget()
            return
        before = self.read(now)
        looked = {t for t, s in seen.states.items() if s.health is not HealthStatus.UNKNOWN}
        kept = set(declared) - looked
        after = {key: at for key, at in before.items() if key.partition(" ")[0] in kept}
        for drift in (*seen.drifts, *seen.pending):
            if drift.since is None and drift.kind in UNDATED:
                after[drift.key] = before.get(drift.key, now)
        if after != before:
            self._write(after)

    def _forget(self) -> None:
        """Grace periods were switched off: old moments must not count when they come back."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as exc:
            _log.warning("first_seen_not_forgotten", file=str(self._path), error=str(exc))

    def _write(self, moments: Mapping[str, datetime]) -> None:
        text = json.dumps({key: at.isoformat() for key, at in sorted(moments.items())})
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{_FILE}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as exc:  # its grace periods begin anew until it can be written
            _log.warning("first_seen_not_kept", file=str(self._path), error=str(exc))
