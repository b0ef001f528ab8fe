"""The embedded Prefect server's process: Prefect's command line, its event loop never blocked.

    python -m flows.prefect_edge.server_process server start --host HOST --port PORT

CPython collects cyclic garbage on whichever thread allocates, which in a server is the one
of the event loop. Among a Prefect server's garbage are cursors of SQLite, left over from
requests that failed, and freeing one waits for the lock of its connection; if another
thread waits in that connection for the database, it holds that lock for up to Prefect's
busy time-out of 60 s. The writer that everybody waits for is a task of the event loop, so
nothing moves until then (seen in native stack dumps, after which runs had failed with
time-outs). Here a thread of its own collects: it may wait, the event loop does not.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time

_YOUNG_SECONDS = 1.0
_FULL_EVERY = 30  # young collections between two full ones
_YOUNG, _ALL = 1, 2  # generations


def main() -> None:
    """Run Prefect's command line with this process's arguments."""
    collect_elsewhere()
    from prefect.cli import app  # noqa: PLC0415 - after the collector has moved

    app()


def collect_elsewhere() -> None:
    """Switch automatic collection off in this process, and do it from a daemon thread."""
    gc.disable()
    threading.Thread(target=_collect_for_ever, name="garbage", daemon=True).start()


def _collect_for_ever() -> None:
    for count in itertools.count(1):
        time.sleep(_YOUNG_SECONDS)
        if count % _FULL_EVERY:
            gc.collect(_YOUNG)
        else:
            gc.collect(_ALL)
            # What is left after start-up stays: full collections need not look at it again.
            if count == _FULL_EVERY:
                gc.freeze()


if __name__ == "__main__":
    main()
