"""What the tests hold: a `uici serve` process, and Prefect's REST API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.integration.prefect.stub import platform_with

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
T = TypeVar("T")


def wait_for(look: Callable[[], T | None], *, timeout: float = 90, what: str = "it") -> T:
    """The first answer that is neither None nor empty nor False."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.1)
    return found


class Api:
    """Prefect's REST API, as other programs see it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        return self.try_get(path).raise_for_status().json()

    def try_get(self, path: str) -> httpx.Response:
        return self._ask("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        return self.try_post(path, **body).raise_for_status().json()

    def try_post(self, path: str, **body: Any) -> httpx.Response:
        return self._ask("POST", path, body)

    def patch(self, path: str, **body: Any) -> None:
        self._ask("PATCH", path, body).raise_for_status()

    def put(self, path: str, **body: Any) -> None:
        self._ask("PUT", path, body).raise_for_status()

    def delete(self, path: str) -> None:
        self._ask("DELETE", path).raise_for_status()

    def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """With SQLite, 503 means that another writer was faster; Prefect's client asks again."""
        for _ in range(40):
            response = self._http.request(method, path, json=body if body is not None else {})
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.25)
        return response

    def deployments(self, pool: str) -> list[Any]:
        found = self.post("/deployments/filter", work_pools={"name": {"any_": [pool]}})
        return list(found)

    def runs(self, pool: str, *states: str) -> list[Any]:
        wanted = {"flow_runs": {"state": {"type": {"any_": states}}}} if states else {}
        return list(
            self.post(
                "/flow_runs/filter",
                work_pools={"name": {"any_": [pool]}},
                sort="EXPECTED_START_TIME_ASC",
                **wanted,
            )
        )

    def run(self, run_id: str) -> Any:
        return self.get(f"/flow_runs/{run_id}")

    def wait_for_end(self, run_id: str, *, timeout: float = 90) -> Any:
        def look() -> Any:
            run = self.run(run_id)
            return run if run["state_type"] in FINAL else None

        return wait_for(look, timeout=timeout, what=f"the end of run {run_id}")

    def of_run(self, kind: str, run_id: str) -> list[Any]:
        """The task runs or artifacts of a flow run."""
        return list(self.post(f"/{kind}/filter", flow_runs={"id": {"any_": [run_id]}}))

    def logs(self, run_id: str) -> list[Any]:
        return list(self.post("/logs/filter", logs={"flow_run_id": {"any_": [run_id]}}))

    def all_logs(self, run_id: str) -> list[Any]:
        """Prefect sends lines in batches of its own: they are all there when the last one is."""

        def look() -> list[Any] | None:
            lines = self.logs(run_id)
            ended = any(line["message"].startswith("run_finished ") for line in lines)
            return lines if ended else None

        return wait_for(look, what=f"the last log line of run {run_id}")

    def events(self, run_id: str) -> list[Any]:
        """UICI's events of a flow run."""
        related = {"id": [f"prefect.flow-run.{run_id}"]}
        wanted = {"event": {"prefix": ["uici."]}, "related": related, "order": "ASC"}
        return list(self.post("/events/filter", filter=wanted)["events"])


class Service:
    """A `uici serve` with the pretended loop."""

    def __init__(self, data: Path, api: Api | None, *, pool: str, **prefect: Any) -> None:
        self.data = data
        self.pool = pool
        self._api = api
        # A deployment is known by flow and name, whatever its pool.
        self._prefect = {"deployment": f"reconcile-{pool}"} | prefect
        self._process: subprocess.Popen[bytes] | None = None
        data.mkdir(parents=True, exist_ok=True)
        self.behave("quiet")

    @property
    def api(self) -> Api:
        assert self._api is not None
        return self._api

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def behave(self, words: str) -> None:
        (self.data / "behaviour").write_text(words)

    def start(self, **changes: Any) -> Service:
        self._prefect |= changes
        settings = {"workPool": self.pool, **self._prefect}
        if self._api is not None:
            settings |= {"apiUrl": self._api.url, "server": {"mode": "external"}}
        file = self.data / "platform.json"
        file.write_text(platform_with(self.data, **settings).model_dump_json(by_alias=True))
        with (self.data / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.prefect.stub", str(file)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self

    def started(self) -> Service:
        """Wait until it works."""
        before = self.log().count('"worker_started"')

        def look() -> bool:
            assert self.process.poll() is None, self.log()
            return self.log().count('"worker_started"') > before

        wait_for(look, timeout=90, what="the worker")
        return self

    def log(self) -> str:
        path = self.data / "serve.log"
        return path.read_text() if path.exists() else ""

    def notes(self, word: str) -> list[str]:
        """Ids of the runs that began, or ended, in order."""
        path = self.data / "runs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[2] for line in lines if line.startswith(word)]

    def end(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to end; returns the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        return time.monotonic() - begin

    def clear_up(self) -> None:
        """End it, and leave no schedule behind on a server that goes on."""
        self._end_process()
        if self._api is not None:
            for deployment in self._api.deployments(self.pool):
                self._api.delete(f"/deployments/{deployment['id']}")

    def _end_process(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def trigger(self, behaviour: str, **parameters: Any) -> str:
        """A run by hand; returns its id."""
        self.behave(behaviour)
        (deployment,) = self.api.deployments(self.pool)
        path = f"/deployments/{deployment['id']}/create_flow_run"
        return str(self.api.post(path, parameters=parameters)["id"])

    def run(self, behaviour: str, **parameters: Any) -> Any:
        """A run by hand, from beginning to end."""
        return self.api.wait_for_end(self.trigger(behaviour, **parameters))


def is_gone(pid: int) -> bool:
    """Whether no process has this id, zombies apart."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
