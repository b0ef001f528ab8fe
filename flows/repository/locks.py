"""Locks among all processes and threads of one machine; freed by the holder's death."""

from __future__ import annotations

import fcntl
import time
from typing import IO

from infrastructure.errors import TemporaryError

_POLL = 0.005  # s


def wait_for(file: IO[bytes], name: str, *, timeout: float) -> None:
    """Lock an open file until it is closed.

    Args:
        file: of the lock.
        name: what messages call it.
        timeout: seconds to wait for another holder.

    Raises:
        TemporaryError: another one held it all the time.
    """
    give_up = time.monotonic() + timeout
    while not _try_lock(file.fileno()):
        if time.monotonic() > give_up:
            raise TemporaryError(f"another process has held {name} for {timeout:g} s")
        time.sleep(_POLL)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
