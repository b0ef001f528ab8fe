"""`uici status`: where every target stands, as Git has it, and what waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.approvals.desk import Shown
from flows.command_line import approve, output, propose
from flows.reporting.proposal_note import ProposalNote
from flows.reporting.status import TargetStatus
from flows.repository.contract import DesiredState
from flows.runtime import Runtime


@dataclass(frozen=True, slots=True)
class StatusView:
    """What is shown; `targets` are those that were asked for, `now` when it was looked at."""

    desired: DesiredState
    statuses: Mapping[str, TargetStatus]
    targets: tuple[str, ...]
    proposals: Mapping[str, ProposalNote]
    approvals: tuple[Shown, ...]
    now: datetime

    def data(self) -> dict[str, Any]:
        """As JSON."""
        found = {name: self.statuses[name] for name in self.targets if name in self.statuses}
        return {
            **output.status_data(self.desired, found),
            "proposals": propose.notes_data(self.proposals),
            "approvals": approve.unsettled_data(self.approvals),
        }

    def show(self) -> None:
        """For people."""
        output.print_status(self.desired, self.statuses, self.targets, now=self.now)
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
    return StatusView(
        desired,
        statuses,
        tuple(output.chosen({*desired.services, *statuses}, environments, targets)),
        reported.proposals,
        approve.unsettled(runtime, desired, reported.approvals),
        runtime.clock.now(),
    )
