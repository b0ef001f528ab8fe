"""The Docker Engine behind the shipped filtering proxy: what UICI needs gets through, no more."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.contract import Executor, ExecutorContext
from executors.docker.sdk import Connection, connect
from infrastructure.errors import PermanentError, UiciError
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveCall
from tests.contract.conftest import (  # noqa: F401 - fixtures
    docker_world,
    loop_images,
    silent_socket,
)
from tests.contract.test_executor_contract import declare, do, only
from tests.contract.world import ENVIRONMENT, DockerWorld, resolve_secret, unique
from tests.fakes.engine import NOBODY

pytestmark = pytest.mark.real

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
SHIPPED = Path(__file__).parents[2] / "deploy" / "docker-proxy" / "haproxy.cfg"


@pytest.fixture
def world(docker_world: DockerWorld) -> DockerWorld:  # noqa: F811 - pytest's way to ask for it
    return docker_world


@pytest.fixture
def filtered(world: DockerWorld, tmp_path: Path) -> Iterator[str]:
    """The proxy's socket."""
    if not Path(HAPROXY).exists():
        pytest.skip("haproxy is not installed")
    text, own = SHIPPED.read_text(), tmp_path / "engine.sock"
    wanted = {
        "unix@/run/uici/docker.sock mode 660 group uici": f"unix@{own} mode 600",
        "unix@/var/run/docker.sock": f"unix@{world.host.removeprefix('unix://')}",
    }
    for shipped, here in wanted.items():
        assert text.count(shipped) == 1
        text = text.replace(shipped, here)
    config = tmp_path / "haproxy.cfg"
    config.write_text(text)
    process = subprocess.Popen([HAPROXY, "-db", "-f", str(config)], stderr=subprocess.PIPE)
    limit = time.monotonic() + 10
    while not own.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < limit
        time.sleep(0.02)
    yield str(own)
    process.terminate()
    process.communicate(timeout=10)


@pytest.fixture
def executor(filtered: str) -> Iterator[Executor]:
    context = ExecutorContext(ENVIRONMENT, 4, NOBODY, resolve_secret)
    made = connect(Connection(host=f"unix://{filtered}"), context)
    yield made
    made.close()


def test_every_operation_but_commands_goes_through(world: DockerWorld, executor: Executor) -> None:
    assert "Docker Engine" in executor.check(timeout=10)
    service = declare(world, unique())
    do(executor, service, "create")
    assert only(executor, service).state is InstanceState.RUNNING
    do(executor, service, "wait_healthy")
    do(executor, service, "logs", lines=5)
    for primitive in ("stats", "events", "inspect"):
        do(executor, service, primitive)
    for primitive in ("pause", "resume", "restart", "stop", "start", "recreate"):
        assert do(executor, service, primitive).changed, primitive
    assert do(executor, service, "update_resources", memory="32Mi").changed
    assert do(executor, service, "recreate", beside=True).changed
    assert do(executor, service, "recreate", image=world.other_image).changed
    assert do(executor, service, "rollback").changed
    assert do(executor, service, "scale", replicas=2).changed
    assert do(executor, service, "scale", replicas=1).changed
    executor.declare(frozenset())
    assert do(executor, service, "remove").changed
    assert world.state(service.metadata.name) == {}


def test_a_command_is_refused_cleanly(world: DockerWorld, executor: Executor) -> None:
    service = declare(world, unique())
    do(executor, service, "create")
    with pytest.raises(UiciError) as error:
        executor.call(service, PrimitiveCall("exec", {"argv": ["true"]}), timeout=10)
    assert isinstance(error.value, PermanentError)
    assert "403" in str(error.value) or "forbidden" in str(error.value).lower()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.41/containers/x/exec"),
        ("GET", "/v1.41/containers/x/archive?path=/etc/shadow"),
        ("PUT", "/v1.41/containers/x/archive?path=/"),
        ("GET", "/v1.41/containers/x/export"),
        ("POST", "/v1.41/containers/x/attach?stream=1"),
        ("POST", "/v1.41/containers/prune"),
        ("POST", "/v1.41/images/create?fromImage=evil"),
        ("POST", "/v1.41/build"),
        ("POST", "/v1.41/commit?container=x"),
        ("GET", "/v1.41/secrets"),
        ("POST", "/v1.41/swarm/init"),
        ("POST", "/v1.41/plugins/pull"),
        ("POST", "/v1.41/volumes/create"),
        ("DELETE", "/v1.41/volumes/data"),
        ("DELETE", "/v1.41/networks/x"),
        ("DELETE", "/v1.41/images/x"),
        ("POST", "/v1.41/containers/json"),
        ("HEAD", "/v1.41/containers/x/archive?path=/"),
        ("GET", "/v1.41/images/../containers/x/export"),
        ("GET", "/v1.41/images/x%2f..%2f..%2fsecrets/json"),
        ("GET", "/v1.41//secrets"),
        ("GET", "/v1.41/containers/x%2farchive/json"),
        ("GET", "/info"),
    ],
)
def test_everything_else_is_refused(filtered: str, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(filtered)
    try:
        connection.request(method, path)
        assert connection.getresponse().status == 403
    finally:
        connection.close()
