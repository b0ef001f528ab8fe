"""Read-only operations for the dossier: side by side, bounded, none of them can stop a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from infrastructure.errors import UiciError
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus

RunRead = Callable[[OperationCall], OperationOutcome]

LOGS, RESOURCES, STATUS, EVENTS = "get_logs", "check_resources", "get_status", "get_events"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read gave. `error`: why it gave nothing, in one line; empty: it did."""

    operation: str
    target: str
    output: Any = None
    error: str = ""


def read_all(
    calls: Sequence[OperationCall], run_read: RunRead, *, concurrency: int
) -> tuple[Answer, ...]:
    """One answer for each call, in their order; at most `concurrency` at the same time.

    What was not given of a time (not every log has times) is asked for without it.
    """

    def one(call: OperationCall) -> Answer:
        answer = once(call)
        if not answer.error or "since" not in call.parameters:
            return answer
        rest = {name: value for name, value in call.parameters.items() if name != "since"}
        again = once(OperationCall(call.operation, call.target, rest))
        return answer if again.error else again

    def once(call: OperationCall) -> Answer:
        try:
            outcome = run_read(call)
        except UiciError as exc:  # not on offer in this configuration, or refused
            return Answer(call.operation, call.target, error=str(exc))
        if outcome.status is OutcomeStatus.SUCCEEDED:
            return Answer(call.operation, call.target, outcome.output)
        return Answer(call.operation, call.target, error=outcome.error or outcome.status.value)

    if len(calls) <= 1:
        return tuple(one(call) for call in calls)
    workers = max(1, min(concurrency, len(calls)))
    with ThreadPoolExecutor(workers, thread_name_prefix="dossier") as pool:
        return tuple(pool.map(one, calls))
