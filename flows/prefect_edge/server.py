"""An embedded Prefect server: one child process on loopback, with SQLite.

For one machine, the demo and the tests; many machines use a Prefect server of their
own (`prefect.server.mode: external`). Neighbour: `flows.serve`, which starts it before
the worker and ends it after.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.local_stack.child import Child, answers, child, free_port
from flows.prefect_edge import server_process
from infrastructure.errors import PermanentError

# A server whose parent was killed needs a moment to let its port go.
_PORT_WAIT_SECONDS = 10.0
_PORT_POLL_SECONDS = 0.1
# With a worker's websockets open the server takes about a second to end.
_GRACE_SECONDS = 3.0
# What belongs to the person at this machine, not to the embedded server.
_FOREIGN = ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH")

# Prefect's own log handler lays every traceback out with Rich, on the server's event loop.
# Those of SQLite's "database is locked", after which clients just ask again, were seen (in
# a thread dump, with `PREFECT_API_LOG_RETRYABLE_ERRORS`) to stop the server for seconds.
_LOG_SETTINGS_FILE = "prefect-logging.yml"
_LOG_SETTINGS = """\
version: 1
disable_existing_loggers: false
formatters:
  plain: {format: "%(asctime)s %(levelname)s %(name)s %(message)s"}
handlers:
  plain: {class: logging.StreamHandler, formatter: plain, stream: ext://sys.stderr}
root: {level: WARNING, handlers: [plain]}
"""


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A server that answers. `api_url` for clients, `ui_url` for people."""

    api_url: str
    ui_url: str
    process: Child


def client_environment(api_url: str, home: Path) -> dict[str, str]:
    """Environment of a process that talks to this Prefect API, as Prefect reads it.

    Args:
        api_url: address that ends in `/api`.
        home: directory for Prefect's own files; never the person's `~/.prefect`.
    """
    plain = {
        # No TLS, nothing to verify; Prefect would read the whole bundle of certificates for
        # every client that it makes, several a run, at 50 ms of CPU each.
        "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true",
    }
    return {
        **(plain if api_url.startswith("http://") else {}),
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Prefect's own INFO lines say what UICI's say already, and each costs a request.
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # UICI sends the run's lines itself (`flows.prefect_edge.listener`), and tells outages once.
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_CLI_PROMPT": "false",
    }


@contextlib.contextmanager
def prefect_server(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    ready_timeout: float = 120.0,
    environ: Mapping[str, str] | None = None,
) -> Iterator[PrefectServer]:
    """Start a Prefect server, wait until it answers, end it with the context.

    Call it from a thread that lives as long as the server should (see
    `flows.local_stack.child`).

    Args:
        directory: for its database, settings and log (`prefect-server.log`).
        host: address to listen on.
        port: None takes a free one.
        ready_timeout: seconds until `/api/health` must answer.
        environ: more Prefect settings.

    Raises:
        PermanentError: the port is in use, or the server ended or was not ready in time;
            with the next step.
    """
    port = free_port() if port is None else port
    _wait_for_port(host, port)
    directory.mkdir(parents=True, exist_ok=True)
    url_host = f"[{host}]" if ":" in host else host
    ui_url = f"http://{url_host}:{port}"
    api_url = f"{ui_url}/api"
    home = directory / "prefect"
    settings = {
        **{key: value for key, value in os.environ.items() if key not in _FOREIGN},
        **client_environment(api_url, home),
        "PREFECT_UI_API_URL": api_url,
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # In 3.8.8 the second interface offers no form to a run that waits for a person.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        # A run a minute is half a million a year: finished runs go after Prefect's retention.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_LOGGING_SETTINGS_PATH": str(directory / _LOG_SETTINGS_FILE),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        **(environ or {}),
    }
    argv = [sys.executable, "-m", server_process.__name__, "server", "start"]
    argv += ["--host", host, "--port", str(port)]
    (directory / _LOG_SETTINGS_FILE).write_text(_LOG_SETTINGS)
    log = directory / "prefect-server.log"
    with child("Prefect server", argv, log=log, environ=settings, grace=_GRACE_SECONDS) as process:
        process.wait_until(lambda: answers(f"{api_url}/health"), timeout=ready_timeout)
        yield PrefectServer(api_url, ui_url, process)


def _wait_for_port(host: str, port: int) -> None:
    deadline = time.monotonic() + _PORT_WAIT_SECONDS
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise PermanentError(
                        f"the Prefect server can't listen on {host}:{port} ({exc.strerror}): end "
                        "what listens there, or set another prefect.server.port (and apiUrl) in "
                        "platform.yml; to use a server that runs already, set prefect.server.mode "
                        "to external"
                    ) from exc
            else:
                return
        time.sleep(_PORT_POLL_SECONDS)
