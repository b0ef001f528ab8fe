"""What a run is asked for, and who is told what happens while it goes on.

`flows.reconcile` calls a `Listener` at each joint of a run; logs, the Prefect UI and the
demo's live view are listeners, so that the run itself knows none of them. A listener
only listens: its own failures stay its own. One exception is meant:
`RunStoppedError` from `planned` or `operation_started` ends the run before its next
change (a person cancelled it, or the process is about to end). `flows.log_listener`
writes the log, `flows.prefect_edge.listener` fills Prefect's UI.

Incidents are worked on concurrently: methods are called from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from infrastructure.errors import UiciError
from infrastructure.operations import OperationCall, OperationOutcome
from infrastructure.service import Mode

# For annotations only: the stages themselves import this module.
if TYPE_CHECKING:
    from flows.compare import Comparison
    from flows.comparison.drift import Incident
    from flows.guard import Verdict
    from flows.plan import Plan
    from flows.reporting.values import RunReport
    from flows.repository.contract import CommitResult
    from flows.verify import Check, Verification


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one run is asked to look at. None: all of it, as configured.

    `mode` can only narrow what the targets' own modes allow.
    """

    environments: tuple[str, ...] | None
    targets: tuple[str, ...] | None
    mode: Mode | None
    run_id: str


class RunStoppedError(UiciError):
    """The run was asked to end. What was done stays done; the next run looks again."""


class Listener(Protocol):
    """Told of a run, in this order. Every method returns at once."""

    def run_started(self, request: RunRequest) -> None:
        """Before the first look."""
        ...

    def drifts_found(self, comparison: Comparison) -> None:
        """After compare; also when nothing drifts."""
        ...

    def planned(self, incident: Incident, plan: Plan) -> None:
        """An incident has its plan. May raise RunStoppedError."""
        ...

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:
        """The guard has answered for every step of the plan."""
        ...

    def intent_committed(self, result: CommitResult) -> None:
        """What is about to be done is in Git."""
        ...

    def operation_started(self, incident: Incident, call: OperationCall) -> None:
        """Before an operation touches the world. May raise RunStoppedError."""
        ...

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:
        """However it ended."""
        ...

    def looked(self, incident: Incident, checks: Sequence[Check]) -> None:
        """Each time that verification has looked, and looks again: how its checks stand."""
        ...

    def verified(self, incident: Incident, verification: Verification) -> None:
        """What looking again has shown."""
        ...

    def run_finished(self, report: RunReport) -> None:
        """The end; the report's commit is done."""
        ...


class NullListener:
    """Told everything, does nothing. A base for listeners that care for a few things."""

    def run_started(self, request: RunRequest) -> None:
        """See `Listener`."""

    def drifts_found(self, comparison: Comparison) -> None:
        """See `Listener`."""

    def planned(self, incident: Incident, plan: Plan) -> None:
        """See `Listener`."""

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:
        """See `Listener`."""

    def intent_committed(self, result: CommitResult) -> None:
        """See `Listener`."""

    def operation_started(self, incident: Incident, call: OperationCall) -> None:
        """See `Listener`."""

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:
        """See `Listener`."""

    def looked(self, incident: Incident, checks: Sequence[Check]) -> None:
        """See `Listener`."""

    def verified(self, incident: Incident, verification: Verification) -> None:
        """See `Listener`."""

    def run_finished(self, report: RunReport) -> None:
        """See `Listener`."""


class Listeners(NullListener):
    """Tells several listeners, in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def run_started(self, request: RunRequest) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.run_started(request)

    def drifts_found(self, comparison: Comparison) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.drifts_found(comparison)

    def planned(self, incident: Incident, plan: Plan) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.planned(incident, plan)

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.judged(incident, verdicts)

    def intent_committed(self, result: CommitResult) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.intent_committed(result)

    def operation_started(self, incident: Incident, call: OperationCall) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.operation_started(incident, call)

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.operation_finished(incident, outcome)

    def looked(self, incident: Incident, checks: Sequence[Check]) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.looked(incident, checks)

    def verified(self, incident: Incident, verification: Verification) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.verified(incident, verification)

    def run_finished(self, report: RunReport) -> None:
        """See `Listener`."""
        for listener in self._listeners:
            listener.run_finished(report)


class StopListener(NullListener):
    """Raises RunStoppedError at the joints where a run may end, once `stopped` says so."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def planned(self, incident: Incident, plan: Plan) -> None:  # noqa: ARG002 - the protocol's
        """Nothing was committed or done yet."""
        self._check(f"before {incident.root} was repaired")

    def operation_started(
        self,
        incident: Incident,  # noqa: ARG002 - the protocol's
        call: OperationCall,
    ) -> None:
        """The intent is committed, the operation not yet sent."""
        self._check(f"before {call.operation} on {call.target}")

    def _check(self, place: str) -> None:
        if self._stopped():
            raise RunStoppedError(f"the run was stopped {place}; the next run looks again")
