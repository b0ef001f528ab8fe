"""`uici status`: where every target stands, as Git has it, and what waits for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.approvals.desk import Shown
from flows.command_line import approve, propose
from flows.command_line.choosing import chosen
from flows.command_line.freshness import unread, untold
from flows.command_line.grace import Grace
from flows.command_line.status_table import print_status, status_data
from flows.reporting.proposal_note import ProposalNote
from flows.reporting.status import TargetStatus
from flows.repository.contract import DesiredState
from flows.runtime import Runtime


@dataclass(frozen=True, slots=True)
class StatusView:
    """What is shown.

    `targets` are those that were asked for, `now` when it was looked at, `noted` what runs have
    seen and not told of yet, `unread` the statuses that can't be read and why, both by target.
    """

    desired: DesiredState
    statuses: Mapping[str, TargetStatus]
    targets: tuple[str, ...]
    proposals: Mapping[str, ProposalNote]
    approvals: tuple[Shown, ...]
    now: datetime
    noted: Mapping[str, str]
    redact: Callable[[str], str]
    unread: Mapping[str, str]

    def data(self) -> dict[str, Any]:
        """As JSON."""
        noted = {**self.noted, **self.unread}
        found = {name: self.statuses[name] for name in self.targets if name in self.statuses}
        return {
            **status_data(self.desired, found),
            "noted": {name: noted[name] for name in self.targets if name in noted},
            "proposals": propose.notes_data(self.proposals),
            "approvals": approve.unsettled_data(self.approvals),
        }

    def show(self) -> None:
        """For people."""
        print_status(
            self.desired,
            self.statuses,
            self.targets,
            now=self.now,
            noted=self.noted,
            unread=self.unread,
            redact=self.redact,
        )
        approve.show_unsettled(self.approvals, self.targets, self.now)
        propose.show_notes(self.proposals, self.targets)


def status_view(
    runtime: Runtime, environments: list[str] | None, targets: list[str] | None
) -> StatusView:
    """Fetch, and read what the last runs have told.

    Raises:
        PermanentError: a target or environment that is not known.
        TemporaryError: no desired state could be read.
    """
    desired = runtime.desired()
    reported = runtime.git.reported()
    statuses = runtime.git.statuses()
    now = runtime.clock.now()
    grace = Grace(runtime.config.platform.compare.grace, runtime.first_seen.read(now), now)
    return StatusView(
        desired,
        statuses,
        tuple(chosen({*desired.services, *statuses}, environments, targets)),
        reported.proposals,
        approve.unsettled(runtime, desired, reported.approvals),
        now,
        untold(statuses, grace),
        runtime.redactor.text,
        unread(desired.services, reported),
    )
