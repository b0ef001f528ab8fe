"""What `uici validate` leaves out, because most people's state does not need it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from flows.command_line.validation import validate
found = validate(None, None)
assert not found.problems, found
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


def test_validate_imports_no_source_readers_and_no_rich() -> None:
    left_out = ["infrastructure.sources.read_source", "rich.console", "rich.pretty", "prefect"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *left_out, "structlog"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["structlog"]
