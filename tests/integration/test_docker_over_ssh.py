"""An engine behind a real sshd, reached by the system's ssh as its user has configured it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from executors.contract import Executor, ExecutorContext
from executors.docker.sdk import Connection, connect
from infrastructure.errors import TemporaryError
from infrastructure.observed import InstanceState
from tests.contract.conftest import (  # noqa: F401 - fixtures
    docker_world,
    loop_images,
    silent_socket,
)
from tests.contract.test_executor_contract import declare, do, only
from tests.contract.world import ENVIRONMENT, DockerWorld, resolve_secret, unique
from tests.fakes.engine import NOBODY
from tests.integration.test_git_access import Sshd, sshd  # noqa: F401 - a fixture

pytestmark = pytest.mark.real


@pytest.fixture
def configured(
    sshd: Sshd,  # noqa: F811 - pytest's way to ask for it
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """What a user's ~/.ssh/config would say; ssh takes its home from the user database."""
    config = tmp_path / "ssh_config"
    config.write_text(f"IdentityFile {sshd.user_key}\nUserKnownHostsFile {sshd.known}\n")
    real = shutil.which("ssh")
    assert real is not None
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(f'#!/bin/sh\nexec {real} -F {shlex.quote(str(config))} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return config


def over(sshd: Sshd, socket: str) -> Executor:  # noqa: F811 - its type, not the fixture
    host = sshd.address(Path(socket.removeprefix("unix://")))
    context = ExecutorContext(ENVIRONMENT, 4, NOBODY, resolve_secret)
    return connect(Connection(host=host), context)


@pytest.mark.usefixtures("configured")
def test_everything_is_done_through_the_tunnel(
    docker_world: DockerWorld,  # noqa: F811 - as above
    sshd: Sshd,  # noqa: F811 - as above
) -> None:
    executor = over(sshd, docker_world.host)
    try:
        service = declare(docker_world, unique())
        do(executor, service, "create")
        assert only(executor, service).state is InstanceState.RUNNING
        said = do(executor, service, "exec", argv=["/bin/echo", "marker77"]).output
        assert said["stdout"] == "marker77\n"
        do(executor, service, "stop", grace_seconds=0)
        assert only(executor, service).state is InstanceState.STOPPED
    finally:
        executor.close()


def test_a_host_that_is_not_known_is_told_with_what_has_to_work(
    sshd: Sshd,  # noqa: F811 - as above
    configured: Path,
) -> None:
    configured.write_text(f"IdentityFile {sshd.user_key}\nUserKnownHostsFile /dev/null\n")
    executor = over(sshd, "unix:///nowhere.sock")
    with pytest.raises(TemporaryError) as told:
        executor.check(timeout=20)
    executor.close()
    assert "Host key verification failed" in str(told.value)
    assert "`ssh -o BatchMode=yes ssh://" in str(told.value)


@pytest.mark.usefixtures("configured")
def test_an_engine_that_is_not_there_is_told_in_its_words(
    sshd: Sshd,  # noqa: F811 - as above
) -> None:
    executor = over(sshd, "unix:///nowhere.sock")
    with pytest.raises(TemporaryError, match=r"nowhere\.sock"):
        executor.check(timeout=20)
    executor.close()


def test_without_ssh_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    context = ExecutorContext(ENVIRONMENT, 4, NOBODY, resolve_secret)
    executor = connect(Connection(host="ssh://engine.test"), context)
    with pytest.raises(TemporaryError, match="install openssh-client"):
        executor.check(timeout=5)
    executor.close()
