"""A run as a person at a terminal sees it while it goes on: one line on stderr, always the newest.

What it was is in the report that follows. Nothing in a pipe: there the log tells. Neighbours:
`flows.listener` (its base), `flows.command_line.progress` (the same for a look).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from flows.command_line.terminal import printable
from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.listener import Listener, NullListener
from flows.plan import Plan
from flows.reporting.text import count
from flows.repository.contract import CommitResult
from flows.verify import Check, CheckState, Verification
from infrastructure.operations import OperationCall, OperationOutcome
from infrastructure.quantities import format_duration

if TYPE_CHECKING:
    from rich.text import Text

_PATIENCE = 3  # seconds; what lasts longer says how long


class Say(Protocol):
    """Shows one line, instead of the last. `goes_on`: about the same, and the time runs on."""

    def __call__(self, words: str, *, goes_on: bool = False) -> None:
        """See `Say`."""
        ...


class RunProgress(NullListener):
    """Says what is under way, in a few words. May be called from several threads."""

    def __init__(self, say: Say, *, verify_within: timedelta) -> None:
        """Say nothing yet.

        Args:
            say: shows one line, instead of the last.
            verify_within: how long a look at what was done may take.
        """
        self._say = say
        self._within = f"verifying for {format_duration(verify_within)} at most"

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
        done = f"{call.target}: {call.operation} {outcome.status.value}"
        self._say(f"{done}, {self._within}")

    def looked(self, incident: Incident, checks: Sequence[Check]) -> None:
        """What it waits for: the first check that is not as it must be."""
        wanting = next(
            (c for c in checks if c.state in (CheckState.FAILED, CheckState.UNKNOWN)), None
        )
        waits = f", waits for {wanting.name}: {wanting.detail}" if wanting else ", well so far"
        self._say(f"{incident.root}: {self._within}{waits}", goes_on=True)

    def verified(self, incident: Incident, verification: Verification) -> None:
        """What looking again has shown."""
        self._say(f"{incident.root}: {verification.result.value.replace('_', ' ')}")


@dataclass(frozen=True, slots=True)
class Doing:
    """What is under way, and for how long by now: made anew at each picture of a terminal."""

    words: str
    clock: Callable[[], float]
    begun: float

    def __rich__(self) -> Text:
        """Called by rich, several times a second."""
        from rich.text import Text  # noqa: PLC0415 - only where somebody watches

        seconds = int(self.clock() - self.begun)
        # A line too long is cut at its end: the seconds stay.
        lasts = f"{seconds} s: " if seconds >= _PATIENCE else ""
        line = f"{lasts}{printable(self.words)} …"
        return Text(line, style="dim", overflow="ellipsis", no_wrap=True)


@contextmanager
def live_run(verify_within: timedelta) -> Iterator[Listener]:
    """A listener that shows the run on a terminal; elsewhere one that shows nothing.

    Args:
        verify_within: as configured: `verify.deadline`.
    """
    if not sys.stderr.isatty():
        yield NullListener()
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches

    begun = time.monotonic()
    first = Doing("looking at every target", time.monotonic, begun)
    with Console(stderr=True).status(first) as status:

        def say(words: str, *, goes_on: bool = False) -> None:
            nonlocal begun
            begun = begun if goes_on else time.monotonic()
            status.update(Doing(words, time.monotonic, begun))

        yield RunProgress(say, verify_within=verify_within)
