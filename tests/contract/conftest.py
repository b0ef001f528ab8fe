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
from tests.contract.world import DockerWorld, FakeWorld, World, import_images


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


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.real)])
def world(request: pytest.FixtureRequest) -> World:
    """Each engine in turn."""
    if request.param == "fake":
        return FakeWorld()
    made: DockerWorld = request.getfixturevalue("docker_world")
    return made
