"""A loop that tells the event loop whenever one of its runs has ended.

Neighbours: `flows.prefect_edge.approve_runs` looks at what waits then,
`flows.prefect_edge.worker_thread` at what the forms have to offer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from flows.listener import Listener, RunRequest
from flows.reporting.values import RunReport

Run = Callable[[RunRequest, Listener], RunReport]


def waking(run: Run, wake: asyncio.Event) -> Run:
    """The same run; `wake` is set at its end, however it ends. Call it on the event loop."""
    events = asyncio.get_running_loop()

    def wakes(request: RunRequest, listener: Listener) -> RunReport:
        try:
            return run(request, listener)
        finally:
            with contextlib.suppress(RuntimeError):  # the event loop is closed already
                events.call_soon_threadsafe(wake.set)

    return wakes
