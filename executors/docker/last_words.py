"""The last lines of a container that is about to be removed: nobody can read them afterwards.

Neighbours: `executors.docker.replace_container` and `executors.docker.blue_green`, which
tell them with why a new container was taken back.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from executors.docker.evidence import stream_lines
from executors.docker.session import DockerSession
from executors.docker.spec import Container
from infrastructure.errors import UiciError

log = structlog.get_logger("uici")

_LINES, _CHARS, _BYTES = 10, 500, 16 * 1024
_IN_ERROR = 3  # lines of an error's one line; its operation's output has all


def last_words(session: DockerSession, container: str) -> tuple[str, ...]:
    """Its last lines, oldest first; empty where it never ran, or where they can't be read.

    None of them is cut: reports redact, and half a secret is known to no pattern. What is too
    long is left out, and said.
    """
    try:
        found = Container(session.inspect(container))
        query = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": _LINES}
        tty = bool(found.config.get("Tty"))
        stream = session.logs(container, query, tty=tty, limit=_BYTES)
    except UiciError as exc:  # it must not hide what the words are asked for
        log.info("last_words_unread", container=container, reason=str(exc))
        return ()
    if stream.truncated:  # the oldest line may have lost its beginning
        return (f"[its last {_LINES} lines are too long to be kept]",)
    stamped = sorted((line.partition(" ") for line in stream_lines(stream)), key=lambda p: p[0])
    return tuple(_whole(said) for _, _, text in stamped if (said := text.strip()))


def _whole(line: str) -> str:
    return line if len(line) <= _CHARS else f"[a line of {len(line)} characters]"


def in_short(said: Sequence[str]) -> str:
    """The last few as the end of a sentence about the container."""
    return f"; its last words: {' | '.join(said[-_IN_ERROR:])}" if said else ""


def in_full(name: str, said: Sequence[str]) -> str | None:
    """All of them as an operation's output; None: there are none."""
    return "\n".join((f"the last lines of the new {name}:", *said)) if said else None
