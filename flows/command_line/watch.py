"""`--watch`: the same picture again and again, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console

from flows.command_line.output import escape
from infrastructure.errors import TemporaryError

Show = Callable[[], None]


def watch(
    look: Callable[[], Show],
    *,
    every: float,
    sleep: Callable[[float], None] = time.sleep,
    rounds: int | None = None,
) -> None:
    """Look and show, again and again.

    The screen is cleared only when the next picture is there. What passes by itself, such as
    a remote that is away, is told and tried again.

    Args:
        look: gathers, and returns what shows it.
        every: seconds between two looks.
        sleep: waits.
        rounds: how often; None: until interrupted.

    Raises:
        UiciError: what does not pass by itself.
    """
    console = Console(highlight=False)
    seen = 0
    while rounds is None or seen < rounds:
        if seen:
            sleep(every)
        seen += 1
        try:
            show = look()
        except TemporaryError as exc:
            console.print(f"[yellow]not now[/]  {escape(exc)}")
            continue
        if sys.stdout.isatty():
            console.clear()
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        console.print(f"[dim]{now}, every {every:g} s; Ctrl-C ends it[/]")
        show()
        sys.stdout.flush()
