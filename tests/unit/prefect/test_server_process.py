"""The collector of the embedded server's process runs on a thread of its own."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: what is switched here holds for the whole of it.
_PROGRAM = """
import threading, time
from flows.prefect_edge import server_process

server_process._YOUNG_SECONDS = 0.01
collected_by = set()

class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        collected_by.add(threading.current_thread().name)

server_process.collect_elsewhere()
for _ in range(100_000):  # far more than CPython lets pass between two collections
    Cycle()
deadline = time.monotonic() + 20
while not collected_by and time.monotonic() < deadline:
    time.sleep(0.01)
print(*sorted(collected_by))
"""


def test_garbage_is_collected_and_never_by_the_thread_that_made_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["garbage"]
