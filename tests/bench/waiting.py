"""Waiting for the world, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(
    ready: Callable[[], object], *, timeout: float, what: str, interval: float = 0.2
) -> None:
    """Return once `ready` is true. TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(interval)
