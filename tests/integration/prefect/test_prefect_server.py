"""The embedded server, and what happens when it or the API goes away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.local_stack.child import free_port
from flows.prefect_edge import server as module
from flows.prefect_edge.server import client_environment, prefect_server
from infrastructure.errors import PermanentError
from tests.integration.prefect.service import Api, Service, is_gone, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    service = Service(
        tmp_path / "serve",
        None,
        pool=f"pool-{uuid.uuid4().hex[:8]}",
        interval="2s",
        apiUrl=f"http://127.0.0.1:{port}/api",
        server={"mode": "embedded", "host": "127.0.0.1", "port": port, "readyTimeout": "150s"},
    )
    yield service
    service.clear_up()


@pytest.fixture
def api(embedded: Service) -> Iterator[Api]:
    client = Api(embedded._prefect["apiUrl"])
    yield client
    client.close()


def server_pid(service: Service) -> int:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    (pid,) = children.read_text().split()
    return int(pid)


def test_the_life_of_an_embedded_server(embedded: Service, api: Api) -> None:
    """One test and not three: every start of a server takes ten seconds and more."""
    run_id = a_server_that_dies_in_the_middle_costs_the_showing_and_not_the_run(embedded)
    kill_9_takes_the_server_along_and_the_next_serve_starts(embedded, api, run_id)
    a_second_serve_is_refused(embedded)
    serve_takes_its_server_along(embedded)


def a_server_that_dies_in_the_middle_costs_the_showing_and_not_the_run(
    embedded: Service,
) -> str:
    embedded.behave("slow 3")
    embedded.start().started()
    wait_for(lambda: embedded.notes("begin"), what="a run")
    run_id = embedded.notes("begin")[-1]

    os.kill(server_pid(embedded), signal.SIGKILL)

    wait_for(lambda: run_id in embedded.notes("end"), timeout=20, what="the run's end")
    embedded.process.wait(timeout=20)
    assert embedded.process.returncode == 1
    assert "prefect_server_ended" in embedded.log()
    return run_id


def kill_9_takes_the_server_along_and_the_next_serve_starts(
    embedded: Service, api: Api, run_of_the_dead_server: str
) -> None:
    embedded.behave("quiet")
    embedded.start().started()  # on the same database
    assert api.wait_for_end(run_of_the_dead_server)["state_type"] == "CRASHED"
    server = server_pid(embedded)
    embedded.end(signal.SIGKILL)
    before = len(embedded.notes("end"))

    embedded.start().started()

    assert is_gone(server)
    wait_for(lambda: len(embedded.notes("end")) > before, what="a run")
    wait_for(lambda: api.runs(embedded.pool, "COMPLETED"), what="its state")
    (deployment,) = api.deployments(embedded.pool)
    assert len(deployment["schedules"]) == 1


def a_second_serve_is_refused(embedded: Service) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "tests.integration.prefect.stub", embedded.data / "platform.json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"another uici serve (process {embedded.process.pid}) uses" in second.stderr
    assert "Traceback" not in second.stderr


def serve_takes_its_server_along(embedded: Service) -> None:
    server = server_pid(embedded)
    # What answers is the process whose collector was moved (docs/adr/0011), and no child of it.
    assert b"flows.prefect_edge.server_process" in Path(f"/proc/{server}/cmdline").read_bytes()
    assert not any(
        task.joinpath("children").read_text() for task in Path(f"/proc/{server}/task").iterdir()
    )

    seconds = embedded.end()

    assert seconds < 10
    assert embedded.process.returncode == 0
    assert is_gone(server)


def test_a_port_in_use_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORT_WAIT_SECONDS", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(PermanentError, match=rf":{port} .*prefect\.server\.port"),
            prefect_server(tmp_path, port=port),
        ):
            pass


def test_the_session_server_serves_its_ui_with_its_own_api_address(prefect_api: Api) -> None:
    settings = httpx.get(prefect_api.url.removesuffix("/api") + "/ui-settings").json()

    assert settings["api_url"] == prefect_api.url


def test_an_external_server_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    service = Service(
        tmp_path / "serve",
        None,
        pool="pool-nowhere",
        apiUrl=f"http://127.0.0.1:{free_port()}/api",
        server={"mode": "external", "readyTimeout": "1s"},
    )
    service.start()

    assert service.process.wait(timeout=60) == 1
    assert "does not answer: start it, correct prefect.apiUrl" in service.log()
    assert "Traceback" not in service.log()


def test_the_flow_runs_as_a_function_without_worker_or_deployment(
    prefect_api: Api, tmp_path: Path
) -> None:
    (tmp_path / "behaviour").write_text("heal")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.prefect.alone", str(tmp_path)],
        env=environ | client_environment(prefect_api.url, tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Completed healed market-predictor: start"
