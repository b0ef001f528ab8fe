"""What a command needs open while it runs: the log on stderr and the runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import flows.quick_structlog  # noqa: F401  # before what imports structlog
from flows.logging_setup import configure_logging
from flows.runtime import Runtime, open_runtime
from infrastructure.config_loader import UniversalConfig


@dataclass(frozen=True, slots=True)
class Session:
    """One command's runtime; more may join it."""

    runtime: Runtime


@contextlib.contextmanager
def open_session(config: UniversalConfig) -> Iterator[Session]:
    """Open, and close at the end.

    Raises:
        UiciError: the runtime can't be opened.
    """
    configure_logging(config.platform.log, config.redactor())
    with open_runtime(config) as runtime:
        yield Session(runtime)
