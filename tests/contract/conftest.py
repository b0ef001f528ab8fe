"""The engines that the contract suite runs over: one in memory, one real Docker Engine.

`docker_host` comes from tests/conftest.py.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.local_stack import STACK_LABEL, remove_stack
from tests.contract.kubernetes_cluster import cluster, kubernetes_world, silent_api
from tests.contract.oci_world import OciWorld
from tests.contract.world import DockerWorld, FakeWorld, World, import_images
from tests.fakes.oci_service import OciService


@pytest.fixture(scope="session")
def loop_images(docker_host: str) -> Iterator[tuple[str, str]]:
    """Two images to run; everything made from them is removed at the end."""
    stack = f"uici-contract-{os.getpid()}-{time.time_ns():x}"
    yield import_images(docker_host, f"{STACK_LABEL}={stack}")
    remove_stack(docker_host, stack)


@pytest.fixture
def silent_socket(tmp_path: Path) -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(64)
        yield f"unix://{path}"


@pytest.fixture
def docker_world(
    docker_host: str, loop_images: tuple[str, str], silent_socket: str
) -> Iterator[DockerWorld]:
    """A real engine."""
    world = DockerWorld(docker_host, loop_images, silent_socket)
    yield world
    world.close()


@pytest.fixture
def oci_world(tmp_path: Path) -> Iterator[OciWorld]:
    """The real SDK of Oracle Cloud against a service on loopback."""
    with OciService() as service:
        world = OciWorld(service, tmp_path)
        yield world
        world.close()


__all__ = [
    "cluster",
    "kubernetes_world",
    "silent_api",
]  # fixtures: pytest finds them by these names


@pytest.fixture(
    params=["fake", pytest.param("docker", marks=pytest.mark.real), "kubernetes", "oci"]
)
def world(request: pytest.FixtureRequest) -> World:
    """Each engine in turn."""
    if request.param == "fake":
        return FakeWorld()
    if request.param == "oci":
        cloud: OciWorld = request.getfixturevalue("oci_world")
        return cloud
    if request.param == "kubernetes":
        pods: World = request.getfixturevalue("kubernetes_world")
        return pods
    made: DockerWorld = request.getfixturevalue("docker_world")
    return made
