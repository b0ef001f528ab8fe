"""Work on threads that never keep the process from ending.

A source that hangs may outlive its deadline, and with it the run. The threads of
`concurrent.futures` are joined at exit; these are daemons, so that a person at a terminal
does not wait for a dead server. Used by the readers here and by `flows.observe`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], *, name: str) -> Future[T]:
    """Run `work` on a thread of its own; the future has its result or its exception."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 - raised again in whoever asks the future
            future.set_exception(exc)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
