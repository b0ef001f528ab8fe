"""Imports structlog without rich, which takes 120 ms of CPU of every command.

structlog imports rich for tracebacks on a terminal; UICI's lines have theirs as text before
they come to a renderer (`flows.logging_setup`), so rich would never be used. Tables of the
command line import rich themselves when they are shown. Import this module before any that
imports structlog; later, or where rich is there already, it changes nothing.
"""

from __future__ import annotations

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python spells "not installed"
    try:
        import structlog  # noqa: F401  # for its effect
    finally:
        del sys.modules["rich"]
