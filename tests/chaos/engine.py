"""What a person at the Docker Engine can do and see: no part of the product is used.

Requests go over the engine's socket. `Engine.events` is the engine's own record of what was
done to containers, by whomever.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flows.local_stack import STACK_LABEL

Json = dict[str, Any]

# Of all events of a container those that change it. Health checks run as `exec_…`.
CHANGES = frozenset(
    {"create", "start", "restart", "stop", "kill", "die", "oom", "pause", "unpause", "update"}
    | {"rename", "destroy", "exec"}
)
# A tail of the engine's record that may still be written when a request has been answered.
_SETTLE = 0.05


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a container. `owner`: the service that it is of."""

    at: float
    action: str
    container: str
    owner: str

    def __str__(self) -> str:
        return f"{self.action} {self.container}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class RefusedError(Exception):
    """The engine answered with an error. `status`: HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Engine:
    """The engine of one stack."""

    def __init__(self, host: str, stack: str) -> None:
        self.host = host
        self._stack = stack
        self._path = host.removeprefix("unix://")
        self._record = _Record(self._path, stack)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the engine's API; the decoded answer, None if it is empty.

        Raises:
            RefusedError: the engine said no.
        """
        answer = self._text(method, path, body)
        return json.loads(answer) if answer.strip() else None

    def _text(self, method: str, path: str, body: Any = None) -> str:
        connection = _UnixConnection(self._path)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read().decode(errors="replace")
        finally:
            connection.close()
        if response.status >= 400:
            raise RefusedError(
                response.status, f"{method} {path}: {response.status} {answer.strip()}"
            )
        return answer

    def inspect(self, container: str) -> Json | None:
        """None: there is no such container."""
        try:
            found: Json = self.ask("GET", f"/containers/{container}/json")
        except RefusedError as exc:
            if exc.status == 404:
                return None
            raise
        return found

    def inspect_all(self) -> dict[str, Json]:
        """Every container of the stack, by name."""
        query = quote(json.dumps({"label": [f"{STACK_LABEL}={self._stack}"]}))
        listed = self.ask("GET", f"/containers/json?all=1&filters={query}")
        found = (self.inspect(entry["Id"]) for entry in listed)
        return {each["Name"].lstrip("/"): each for each in found if each is not None}

    def post(self, container: str, action: str) -> None:
        """`start`, `kill`, `pause`, `stop?t=1` …"""
        self.ask("POST", f"/containers/{container}/{action}")

    def remove(self, container: str) -> None:
        self.ask("DELETE", f"/containers/{container}?force=1&v=1")

    def update(self, container: str, **host: Any) -> None:
        """As `docker update` does."""
        self.ask("POST", f"/containers/{container}/update", host)

    def output(self, container: str, *argv: str) -> str:
        """What a command in the container writes, as `docker exec -t` shows it."""
        wanted = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True, "Tty": True}
        made = self.ask("POST", f"/containers/{container}/exec", wanted)
        return self._text("POST", f"/exec/{made['Id']}/start", {"Detach": False, "Tty": True})

    def make_again(self, container: str, change: Callable[[Json], None]) -> None:
        """Remove it and run one like it by hand, changed."""
        found = self.inspect(container)
        if found is None:
            raise RuntimeError(f"there is no container {container}")
        host = copy.deepcopy(found["HostConfig"])
        body: Json = {**copy.deepcopy(found["Config"]), "HostConfig": host}
        change(body)
        self.remove(container)
        self.ask("POST", f"/containers/create?name={container}", body)
        self.post(container, "start")

    def events(self) -> list[Event]:
        """What was done since the last call, oldest first.

        Raises:
            RuntimeError: the engine has ended its record.
        """
        return self._record.taken()

    def close(self) -> None:
        self._record.close()


class _Record:
    """The engine's own record, read as it is written: it keeps the last 256 lines only."""

    def __init__(self, path: str, stack: str) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._connection = _UnixConnection(path)
        label = f"{STACK_LABEL}={stack}"
        query = quote(json.dumps({"type": ["container"], "label": [label]}))
        self._connection.request("GET", f"/events?filters={query}")
        # The connection gives its socket to the response; closing needs it.
        self._socket = self._connection.sock
        self._socket.settimeout(None)
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, name="chaos events", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while line := self._response.readline():
                self._lines.put(line)

    def taken(self) -> list[Event]:
        time.sleep(_SETTLE)
        if not self._thread.is_alive():
            raise RuntimeError("the engine has ended its record of events")
        found = []
        while not self._lines.empty():
            found.append(json.loads(self._lines.get()))
        return list(_events(found))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._response.close()
        self._connection.close()
        self._socket.close()


def _events(documents: Iterable[Json]) -> Iterator[Event]:
    for each in documents:
        attributes = each["Actor"]["Attributes"]
        action, _, command = str(each["Action"]).partition(": ")
        if action == "exec_start" and "/tmp/checked" not in command:
            action = "exec"  # somebody's command, and no health check
        if action in CHANGES:
            name = attributes["name"]
            owner = attributes.get("uici.service") or name
            yield Event(each["timeNano"] / 1e9, action, name, owner)
