"""The servers of the demo and the tests: they start, they answer, and nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import local_stack
from flows.local_stack.child import find_program
from flows.local_stack.engine import MACHINE_HOST, engine_answers
from flows.local_stack.remote import git
from infrastructure.errors import PermanentError
from tests.conftest import real_part

pytestmark = pytest.mark.real


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def wait_for(condition: Callable[[], bool], *, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def listens(url: str) -> bool:
    try:
        return get(url)[0] > 0
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_child_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    # The shell ignores SIGTERM and so does its own child: only SIGKILL to the group helps.
    script = "trap '' TERM; sleep 600 & echo $! > grandchild; wait; sleep 600"
    argv = ["sh", "-c", f"cd {tmp_path}; {script}"]
    with local_stack.child("stubborn", argv, log=tmp_path / "log", grace=0.2) as stubborn:
        assert wait_for((tmp_path / "grandchild").exists)
        assert wait_for(lambda: bool((tmp_path / "grandchild").read_text().strip()))
        grandchild = int((tmp_path / "grandchild").read_text())
        assert is_alive(grandchild)
    assert not is_alive(stubborn.process.pid)
    assert wait_for(lambda: not is_alive(grandchild))


def test_a_child_that_dies_says_why(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo cannot open the thing >&2; exit 3"]
    with (
        pytest.raises(PermanentError, match=r"(?s)thing server ended with exit code 3.*open the"),
        local_stack.child("thing server", argv, log=tmp_path / "log") as server,
    ):
        server.wait_until(lambda: False, timeout=10)


def test_a_child_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    with local_stack.child("slow server", ["sleep", "600"], log=tmp_path / "log") as server:
        with pytest.raises(PermanentError, match=r"was not ready after 0 s"):
            server.wait_until(lambda: False, timeout=0.2)
        assert is_alive(server.process.pid)
    assert not is_alive(server.process.pid)


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, time\n"
        "from flows.local_stack import child\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "with child('sleeper', ['sleep', '600'], log=log) as sleeper:\n"
        "    print(sleeper.process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # Until setpriv has become sleep there is no link to the parent yet.
        assert wait_for(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()[:32])
        parent.kill()
        parent.wait()
        assert wait_for(lambda: not is_alive(pid))


def test_a_missing_program_names_the_next_step() -> None:
    with pytest.raises(PermanentError, match=r"no-such-server is not installed: run `make setup`"):
        find_program("no-such-server")


def test_prometheus_and_alertmanager_answer_and_end(tmp_path: Path) -> None:
    alert_config = tmp_path / "alertmanager.yml"
    alert_config.write_text("route: {receiver: x}\nreceivers: [{name: x}]\n")
    config = tmp_path / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1s}\n")
    with real_part():
        with (
            local_stack.alertmanager(tmp_path, alert_config) as alerts,
            local_stack.prometheus(tmp_path, config) as metrics,
        ):
            status, body = get(f"{metrics}/api/v1/query?query=1%2B1")
            assert status == 200
            assert json.loads(body)["data"]["result"][1] == "2"
            assert get(f"{alerts}/api/v2/alerts") == (200, "[]\n")
        assert not listens(f"{metrics}/-/ready")
        assert not listens(f"{alerts}/-/ready")


def test_a_wrong_configuration_shows_the_log(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text("globl: {}\n")
    with (
        pytest.raises(PermanentError, match=r"(?s)Prometheus ended .*field globl not found"),
        local_stack.prometheus(tmp_path, config),
    ):
        raise AssertionError("it must not get ready")


def test_a_bare_remote_holds_the_seed(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    (seed / "below").mkdir(parents=True)
    (seed / "one.yml").write_text("a: 1\n")
    (seed / "below" / "two.yml").write_text("b: 2\n")
    remote = local_stack.bare_remote(tmp_path / "remote.git", seed)
    files = git("ls-tree", "-r", "--name-only", "main", repository=remote)
    assert files.split() == ["below/two.yml", "one.yml"]
    assert git("show", "main:one.yml", repository=remote) == "a: 1"
    assert sorted(path.name for path in seed.iterdir()) == ["below", "one.yml"]  # untouched


def test_the_machine_engine_is_reused_and_survives(tmp_path: Path) -> None:
    if not engine_answers(MACHINE_HOST):
        pytest.skip("no Docker Engine of the machine's own answers")
    with local_stack.docker_engine(tmp_path) as engine:
        assert engine == local_stack.DockerEngine(MACHINE_HOST, owned=False)
    assert engine_answers(MACHINE_HOST)


# The name that `own_interfaces` looks for.
NAMED_BRIDGE = ("--opt", f"com.docker.network.bridge.name=uici{os.getpid() % 100_000}n")


def own_interfaces() -> list[str]:
    return [path.name for path in Path("/sys/class/net").glob(f"uici{os.getpid() % 100_000}*")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine")
def test_an_own_engine_runs_containers_and_leaves_nothing(tmp_path: Path) -> None:
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    port = local_stack.free_port()
    before = set(own_interfaces())  # the session's engine, if it is up already
    with real_part(), local_stack.docker_engine(tmp_path, reuse=False) as engine:
        assert engine.owned
        assert engine.host != MACHINE_HOST
        local_stack.build_demo_image(engine.host, "own-engine:1", stack="own-engine")
        publish = f"127.0.0.1:{port}:8000"
        local_stack.docker(engine.host, "run", "--detach", "--publish", publish, "own-engine:1")
        assert wait_for(lambda: listens(f"http://127.0.0.1:{port}/health"))
        assert get(f"http://127.0.0.1:{port}/health") == (200, "ok\n")
        local_stack.docker(engine.host, "network", "create", *NAMED_BRIDGE, "some-network")
        made = set(own_interfaces()) - before
        assert len(made) == 2  # the engine's bridge and this network's
    assert not engine_answers(engine.host)
    assert not listens(f"http://127.0.0.1:{port}/health")
    assert set(own_interfaces()) == before
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding
    assert not (tmp_path / "docker-data").exists()
    assert not Path(engine.host.removeprefix("unix://")).parent.exists()


def test_the_demo_service_is_healthy_until_a_fault_and_a_restart_clears_it(
    docker_host: str, demo_image: str
) -> None:
    port = local_stack.free_port()
    base = f"http://127.0.0.1:{port}"
    publish = f"127.0.0.1:{port}:8000"
    container = local_stack.docker(
        docker_host, "run", "--detach", "--memory", "64m", "--publish", publish, demo_image
    )
    assert wait_for(lambda: listens(f"{base}/health"))
    assert get(f"{base}/health") == (200, "ok\n")
    assert "\nservice_healthy 1\n" in get(f"{base}/metrics")[1]
    assert '\nservice_build_info{version="1.4.2"} 1\n' in get(f"{base}/metrics")[1]

    assert get(f"{base}/fault?health=on") == (200, "health=on\n")
    assert get(f"{base}/health")[0] == 503
    assert "\nservice_healthy 0\n" in get(f"{base}/metrics")[1]
    assert "health check failed" in local_stack.docker(docker_host, "logs", container)

    began = time.monotonic()
    local_stack.docker(docker_host, "restart", container)
    assert time.monotonic() - began < 5  # it ends on SIGTERM, well before Docker's 10 s
    assert wait_for(lambda: listens(f"{base}/health"))
    assert get(f"{base}/health") == (200, "ok\n")


def test_the_gateway_is_as_healthy_as_the_predictor(
    docker_host: str, demo_image: str, stack_name: str
) -> None:
    network = f"{stack_name}-network"
    label = f"{local_stack.STACK_LABEL}={stack_name}"
    engine = local_stack.DockerEngine(docker_host, owned=docker_host != MACHINE_HOST)
    with local_stack.container_network(engine, network, label=label):
        port = local_stack.free_port()
        health = f"http://127.0.0.1:{port}/health"
        run = ("run", "--detach", "--network", network)
        predictor = local_stack.docker(
            docker_host, *run, "--network-alias", "predictor", demo_image
        )
        local_stack.docker(
            docker_host,
            *(*run, "--publish", f"127.0.0.1:{port}:8000"),
            *("--env", "PREDICTOR_URL=http://predictor:8000", demo_image),
        )
        assert wait_for(lambda: listens(health) and get(health)[0] == 200)
        local_stack.docker(docker_host, "kill", predictor)
        assert get(health)[0] == 503
        local_stack.docker(docker_host, "start", predictor)
        assert wait_for(lambda: get(health)[0] == 200)


def test_removing_a_stack_removes_exactly_that(docker_host: str) -> None:
    mine, other = f"mine-{os.getpid()}", f"other-{os.getpid()}"
    try:
        for stack in (mine, other):
            tag = f"uici-{stack}:1"
            local_stack.build_demo_image(docker_host, tag, f"uici-{stack}-alias:1", stack=stack)
            local_stack.docker(docker_host, "run", "--detach", "--name", f"uici-{stack}", tag)
        local_stack.remove_stack(docker_host, mine)
        names = local_stack.docker(docker_host, "ps", "--all", "--format", "{{.Names}}").split()
        images = local_stack.docker(docker_host, "images", "--format", "{{.Repository}}").split()
        assert not [name for name in names + images if mine in name]
        assert f"uici-{other}" in names
        assert {f"uici-{other}", f"uici-{other}-alias"} <= set(images)
    finally:
        local_stack.remove_stack(docker_host, mine)
        local_stack.remove_stack(docker_host, other)


def test_a_tag_of_somebody_elses_image_is_not_taken(
    docker_host: str, demo_image: str, stack_name: str
) -> None:
    # `docker commit` with an emptied label is an image that no stack owns.
    container = local_stack.docker(docker_host, "create", demo_image)
    foreign = f"uici-foreign-{stack_name}:1"
    change = f"LABEL {local_stack.STACK_LABEL}="
    local_stack.docker(docker_host, "commit", "--change", change, container, foreign)
    try:
        with pytest.raises(PermanentError, match=r"already has an image .* that is not the demo's"):
            local_stack.build_demo_image(docker_host, foreign, stack=stack_name)
    finally:
        local_stack.docker(docker_host, "image", "rm", "--force", foreign)


def test_termination_signals_reach_the_child_first(tmp_path: Path) -> None:
    script = "trap 'echo tidied > tidied; exit 0' TERM; echo up > up; while :; do sleep 0.05; done"
    argv = ["sh", "-c", f"cd {tmp_path}; {script}"]
    with local_stack.child("tidy", argv, log=tmp_path / "log") as tidy:
        assert wait_for((tmp_path / "up").exists)
    assert (tmp_path / "tidied").exists()
    assert tidy.process.returncode != -signal.SIGKILL
