"""A run as a person at a terminal sees it while it goes on: one line on stderr, always the newest.

What it was is in the report that follows. Nothing in a pipe: there the log tells. Neighbours:
`flows.listener` (its base), `flows.command_line.progress` (the same for a look).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flows.command_line.terminal import printable
from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.listener import Listener, NullListener
from flows.plan import Plan
from flows.reporting.text import count
from flows.repository.contract import CommitResult
from flows.verify import Verification
from infrastructure.operations import OperationCall, OperationOutcome


class RunProgress(NullListener):
    """Says what is under way, in a few words. May be called from several threads."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def drifts_found(self, comparison: Comparison) -> None:
        """What comes next depends on whether something differs."""
        found = len(comparison.drifts)
        self._say(f"{count(found, 'difference')}, planning" if found else "writing the report")

    def planned(self, incident: Incident, plan: Plan) -> None:
        """Who planned it."""
        self._say(f"{incident.root}: planned by {plan.planner.value}, asking the guard")

    def judged(self, incident: Incident, verdicts: Sequence[Verdict]) -> None:
        """The answers, each once."""
        answers = ", ".join(dict.fromkeys(verdict.decision.value for verdict in verdicts))
        self._say(f"{incident.root}: {answers or 'nothing to do'}")

    def intent_committed(self, result: CommitResult) -> None:
        """The commit before the act."""
        self._say(f"intent committed: {result.sha[:7]}")

    def operation_started(self, incident: Incident, call: OperationCall) -> None:  # noqa: ARG002 - as overridden
        """What touches the world now."""
        self._say(f"{call.target}: {call.operation}")

    def operation_finished(self, incident: Incident, outcome: OperationOutcome) -> None:  # noqa: ARG002 - as overridden
        """However it ended, it is looked at."""
        call = outcome.call
        self._say(f"{call.target}: {call.operation} {outcome.status.value}, verifying")

    def verified(self, incident: Incident, verification: Verification) -> None:
        """What looking again has shown."""
        self._say(f"{incident.root}: {verification.result.value.replace('_', ' ')}")


@contextmanager
def live_run() -> Iterator[Listener]:
    """A listener that shows the run on a terminal; elsewhere one that shows nothing."""
    if not sys.stderr.isatty():
        yield NullListener()
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches
    from rich.text import Text  # noqa: PLC0415 - as above

    def shown(doing: str) -> Text:
        return Text(f"{printable(doing)} …", style="dim", overflow="ellipsis", no_wrap=True)

    with Console(stderr=True).status(shown("looking at every target")) as status:
        yield RunProgress(lambda doing: status.update(shown(doing)))
