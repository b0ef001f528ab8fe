"""Reports past `git.retention.reports`, which a commit that is due anyway takes away.

Used by `flows.git_state`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from flows.reporting.pages.index import DAY_DEPTH
from flows.reporting.status import REPORT_FOLDER
from flows.repository.contract import Commit, Repository
from infrastructure.config_models import GitSettings

_DELETIONS = 200  # expired report files that one commit takes away


class Retention:
    """See the module. Looks once a day, until nothing is left to take away."""

    def __init__(self, repository: Repository, settings: GitSettings) -> None:
        self._repository = repository
        self._settings = settings
        self._done_on: date | None = None

    def expired(self, tip: Commit | None, now: datetime) -> dict[str, None]:
        """Files to delete on top of the reports branch's tip, oldest first.

        Raises:
            CloneDamagedError: the clone can't be read.
            TemporaryError: it can't be read now.
        """
        today = now.astimezone(UTC).date()
        if tip is None or self._done_on == today:
            return {}
        oldest = (now - self._settings.retention.reports).astimezone(UTC)
        last_day = (oldest - timedelta(days=1)).strftime(f"{REPORT_FOLDER}/%Y/%m/%d")
        folders = self._repository.directories(tip.sha, REPORT_FOLDER, depth=DAY_DEPTH)
        days = [folder for folder in folders if folder <= last_day]
        if not days:
            self._done_on = today
            return {}
        files = sorted(self._repository.tree(tip.sha, days).files)
        if len(files) <= _DELETIONS:
            self._done_on = today
        return dict.fromkeys(files[:_DELETIONS])
