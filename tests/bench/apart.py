"""Observing in a process of its own, from a server in another: what the looker alone costs.

A bench that uses it is a module with two commands: `serve FOLDER N` prints a line of words and
serves until the end of its input, then may print more; `look WORD… N` prints a JSON object
with `before` and `peak`, its memory in bytes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

from tests.bench.table import Aim, Of, Row

_MOST_MEMORY = 150 * 1024 * 1024


def looked_at(module: str, size: int) -> tuple[dict[str, Any], str]:
    """What the looker printed, and what the server said at its end."""
    command = [sys.executable, "-m", module]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [*command, "serve", folder, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = ""
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            looked = subprocess.run(
                [*command, "look", *words, str(size)], check=True, capture_output=True, text=True
            )
        finally:
            said, _ = server.communicate()  # the end of its input ends it
    found: dict[str, Any] = json.loads(looked.stdout)
    return found, said.strip()


def memory_row(name: str, what: str, found: dict[str, Any]) -> Row:
    """The looker's peak against the aim of the executors."""
    note = f"{found['before'] / 2**20:.0f} MiB before"
    aim = Aim(1.0, Of.RATIO)
    return Row(name, f"{what}: peak memory", found["peak"], "B", "aim", _MOST_MEMORY, aim, note)


def peak() -> int:
    """Bytes that this process held at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
