"""Small files that several processes share: replaced at once, changed by one at a time.

Neighbours: `flows.llm.budget` (the day's counters), `flows.llm.breaker`,
`flows.llm.abilities`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The lock is held for one small read and write; longer means that its holder is stuck.
_LOCK_SECONDS = 2.0
_LOCK_POLL_SECONDS = 0.01


def replace_file(path: Path, text: str) -> None:
    """Write it whole or not at all; a reader never sees a half.

    Raises:
        OSError: not written; what was there before is there still.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Exclude other threads and processes; the lock file stands beside `path`.

    Raises:
        OSError: the folder can't be used, or somebody is stuck inside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    gives_up = time.monotonic() + _LOCK_SECONDS
    with path.with_suffix(".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > gives_up:
                    raise
                time.sleep(_LOCK_POLL_SECONDS)
        yield
