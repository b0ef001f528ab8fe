"""Ctrl-C while a run changes something: it ends where nothing is half done, and tells.

What was done by then is verified, reported and committed as always. Once more, and the command
ends at once; then the next run finds out what had been begun.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from flows.command_line.commands.options import INTERRUPTED
from flows.listener import Listener, Listeners, NullListener, StopListener
from flows.report import RunReport

_HEARD = b"stopping before the next step, the one under way is verified; once more: end now\n"
_CURSOR = b"\x1b[?25h\n"  # shown again: the line of what is under way hides it


@dataclass(slots=True)
class Stopping(NullListener):
    """Whether the person wants the end, and the report of the run that was ended."""

    asked: threading.Event = field(default_factory=threading.Event)
    report: RunReport | None = None

    def run_finished(self, report: RunReport) -> None:
        """It is committed by now; of a run that was ended nothing else brings it."""
        self.report = report

    def listener(self, *others: Listener) -> Listener:
        """The others, and what ends the run."""
        return Listeners(*others, self, StopListener(self.asked.is_set))


def _end_now() -> None:
    """Without a look back: an exception would wait for the threads that operations run in."""
    if sys.stderr.isatty():
        os.write(2, _CURSOR)
    os._exit(INTERRUPTED)


@contextmanager
def stopping() -> Iterator[Stopping]:
    """From now on the first SIGINT or SIGTERM only asks for the end; outside, it is one again."""
    wanted = Stopping()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(_number: int, _frame: FrameType | None) -> None:
        if wanted.asked.is_set():
            _end_now()
        wanted.asked.set()
        # Past Python's buffers: whoever was interrupted may be writing to them.
        with suppress(OSError):
            os.write(2, _HEARD)

    for number in before:
        signal.signal(number, heard)
    try:
        yield wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
