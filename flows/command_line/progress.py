"""A spinner while a person waits, on stderr; nothing at all in a pipe.

rich keeps `NO_COLOR` and `TERM=dumb`. It is imported only where somebody watches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Show what is being done, such as `reading reports`, until it is done."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - see the module
    from rich.text import Text  # noqa: PLC0415 - as above

    with Console(stderr=True).status(Text(f"{doing} …", style="dim")):
        yield
