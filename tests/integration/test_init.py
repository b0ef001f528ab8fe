"""`uici init` on a machine where something runs: its state is what runs, without a drift."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker  # noqa: TID251 - the person who starts a container by hand
import pytest

from flows.cli import main
from flows.command_line.init import Around, init
from flows.command_line.preview import preview
from flows.command_line.validation import validate
from flows.demo.place import ROOT
from flows.listener import RunRequest
from flows.runtime import open_runtime
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.service import Mode


@pytest.fixture
def by_hand(docker_host: str, demo_image: str) -> Iterator[str]:
    with _container(docker_host, demo_image) as name:
        yield name


@pytest.fixture
def as_in_the_tutorial(docker_host: str) -> Iterator[str]:
    """A container of the image that is made without a registry, by the page's own line."""
    image = f"tutorial-{uuid.uuid4().hex[:8]}:1"
    page = (ROOT / "docs/tutorial.md").read_text()
    (line,) = re.findall(r"^\$ (tar .*\| docker import .*) web:1$", page, re.MULTILINE)
    words = ["bash", "-o", "pipefail", "-c", f"{line} {image}"]
    subprocess.run(words, check=True, env={**os.environ, "DOCKER_HOST": docker_host})
    with _container(docker_host, image) as name:
        yield name
    client = docker.DockerClient(base_url=docker_host)
    client.images.remove(image)
    client.close()


@contextmanager
def _container(docker_host: str, image: str) -> Iterator[str]:
    name = f"by-hand-{uuid.uuid4().hex[:8]}"
    client = docker.DockerClient(base_url=docker_host)
    container = client.containers.run(
        image, name=name, detach=True, environment={"LEVEL": "info"}, mem_limit="64m"
    )
    try:
        yield name
    finally:
        container.remove(force=True)
        client.close()


def test_what_runs_is_in_sync_at_once(docker_host: str, by_hand: str, tmp_path: Path) -> None:
    made = init(tmp_path / "new", mode=Mode.OBSERVE, around=Around(docker_host, "", ""))
    assert by_hand in made.services
    assert validate(made.clone, made.config).problems == ()
    config = UniversalConfigLoader(made.config).load()
    with open_runtime(config) as runtime:
        request = RunRequest(None, (f"local-docker/{by_hand}",), None, "a-preview")
        seen = preview(request, runtime, unasked="a test")
    assert seen.desired.refused_revision is None
    assert not seen.differs, seen.comparison.drifts


@pytest.fixture
def uici(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], docker_host: str
) -> Callable[[str], tuple[int, str]]:
    """Runs a command line, and gives its exit code and what it printed."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)

    def run(line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", line.split())
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), capfd.readouterr().out

    return run


def test_the_tutorial_heals_what_was_killed(
    uici: Callable[[str], tuple[int, str]],
    as_in_the_tutorial: str,
    docker_host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hand = as_in_the_tutorial
    monkeypatch.chdir(tmp_path)
    assert uici("uici init ops")[0] == 0
    code, told = uici(f"uici plan --config ops/config -t {by_hand}")
    assert (code, "in sync" in told) == (0, True)
    client = docker.DockerClient(base_url=docker_host)
    container = client.containers.get(by_hand)
    container.kill()
    told, deadline = "", time.monotonic() + 60
    while " is Degraded" not in told and time.monotonic() < deadline:  # after its grace
        code, told = uici(f"uici explain {by_hand} --config ops/config")
        assert code == 0
    assert f"local-docker/{by_hand} is Degraded: {by_hand} is stopped" in told
    assert "mode is observe, not enforce" in told
    uici(f"uici reconcile --config ops/config -t {by_hand}")
    container.reload()
    assert container.status == "exited"  # it only looks yet
    platform = tmp_path / "ops" / "config" / "platform.yml"
    platform.write_text(platform.read_text().replace("mode: observe", "mode: enforce", 1))
    code, told = uici(f"uici reconcile --config ops/config -t {by_hand}")
    assert (code, "recovered" in told) == (0, True), told
    container.reload()
    assert container.status == "running"
    assert "recovered" in uici("uici report --config ops/config")[1]
    client.close()
