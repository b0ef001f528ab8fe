"""Blue-green replacement on a real Docker Engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from executors.docker.membership import new_name, old_name
from infrastructure.errors import PermanentError
from infrastructure.observed import InstanceState
from infrastructure.operations import PrimitiveCall
from tests.contract.conftest import (  # noqa: F401 - fixtures
    docker_world,
    loop_images,
    silent_socket,
)
from tests.contract.test_executor_contract import declare, do, only
from tests.contract.world import CHECKED, DockerWorld, unique

pytestmark = pytest.mark.real


@pytest.fixture
def world(docker_world: DockerWorld) -> DockerWorld:  # noqa: F811 - pytest's way to ask for it
    return docker_world


@pytest.fixture
def network(world: DockerWorld) -> Iterator[str]:
    name = unique("net")
    world.docker("network", "create", name)
    yield name
    for container in world.state("uict-"):
        world.docker("rm", "--force", container)
    world.docker("network", "rm", name)


def aliases(world: DockerWorld, name: str, network: str) -> list[str]:
    text = world.docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name)
    return list(json.loads(text)[network]["Aliases"] or ())


def moment(world: DockerWorld, container: str, action: str) -> int:
    """When the engine recorded it, in nanoseconds."""
    lines = world.docker(
        "events",
        "--since=5m",
        f"--until={time.time() + 0.5:.3f}",
        f"--filter=container={container}",
        f"--filter=event={action}",
        "--format={{.TimeNano}}",
    ).splitlines()
    return int(lines[0])


def test_the_new_one_runs_before_the_old_one_ends_and_takes_name_and_alias(
    world: DockerWorld, network: str
) -> None:
    executor = world.executor()
    service = declare(world, unique(), native=dict(CHECKED))
    name = service.metadata.name
    do(executor, service, "create")
    world.docker("network", "connect", "--alias", "shop", network, name)
    do(executor, service, "wait_healthy")
    old = only(executor, service)

    result = do(executor, service, "recreate", beside=True)

    new = only(executor, service)
    assert result.native_ids == (old.native.id, new.native.id)
    assert (new.native.name, new.state) == (name, InstanceState.RUNNING)
    assert "shop" in aliases(world, name, network)
    assert list(world.state(name)) == [new.native.id]
    started, healthy = (
        moment(world, new.native.id, action) for action in ("start", "health_status: healthy")
    )
    assert started < healthy < moment(world, old.native.id, "die")


def test_a_new_one_that_does_not_come_up_costs_nothing(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    before = world.state(service.metadata.name)
    broken = declare(world, service.metadata.name, command=["sh", "-c", "exit 3"])

    with pytest.raises(PermanentError, match=r"exit code 3; .* ran all the time"):
        do(executor, broken, "recreate", beside=True)

    assert world.state(service.metadata.name) == before


def test_a_fixed_host_port_is_refused_before_anything_changes(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), ports=["127.0.0.1:18993:8000"])
    do(executor, service, "create")
    before = world.state(service.metadata.name)

    with pytest.raises(PermanentError, match=r"fixed port of the host.*strategy in_place"):
        do(executor, service, "recreate", beside=True)

    assert world.state(service.metadata.name) == before


@pytest.mark.parametrize(
    ("host_config", "reason"),
    [
        ({"Binds": ["/tmp:/data"]}, "writes to /tmp"),
        ({"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/data"}]}, "writes to /tmp"),
        ({"NetworkMode": "host"}, "shares the network"),
    ],
)
def test_what_two_would_fight_over_is_refused(
    world: DockerWorld, host_config: dict[str, object], reason: str
) -> None:
    executor = world.executor()
    service = declare(world, unique(), native={"HostConfig": host_config})
    do(executor, service, "create")
    before = world.state(service.metadata.name)

    with pytest.raises(PermanentError, match=rf"{reason}.*strategy in_place"):
        do(executor, service, "recreate", beside=True)

    assert world.state(service.metadata.name) == before


def test_a_read_only_bind_is_no_obstacle(world: DockerWorld) -> None:
    executor = world.executor()
    service = declare(world, unique(), native={"HostConfig": {"Binds": ["/tmp:/data:ro"]}})
    do(executor, service, "create")

    assert do(executor, service, "recreate", beside=True).changed


def test_an_alias_that_git_declares_only_now_arrives(world: DockerWorld, network: str) -> None:
    executor = world.executor()
    name = unique()

    def with_alias(alias: str) -> dict[str, object]:
        networking = {"EndpointsConfig": {network: {"Aliases": [alias]}}}
        return {"HostConfig": {"NetworkMode": network}, "NetworkingConfig": networking}

    do(executor, declare(world, name, native=with_alias("before")), "create")

    do(executor, declare(world, name, native=with_alias("after")), "recreate", beside=True)

    assert "after" in aliases(world, name, network)
    assert "before" not in aliases(world, name, network)


@pytest.mark.parametrize("stage", ["created", "waits", "old renamed", "both renamed"])
def test_one_that_broke_off_is_finished_or_undone(world: DockerWorld, stage: str) -> None:
    executor = world.executor()
    service = declare(world, unique())
    name = service.metadata.name
    do(executor, service, "create")
    old = only(executor, service)
    waiting, parked = new_name(name, old.native.id), old_name(name, old.native.id)
    label = f"--label=uici.target={service.target}"
    world.docker("create", "--name", waiting, label, world.image)
    if stage != "created":
        world.docker("start", waiting)
    if stage.endswith("renamed"):
        world.docker("rename", name, parked)
    if stage == "both renamed":
        world.docker("rename", waiting, name)

    executor.call(service, PrimitiveCall("start", {}, None), timeout=30)

    found = only(executor, service)
    assert (found.native.name, found.state) == (name, InstanceState.RUNNING)
    assert (found.native.id == old.native.id) == (stage in ("created", "waits"))
    assert len(world.state(name)) == 1
