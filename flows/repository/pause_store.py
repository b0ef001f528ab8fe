"""The pauses that stand on the reports branch, as `uici pause` and `uici resume` change them.

Made by `flows.git_state`, which commits to the reports branch; `flows.repository.pause_merge`
brings together what others have written meanwhile. Pauses that desired state declares are
changed in desired state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from flows.report import Files, Redactor
from flows.reporting.as_json import json_bytes
from flows.reporting.own_data import own_data
from flows.reporting.status import Reported
from flows.repository.contract import CommitResult, NewTip
from infrastructure.pause import PAUSE_PATH, Pause, pauses_data

_IDS = frozenset({"apiVersion", "kind", "environments"})  # the rest is people's words

Make = Callable[[Reported], tuple[Files, str]]


class OnWhatStands(Protocol):
    """Commits what is made of what the branch tells at that very commit; None: no change."""

    def __call__(self, make: Make, at: datetime) -> tuple[NewTip, CommitResult] | None:
        """Raises TemporaryError or PermanentError if it can't be written."""
        ...


class PauseStore:
    """See the module. What is written raises TemporaryError or PermanentError if it can't be."""

    def __init__(self, commit: OnWhatStands, *, redactor: Redactor) -> None:
        self._commit = commit
        self._redactor = redactor

    def pause(self, pause: Pause, now: datetime) -> CommitResult | None:
        """Write a pause beside those that stand there. None: the same stands there already."""
        message = self._redactor.text(f"pause: {pause.reason}\n")

        def make(before: Reported) -> tuple[Files, str]:
            held = [each.pause for each in before.pauses if not each.over(now)]
            return ({} if pause in held else self._file([*held, pause])), message

        return self._written(make, now)

    def resume(
        self, now: datetime, seen: Collection[Pause], left: Sequence[Pause] = ()
    ) -> CommitResult | None:
        """Take away the pauses that a person has seen. None: none of them is there.

        Args:
            now: with time zone.
            seen: those; what somebody else has begun since stays.
            left: what holds in their place.
        """
        message = "resume: a pause is over in part\n" if left else "resume: the pause is over\n"

        def make(before: Reported) -> tuple[Files, str]:
            if not any(each.pause in seen for each in before.pauses):
                return {}, message
            kept = [p.pause for p in before.pauses if p.pause not in seen and not p.over(now)]
            return self._file([*left, *kept]), message

        return self._written(make, now)

    def _written(self, make: Make, now: datetime) -> CommitResult | None:
        done = self._commit(make, now)
        return None if done is None else done[1]

    def _file(self, pauses: Sequence[Pause]) -> Files:
        if not pauses:
            return {PAUSE_PATH: None}
        redact = own_data(self._redactor.data, _IDS)
        return {PAUSE_PATH: json_bytes(pauses_data(pauses), redact, indent=1)}
