"""A damaged clone is made anew from the remote and asked again, which people are told once.

Used by `flows.git_state`; how a clone is made anew is `flows.repository.clone`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from flows.repository.contract import CloneDamagedError, DesiredState, Renewal, Repository
from infrastructure.config_models import GitSettings
from infrastructure.errors import Problem

_T = TypeVar("_T")


class Mending:
    """See the module. `forget` drops what was known of the damaged clone."""

    def __init__(
        self, repository: Repository, settings: GitSettings, forget: Callable[[], None]
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._forget = forget
        self._renewals: list[Renewal] = []

    def mended(self, call: Callable[[], _T]) -> _T:
        """What a call on the clone gives, if need be on a new one.

        Raises:
            CloneDamagedError: it can't be made anew now, or is damaged again.
        """
        try:
            return call()
        except CloneDamagedError as damage:
            settings = self._settings
            renewal = self._repository.renew(
                settings.branch, settings.reports_branch, reason=damage.reason
            )
            self._forget()
            if renewal is not None:
                self._renewals.append(renewal)
            return call()

    def told(self, desired: DesiredState) -> DesiredState:
        """With what became of a damaged clone since the last time; told once."""
        renewals, self._renewals = self._renewals, []
        return replace(
            desired,
            problems=(*desired.problems, *(_remark(renewal) for renewal in renewals)),
            lost=tuple(f"{each.lost} ({each.aside})" for each in renewals if each.lost),
        )


def _remark(renewal: Renewal) -> Problem:
    kept = f"it is kept as {renewal.aside}" if renewal.aside else "nothing of it was left"
    message = (
        f"the clone was damaged ({renewal.reason}) and was made anew from the remote: {kept};"
        f" {renewal.salvaged} commits that were not pushed yet were saved"
    )
    return Problem(renewal.clone, 0, 0, message + (f"; {renewal.lost}" if renewal.lost else ""))
