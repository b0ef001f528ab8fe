"""UICI's own log: text on a terminal, JSON lines elsewhere, on stderr.

What of it a command writes, `flows.command_line.session` decides.
One place decides how a line looks and what is cut out of it. Lines of other libraries
(Prefect, httpx) come out in the same form, from warning level on. While a flow runs,
`mirrored_to` sends UICI's lines to a second place too: the run's log in Prefect.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from infrastructure.config_models import LogSettings
from infrastructure.redaction import Redactor

Sink = Callable[[int, Mapping[str, Any]], None]

LOGGER_NAME = "uici"
_META = ("_record", "_from_structlog")  # structlog's own; never printed
_FIRST = ("timestamp", "level", "event")  # a line is read from the left

# Sinks of the runs that are going on. A tuple that is replaced, never changed: lines are
# written from many threads.
_sinks: tuple[Sink, ...] = ()


def configure_logging(settings: LogSettings, redactor: Redactor) -> None:
    """Set up structlog and the standard library's root logger. Replaces an earlier set-up.

    Args:
        settings: level and form; `auto` means text when stderr is a terminal.
        redactor: cuts secrets out of every line.
    """
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _Redact(redactor),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if as_text
        else structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, _mirror, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=StderrLogger,
        cache_logger_on_first_use=False,
    )
    handler = StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


@contextlib.contextmanager
def mirrored_to(sink: Sink) -> Iterator[None]:
    """Send UICI's log events to `sink` (level number, event) too, from all threads."""
    global _sinks  # noqa: PLW0603 - logging is one for the process; the tuple is replaced whole
    _sinks = (*_sinks, sink)
    try:
        yield
    finally:
        _sinks = tuple(known for known in _sinks if known is not sink)


def plain_line(event: Mapping[str, Any]) -> str:
    """A log event as one line for people: the event, then key=value."""
    pairs = (
        f"{key}={value}"
        for key, value in event.items()
        if key not in {"event", "level", "timestamp"} and value is not None and value != ""
    )
    return " ".join([str(event.get("event", "")), *pairs])


def _mirror(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if _sinks:
        number = logging.getLevelNamesMapping().get(str(event.get("level", "info")).upper(), 20)
        for sink in _sinks:
            sink(number, event)
    return event


class _Redact:
    """Cuts secrets out of an event, however deep they lie; what is read first stands first."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
        meta = {key: ordered.pop(key) for key in _META if key in ordered}
        return {**self._redactor.data(ordered), **meta}


class StderrLogger:
    """Writes to whatever stderr is now, so that a redirected one is honoured."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, message: str) -> None:
        """One line, written at once."""
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class StderrHandler(logging.Handler):
    """The same for the standard library's loggers.

    Prefect leaves a root handler alone only if its class name has no leading underscore.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except RecursionError:
            raise
        except (ValueError, OSError, TypeError):
            self.handleError(record)
