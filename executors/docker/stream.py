"""The engine's multiplexed output stream, taken apart and bounded. Pure.

Without a terminal, logs and commands come as frames: one byte that says stdout (1) or
stderr (2), three of zero, four of length, then the data (Docker Engine API, "Attach to a
container"). With a terminal the bytes come bare.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_HEADER = 8
STDOUT, STDERR = 1, 2

Frame = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Stream:
    """Output of a container or a command: what came, in order, and whether more was cut."""

    frames: tuple[Frame, ...]
    truncated: bool


def demultiplex(chunks: Iterable[bytes], *, tty: bool) -> Iterator[Frame]:
    """Chunks as they come from the network → pieces with their source.

    A long frame is handed on piece by piece, so that its announced length, which may be
    anything, is never collected in memory.
    """
    if tty:
        for chunk in chunks:
            if chunk:
                yield STDOUT, chunk
        return
    header, source, left = b"", STDOUT, 0
    for chunk in chunks:
        data = chunk
        while data:
            if left:
                piece, data = data[:left], data[left:]
                left -= len(piece)
                yield source, piece
                continue
            taken = data[: _HEADER - len(header)]
            header, data = header + taken, data[len(taken) :]
            if len(header) == _HEADER:
                source = STDERR if header[0] == STDERR else STDOUT
                left = int.from_bytes(header[4:], "big")
                header = b""


def newest(frames: Iterable[Frame], limit: int) -> Stream:
    """At most the last `limit` bytes."""
    kept: deque[Frame] = deque()
    size, truncated = 0, False
    for frame in frames:
        kept.append(frame)
        size += len(frame[1])
        while size > limit:
            source, data = kept.popleft()
            excess = size - limit
            truncated = True
            if len(data) > excess:
                kept.appendleft((source, data[excess:]))
            size -= min(excess, len(data))
    return Stream(tuple(kept), truncated)


def first(frames: Iterable[Frame], limit: int) -> Stream:
    """At most the first `limit` bytes; the rest is read and dropped."""
    kept: list[Frame] = []
    size, truncated = 0, False
    for source, data in frames:
        room = limit - size
        if len(data) > room:
            truncated = True
        if room > 0:
            kept.append((source, data[:room]))
            size += len(kept[-1][1])
    return Stream(tuple(kept), truncated)
