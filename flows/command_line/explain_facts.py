"""What is known of one target: of a look at it now, and of Git. The sentences are others'.

Neighbours: `explain` (how it is, was, and what comes next), `explain_waiting` (what a person has
to do).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flows.cases import Case
from flows.command_line.preview import Preview
from flows.comparison.drift import Drift, HealthStatus
from flows.guarding.verdict import Verdict
from flows.reporting.status import Condition, ConditionType, TargetStatus
from flows.repository.contract import DesiredChange
from flows.runtime import Runtime
from infrastructure.service import Service

_CHANGES = 3  # commits that are told of


@dataclass(frozen=True, slots=True)
class Facts:
    """See the module. `status` None: no run has told of it."""

    target: str
    seen: Preview
    status: TargetStatus | None
    runtime: Runtime
    now: datetime

    @property
    def service(self) -> Service | None:
        """As Git declares it; None: it does not."""
        return self.seen.desired.services.get(self.target)

    @property
    def last_try(self) -> str:
        """What came of it, while the fault lasts; empty: nothing was tried."""
        status = self.status
        if status is None or status.attempts is None or status.last_incident is None:
            return ""
        return status.last_incident.summary

    def changes(self) -> tuple[DesiredChange, ...]:
        """Commits that have touched its file lately, the newest first."""
        since = self.now - self.runtime.config.platform.git.retention.reports
        git = self.runtime.git
        mine = [self.target]
        return git.changes(self.seen.desired, mine, limit=_CHANGES, since=since, judged=mine)

    @property
    def drifts(self) -> tuple[Drift, ...]:
        """What differs from Git, and is past its grace."""
        return tuple(d for d in self.seen.comparison.drifts if d.target == self.target)

    @property
    def unseen(self) -> bool:
        """Whether nothing can be said of it."""
        state = self.seen.comparison.states.get(self.target)
        return state is not None and state.health is HealthStatus.UNKNOWN

    @property
    def case(self) -> Case | None:
        """What would be done about it."""
        return next((c for c in self.seen.cases if self.about(c.incident.targets)), None)

    def about(self, targets: tuple[str, ...]) -> bool:
        """Whether it is among these."""
        return self.target in targets

    def condition(self, kind: ConditionType) -> Condition | None:
        """One that is true of it; None: it is not."""
        conditions = self.status.conditions if self.status is not None else ()
        return next((c for c in conditions if c.type is kind), None)


def mode_denial(case: Case) -> Verdict | None:
    """What a step is denied by where the target is only observed."""
    return next((verdict for verdict in case.verdicts if verdict.rule == "mode"), None)
