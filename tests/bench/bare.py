"""The lower bound: the requests of a run and nothing else, by the standard library.

`BareEngine` speaks HTTP over the engine's socket; `SdkEngine` does the same by the Docker
SDK's low-level client, which is what most programs pay. Nothing here is the product's.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import docker  # noqa: TID251 - the peer that the product is measured against

_HTTP_ERROR = 400


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class BareEngine:
    """A Docker Engine over its Unix socket; one kept connection a thread."""

    def __init__(self, host: str, *, concurrency: int) -> None:
        self._path = host.removeprefix("unix://")
        self._own = threading.local()
        self._connections: list[_UnixConnection] = []
        self._pool = ThreadPoolExecutor(concurrency)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded answer, None if it is empty."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = _UnixConnection(self._path)
            self._connections.append(connection)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status >= _HTTP_ERROR:
            raise RuntimeError(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer) if answer else None

    def each(self, method: str, paths: Sequence[str], bodies: Sequence[Any] = ()) -> list[Any]:
        """Many requests, as many at the same time as there are threads."""
        given = bodies or [None] * len(paths)
        return list(self._pool.map(self.ask, [method] * len(paths), paths, given))

    def look(self, prefix: str) -> list[Any]:
        """One list, and an inspect of every container whose name begins with `prefix`."""
        listed = self.ask("GET", "/containers/json?all=1")
        ours = [entry["Id"] for entry in listed if entry["Names"][0][1:].startswith(prefix)]
        return self.each("GET", [f"/containers/{name}/json" for name in ours])

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()


class SdkEngine:
    """The same look by the Docker SDK's `APIClient`, one client a thread, kept."""

    def __init__(self, host: str, *, concurrency: int) -> None:
        self._host = host
        self._own = threading.local()
        self._clients: list[docker.APIClient] = []
        self._pool = ThreadPoolExecutor(concurrency)

    def look(self, prefix: str) -> list[Any]:
        """See `BareEngine.look`."""
        listed = self._client().containers(all=True)
        ours = [entry["Id"] for entry in listed if entry["Names"][0][1:].startswith(prefix)]
        return list(self._pool.map(self._inspect, ours))

    def close(self) -> None:
        self._pool.shutdown()
        for client in self._clients:
            client.close()

    def _inspect(self, container: str) -> Any:
        return self._client().inspect_container(container)

    def _client(self) -> docker.APIClient:
        client: docker.APIClient | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = docker.APIClient(base_url=self._host)
            self._clients.append(client)
        return client


class BareHttp:
    """A monitoring server on one kept connection. For one thread at a time."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post_form(self, path: str, fields: Mapping[str, str]) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, urlencode(fields), headers)

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] = {}
    ) -> Any:
        self._connection.request(method, path, body, dict(headers))
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= _HTTP_ERROR:
            raise RuntimeError(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer)


class BareClone:
    """A bare clone of its own, as a person would make it; `git` as a child each time."""

    def __init__(self, directory: Path, remote: Path) -> None:
        self._directory = directory
        git("init", "--quiet", "--bare", str(directory))
        self.run("remote", "add", "origin", str(remote))

    def run(self, *words: str, stdin: bytes = b"") -> bytes:
        """One Git command; its stdout."""
        return git(f"--git-dir={self._directory}", *words, stdin=stdin)

    def fetch(self, *branches: str) -> None:
        """One fetch of these branches."""
        specs = [f"+refs/heads/{name}:refs/remotes/origin/{name}" for name in branches]
        self.run("fetch", "--quiet", "--no-tags", "origin", *specs)


def git(*words: str, stdin: bytes = b"") -> bytes:
    """Run git; its stdout. CalledProcessError if it fails."""
    return subprocess.run(["git", *words], input=stdin, capture_output=True, check=True).stdout


def stored_bytes(repository: Path) -> int:
    """What the objects and packs of a bare repository take, by the sizes of their files."""
    return sum(p.stat().st_size for p in (repository / "objects").rglob("*") if p.is_file())
