"""What a command needs open while it runs: the log on stderr and the runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import flows.quick_structlog  # noqa: F401  # before what imports structlog
from flows.logging_setup import configure_logging
from flows.runtime import Runtime, open_runtime
from infrastructure.config_loader import UniversalConfig
from infrastructure.config_models import LogSettings


@dataclass(frozen=True, slots=True)
class Session:
    """One command's runtime; more may join it."""

    runtime: Runtime


@contextlib.contextmanager
def open_session(config: UniversalConfig, *, verbose: bool = False) -> Iterator[Session]:
    """Open, and close at the end.

    Args:
        config: what the command works with.
        verbose: whether the log's ordinary lines are written, too.

    Raises:
        UiciError: the runtime can't be opened.
    """
    settings = config.platform.log
    configure_logging(settings if verbose else _for_people(settings), config.redactor())
    with open_runtime(config) as runtime:
        yield Session(runtime)


def _for_people(settings: LogSettings) -> LogSettings:
    """A command tells its own story: of the log, warnings and worse are enough.

    Who has set another form or level than the usual ones wants to see that.
    """
    if (settings.format, settings.level) != ("auto", "info"):
        return settings
    return settings.model_copy(update={"level": "warning"})
