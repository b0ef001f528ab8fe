"""The pauses that stand on the reports branch, as `uici pause` and `uici resume` change them.

Made by `flows.git_state`, which mends a damaged clone and commits to the reports branch.
Pauses that desired state declares are changed in desired state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from flows.report import Redactor
from flows.reporting.as_json import json_bytes
from flows.reporting.own_data import own_data
from flows.reporting.status import Reported
from flows.repository.contract import CommitFiles, CommitResult, Repository
from flows.repository.memory import read_memory
from infrastructure.config_models import GitSettings
from infrastructure.pause import PAUSE_PATH, Pause, pauses_data

_IDS = frozenset({"apiVersion", "kind", "environments"})  # the rest is people's words


class PauseStore:
    """See the module. What is written raises TemporaryError or PermanentError if it can't be."""

    def __init__(
        self,
        repository: Repository,
        settings: GitSettings,
        commit: CommitFiles,
        *,
        reported: Callable[[], Reported],
        redactor: Redactor,
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._commit = commit
        self._reported = reported
        self._redactor = redactor

    def pause(self, pause: Pause, now: datetime) -> CommitResult | None:
        """Write a pause beside those that stand there. None: the same stands there already."""
        before = [p.pause for p in self._reported().pauses if not p.over(now)]
        if pause in before:
            return None
        message = f"pause: {pause.reason}\n"
        done = self._hold((*before, pause), message, now)
        beside = self._paused_before(done, now) if done is not None else []
        missed = [other for other in beside if other not in before]
        if not missed:
            return done
        # Somebody else paused at the same moment, and ours has come on top of it.
        return self._hold((*before, *missed, pause), message, now) or done

    def resume(self, now: datetime, left: Sequence[Pause] = ()) -> CommitResult | None:
        """Take the pauses away, but for these. None: there is none."""
        if not self._reported().pauses:
            return None
        if left:
            return self._hold(left, "resume: a pause is over in part\n", now)
        return self._commit({PAUSE_PATH: None}, "resume: the pause is over\n", now)

    def _paused_before(self, commit: CommitResult, now: datetime) -> list[Pause]:
        listing = self._repository.tree(f"{commit.sha}^", (PAUSE_PATH,))
        found = read_memory(listing, self._repository, self._settings.max_file_bytes)
        return [p.pause for p in found.pauses if not p.over(now)]

    def _hold(self, pauses: Sequence[Pause], message: str, now: datetime) -> CommitResult | None:
        redact = own_data(self._redactor.data, _IDS)
        content = json_bytes(pauses_data(pauses), redact, indent=1)
        return self._commit({PAUSE_PATH: content}, self._redactor.text(message), now)
