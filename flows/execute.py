"""Stage 5, execute: run the allowed steps of a plan, in order, through the guard.

A plan is one thing: when a step of it that changes the world may not run, none of them
runs. A step that fails ends the plan; the later ones are SKIPPED. Next stage: verify.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.comparison.drift import Incident
from flows.guard import Decision, GuardedInterface, Verdict
from flows.listener import Listener, RunStoppedError
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus


@dataclass(frozen=True, slots=True)
class Execution:
    """What was done about one incident. Empty `outcomes`: nothing was allowed to run.

    `stopped`: why the run was asked to end before a step; empty: it was not.
    """

    fingerprint: str
    outcomes: tuple[OperationOutcome, ...]
    stopped: str = ""

    @property
    def begun(self) -> bool:
        """Whether anything was sent at all."""
        return any(outcome.status is not OutcomeStatus.SKIPPED for outcome in self.outcomes)

    @property
    def succeeded(self) -> bool:
        """Whether every operation that was begun did what it promised."""
        return all(outcome.status is OutcomeStatus.SUCCEEDED for outcome in self.outcomes)


def runnable(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The steps that will run: all if all are allowed, else only those that change nothing."""
    if all(verdict.decision is Decision.ALLOWED for verdict in verdicts):
        return tuple(verdicts)
    return tuple(v for v in verdicts if v.rule == "read-only")


def changing(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Of these, the steps that change the world."""
    return tuple(v for v in verdicts if v.rule != "read-only")


def execute(
    incident: Incident,
    steps: Sequence[Verdict],
    guarded: GuardedInterface,
    *,
    listener: Listener,
    now: Callable[[], datetime],
    deadline: datetime,
) -> Execution:
    """Run the steps in order; after a failure or the deadline the rest is SKIPPED.

    Args:
        incident: what it is about.
        steps: what `runnable` returned.
        guarded: the wrapped interface.
        listener: told of every operation before and after.
        now: clock with time zone.
        deadline: the run's; a step that has begun is bounded by it, too.
    """
    outcomes: list[OperationOutcome] = []
    asked = stopped = ""
    for verdict in steps:
        call = verdict.step.call
        if not stopped and now() >= deadline:
            stopped = "the run's deadline was reached"
        if not stopped:
            stopped = asked = _stop_asked(listener, incident, call)
        if stopped:
            at = now()
            outcomes.append(OperationOutcome(call, OutcomeStatus.SKIPPED, at, at, error=stopped))
            continue
        outcome = guarded.run(verdict, deadline=deadline)
        listener.operation_finished(incident, outcome)
        outcomes.append(outcome)
        if outcome.status is not OutcomeStatus.SUCCEEDED:
            stopped = f"{call.operation} before it {outcome.status.value}"
    return Execution(incident.fingerprint, tuple(outcomes), asked)


def _stop_asked(listener: Listener, incident: Incident, call: OperationCall) -> str:
    """Tell of the operation; why the run is to end before it, or nothing."""
    try:
        listener.operation_started(incident, call)
    except RunStoppedError as exc:
        return str(exc)
    return ""
