"""What the agent says while it works: its JSON log, line by line, as events.

The demo runs the agent as users do, `uici serve` in a process of its own, and knows of
its work only what it logs. What the demo *believes* it checks itself: `flows.demo.proof`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flows.local_stack import Child
from infrastructure.errors import PermanentError

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log. `at`: seconds since the epoch, from the line itself."""

    name: str
    at: float
    fields: dict[str, Any]

    def text(self, key: str) -> str:
        """A field as text; empty where it is absent or null."""
        value = self.fields.get(key)
        return "" if value is None else str(value)


@dataclass
class Run:
    """The events of one reconcile run, and its last line once it is there."""

    events: list[Event] = field(default_factory=list)
    finished: Event | None = None

    def all(self, name: str) -> list[Event]:
        """Events of one kind, in order."""
        return [event for event in self.events if event.name == name]


class Feed:
    """Follows the log file of the agent's process."""

    def __init__(self, agent: Child) -> None:
        self._agent = agent
        self._offset = 0
        self._rest = b""

    def skip(self) -> None:
        """Forget what was logged so far."""
        for _ in self._new():
            pass

    def follow(self, *, seconds: float) -> Iterator[Event | None]:
        """Events as they come, and None whenever there is nothing new; ends after `seconds`.

        Raises:
            PermanentError: the agent's process has ended; with the tail of its log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield from self._new()
            code = self._agent.process.poll()
            if code is not None:
                raise PermanentError(
                    f"the agent ended with exit code {code}:\n{self._agent.tail()}"
                )
            yield None
            time.sleep(_POLL_SECONDS)

    def _new(self) -> Iterator[Event]:
        with self._agent.log.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = parse(line)
            if event is not None:
                yield event


def parse(line: bytes) -> Event | None:
    """A log line as an event; None for what another program wrote."""
    try:
        fields = json.loads(line)
        return Event(
            name=str(fields.pop("event")),
            at=datetime.fromisoformat(fields.pop("timestamp")).timestamp(),
            fields=fields,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
