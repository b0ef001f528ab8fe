"""What comes over the websocket of an exec, from its first frame to how the command ended.

`executors.kubernetes.sdk` opens the websocket and closes it. Nothing that a server sends is
believed: a frame, the output and the status have bounds, and a command whose end is not told
in the API's own words has an unknown outcome.

Source of the channels: the subprotocol v4.channel.k8s.io of the Kubernetes API server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from executors.deadline import Deadline
from executors.kubernetes.errors import REMEDY, stable
from executors.kubernetes.session import Executed
from infrastructure.errors import OutcomeUnknownError, PermanentError

if TYPE_CHECKING:
    import websocket

_STDOUT, _STDERR, _ERROR = 1, 2, 3
_CONTINUED, _CLOSE, _PING, _PONG = 0, 8, 9, 10  # opcodes: RFC 6455, section 5.2
_LEAST = 0.05  # seconds
_MOST_FRAME = 4 * 1024 * 1024  # bytes; API servers send a hundredth of it at a time
_MOST_STATUS = 64 * 1024
_EXIT_CODES = range(-1, 2**32)  # Windows has 32 bits; -1 where a runtime knows none


def conversation(socket: websocket.WebSocket, deadline: Deadline, limit: int) -> Executed:
    """Read the channels until the server says how the command ended.

    Args:
        socket: just opened.
        deadline: for all of it.
        limit: bytes of output that are kept; what comes after them is read and dropped.

    Raises:
        TimeoutError, websocket.WebSocketException: the connection broke, or took too long.
        OutcomeUnknownError: it was not told how the command ended.
        PermanentError: the command was not run.
    """
    heard = _Heard(limit)
    while True:
        socket.settimeout(max(_LEAST, deadline.left))
        opcode, data = _frame(socket)
        if opcode == _CLOSE:
            return heard.ended()
        if opcode == _PING:
            socket.pong(data)
        elif opcode != _PONG:
            heard.take(data, continued=opcode == _CONTINUED)
        if not deadline.left:
            raise TimeoutError("the command goes on and on")


def _frame(socket: websocket.WebSocket) -> tuple[int, bytes]:
    """One frame: opcode and content. Not the package's messages, which have no bound."""
    buffer = socket.frame_buffer
    if buffer.needs_header():
        buffer.recv_header()
    if buffer.needs_length():
        buffer.recv_length()
    if (buffer.length or 0) > _MOST_FRAME:
        raise _unclear("the server sends more at once than any API server does")
    frame = socket.recv_frame()  # type: ignore[no-untyped-call]  # the package is not typed here
    return frame.opcode, bytes(frame.data)


class _Heard:
    """What was said on each channel so far."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self._status = bytearray()
        self._size = 0
        self._truncated = False
        self._channel: int | None = None

    def take(self, data: bytes, *, continued: bool) -> None:
        """One frame; only the first of a message names the channel."""
        if not continued:
            self._channel, data = (data[0], data[1:]) if data else (None, b"")
        if self._channel == _ERROR:
            self._status += data
            if len(self._status) > _MOST_STATUS:
                raise _unclear("the server says without end how the command ended")
        elif self._channel in self._streams:
            room = self._limit - self._size
            self._truncated = self._truncated or len(data) > room
            self._streams[self._channel] += data[: max(0, room)]
            self._size += min(len(data), max(0, room))

    def ended(self) -> Executed:
        """The result, once the server has closed."""
        code = exit_code(bytes(self._status))
        out, err = (
            bytes(part).decode(errors="replace")
            for part in (self._streams[_STDOUT], self._streams[_STDERR])
        )
        return Executed(code, out, err, self._truncated)


def exit_code(status: bytes) -> int:
    """From the `Status` object of the error channel.

    Raises:
        PermanentError: it tells that the command was not run.
        OutcomeUnknownError: it is none.
    """
    try:
        said = json.loads(status)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("status") not in ("Success", "Failure"):
        raise _unclear("the server did not say how the command ended")
    if said["status"] == "Success":
        return 0
    if said.get("reason") == "NonZeroExitCode" or _causes(said):
        return _code(said)
    raise PermanentError(f"exec: {stable(str(said.get('message') or 'the command could not run'))}")


def _code(said: Mapping[str, Any]) -> int:
    for cause in _causes(said):
        told = str(cause.get("message"))
        if cause.get("reason") == "ExitCode":
            try:
                code = int(told[:12])
            except ValueError:
                break
            if code in _EXIT_CODES and code != 0:
                return code
    raise _unclear("the command failed, and the server did not say how")


def _causes(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = said.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [c for c in causes if isinstance(c, dict)] if isinstance(causes, list) else []


def _unclear(why: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"exec: {why}", remedy=REMEDY)
