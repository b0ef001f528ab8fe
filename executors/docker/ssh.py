"""A Docker Engine over SSH: HTTP through `ssh HOST docker system dial-stdio`, as docker does it.

The system's OpenSSH client makes the connection, so that known hosts, keys, agent, jump hosts
and everything else are what its configuration says, and nothing is asked at a terminal.
Imported by `executors.docker.sdk` where an address is `ssh://`; not the SDK's own way, which
takes another SSH implementation even to start this one, and knows no time-outs.
"""

from __future__ import annotations

import http.client
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlsplit

import requests.adapters
import urllib3.connection
import urllib3.connectionpool

from executors.docker.errors import TunnelError

# Any name: the tunnel leads to one engine.
BASE_URL = "http+docker://localhost"

_SAID = 300  # characters of what ssh says
_ENDS_WITHIN = 2.0  # seconds that an ssh which has hung up may take to say why


def command(address: str, seconds: float) -> list[str]:
    """The words that open a tunnel.

    Args:
        address: `ssh://[user@]host[:port][/path of the engine's socket]`.
        seconds: for the connection.
    """
    url = urlsplit(address)
    words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(seconds))}"]
    if url.username:
        words += ["-l", url.username]
    if url.port:
        words += ["-p", str(url.port)]
    engine = ["--host", f"unix://{url.path}"] if url.path.strip("/") else []
    there = shlex.join(["docker", *engine, "system", "dial-stdio"])
    return [*words, "--", url.hostname or "", there]


@dataclass(slots=True)
class _Tunnel:
    """One ssh and what it has said."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]

    def reason(self) -> str:
        """Why it has hung up, as far as it says so."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_ENDS_WITHIN)
        self.said.seek(0)
        lines = self.said.read(1 << 16).decode(errors="replace").splitlines()
        told = [line.strip() for line in lines if line.strip() and not line.startswith("Warning:")]
        return told[-1][:_SAID] if told else "it hung up without a word"

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.said.close()


@dataclass(slots=True)
class _Tunnels:
    """Those of one client. They end with it, since an answer may outlive its connection."""

    address: str
    open: list[_Tunnel] = field(default_factory=list)

    def dial(self, seconds: float | None) -> tuple[socket.socket, _Tunnel]:
        ours, theirs = socket.socketpair()
        said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its ssh
        try:
            process = subprocess.Popen(  # noqa: S603 - words of the configuration, no shell here
                command(self.address, seconds or 60),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=said,
                start_new_session=True,  # Ctrl-C is ours to handle, and no terminal is asked
            )
        except OSError as exc:
            ours.close()
            said.close()
            raise TunnelError(f"ssh can't be run ({exc.strerror}): install openssh-client") from exc
        finally:
            theirs.close()
        ours.settimeout(seconds)
        tunnel = _Tunnel(process, said)
        self.open.append(tunnel)
        return ours, tunnel

    def close(self) -> None:
        while self.open:
            self.open.pop().end()


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, tunnels: _Tunnels) -> None:
        super().__init__("localhost")
        self._tunnels = tunnels
        self._ssh: _Tunnel | None = None

    def connect(self) -> None:
        seconds = self.timeout if isinstance(self.timeout, int | float) else None
        self.sock, self._ssh = self._tunnels.dial(seconds)

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise self._hung_up() from exc

    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]  # as urllib3
        try:
            return super().getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError) as exc:
            raise self._hung_up() from exc

    def _hung_up(self) -> TunnelError:
        return TunnelError(self._ssh.reason() if self._ssh else "no connection was made")


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, tunnels: _Tunnels) -> None:
        super().__init__("localhost")
        self._tunnels = tunnels

    def _new_conn(self) -> _Connection:
        self.num_connections += 1
        return _Connection(self._tunnels)


class SshAdapter(requests.adapters.HTTPAdapter):
    """For a `requests.Session`, mounted at `BASE_URL`. Closing it ends its tunnels."""

    def __init__(self, address: str) -> None:
        """Connect to nothing yet.

        Args:
            address: see `command`.
        """
        self._tunnels = _Tunnels(address)
        self._pool = _Pool(self._tunnels)
        super().__init__()

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,  # noqa: ARG002 - the base class's
        verify: Any,  # noqa: ARG002 - as above
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002 - as above
        cert: Any = None,  # noqa: ARG002 - as above
    ) -> urllib3.connectionpool.HTTPConnectionPool:
        """The one there is."""
        return self._pool

    def request_url(
        self,
        request: requests.PreparedRequest,
        proxies: Mapping[str, str] | None,  # noqa: ARG002 - none leads there
    ) -> str:
        """The path alone."""
        return str(request.path_url)

    def close(self) -> None:
        """Idempotent."""
        super().close()
        self._pool.close()
        self._tunnels.close()
