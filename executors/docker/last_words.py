"""The last lines of a container that is about to be removed: nobody can read them afterwards.

Neighbours: `executors.docker.replace_container` and `executors.docker.blue_green`, which
tell them with why a new container was taken back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import structlog

from executors.docker.evidence import stream_lines
from executors.docker.session import Job
from executors.docker.spec import Container
from infrastructure.errors import UiciError

log = structlog.get_logger("uici")

_LINES, _CHARS, _BYTES = 10, 500, 16 * 1024
_SECONDS = 1.0
_KEY_BEGINS, _KEY_ENDS, _KEY = "-----BEGIN ", "-----END ", "[a key]"
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_IN_ERROR = 3  # lines of an error's one line; its operation's output has all


def last_words(job: Job, container: str) -> tuple[str, ...]:
    """Its last lines, oldest first; empty where it never ran, or where they can't be read.

    It takes a second at most: what it is asked in the middle of has to be ended. No line is
    cut: reports redact, and half a secret is known to no pattern. What is too long, or may be
    of a key, is left out, and said.
    """
    try:
        with job.session(job.deadline.within(_SECONDS)) as session:
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
    return _without_keys([said for _, _, text in stamped if (said := text.strip())])


def _without_keys(lines: Sequence[str]) -> tuple[str, ...]:
    """Of a key in several lines the first ones may be missing: no pattern knows it then."""
    kept: list[str] = []
    inside = False
    for line in lines:
        if _KEY_ENDS in line:  # what came before it may be its beginning
            kept, inside = [*(kept if inside else ()), _KEY], False
        elif inside or _KEY_BEGINS in line:
            inside = True
        elif len(line) > _CHARS or _ENCODED.fullmatch(line):
            kept.append(f"[a line of {len(line)} characters]")
        else:
            kept.append(line)
    return (*kept, _KEY) if inside else tuple(kept)


def in_short(said: Sequence[str]) -> str:
    """The last few as the end of a sentence about the container."""
    return f"; its last words: {' | '.join(said[-_IN_ERROR:])}" if said else ""


def in_full(name: str, said: Sequence[str]) -> str | None:
    """All of them as an operation's output; None: there are none."""
    return "\n".join((f"the last lines of the new {name}:", *said)) if said else None
