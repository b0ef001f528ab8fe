"""`uici import docker` on a real engine: what a person started runs as Git says afterwards."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from executors.contract import ExecutorContext, load_executor_module
from flows.command_line.import_docker import import_docker
from flows.command_line.import_files import Imported, Written, write
from flows.command_line.preview import Preview, preview
from flows.command_line.validation import validate
from flows.listener import RunRequest
from flows.local_stack import docker, free_port
from flows.report import RunResult
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, loop_world

pytestmark = pytest.mark.real
PREFIX = "uici-imp"


@dataclass
class Place:
    """An engine with a person at it, and the loop beside."""

    host: str
    image: str
    loop: LoopWorld

    def run(self, name: str, *words: str, image: str = "", argv: tuple[str, ...] = ()) -> str:
        """`docker run --detach` as a person."""
        full = f"{PREFIX}-{name}"
        options = ("run", "--detach", "--name", full, *words)
        return docker(self.host, *options, image or self.image, *argv).strip()

    def imported(self, *names: str) -> Imported:
        """What an import of these containers finds."""
        runtime = self.loop.runtime
        full = [f"{PREFIX}-{name}" for name in names]
        return import_docker(self.loop.config, ENVIRONMENT, runtime.identity, names=full)

    def written(self, found: Imported) -> Written:
        """The state repository with what was imported, committed."""
        work = self.loop.root / "work"
        if not work.exists():
            git(self.loop.root, "clone", "-q", str(self.loop.remote), str(work))
            git(work, "checkout", "-q", "-B", "main")
        done = write(found, self.loop.config, work, force=False)
        git(work, "add", "-A")
        git(work, "commit", "-qm", "import")
        git(work, "push", "-q", "origin", "main")
        return done

    def plan(self) -> Preview:
        """`uici plan`."""
        return preview(RunRequest(None, None, None, "plan"), self.loop.runtime)


@pytest.fixture
def place(tmp_path: Path, docker_host: str, demo_image: str) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        environment = {"connection": {"host": docker_host}, "deadline": "15s"}
        made = stack.enter_context(
            loop_world(
                tmp_path,
                platform={"verify": {"deadline": "10s"}},
                environments={"environments": {ENVIRONMENT: environment}},
            )
        )
        module = load_executor_module("docker")
        runtime = made.runtime
        context = ExecutorContext(ENVIRONMENT, 4, runtime.identity, runtime.secrets.resolve)
        connection = made.config.connection(ENVIRONMENT, module.Connection)
        executor = module.connect(connection, context)
        stack.callback(executor.close)
        made.runtime = replace(runtime, executors={ENVIRONMENT: executor})
        stack.callback(_clean, docker_host)
        yield Place(docker_host, demo_image, made)


def _clean(host: str) -> None:
    for listing, removal in (
        (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        (("network", "ls", "--quiet"), ("network", "rm")),
        (("volume", "ls", "--quiet"), ("volume", "rm")),
    ):
        found = docker(host, *listing, "--filter", f"name={PREFIX}").split()
        if found:
            docker(host, *removal, *found)


ODD: dict[str, tuple[str, ...]] = {
    "plain": (),
    "limits": (
        *("--memory", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"),
        *("--cpus", "0.25", "--pids-limit", "50", "--shm-size", "32m"),
        *("--ulimit", "nofile=1024:2048", "--ulimit", "nproc=64", "--oom-score-adj", "100"),
        *("--cpu-shares", "512"),
    ),
    "quota": ("--cpu-quota", "50000", "--memory", "64m", "--memory-swap", "-1"),
    "rights": (
        *("--cap-add", "NET_ADMIN", "--cap-add", "sys_ptrace", "--cap-drop", "MKNOD"),
        *("--user", "1000:1000", "--read-only", "--security-opt", "no-new-privileges"),
        *("--group-add", "10", "--tmpfs", "/run:size=1m", "--init"),
    ),
    "storage": (
        *("--volume", f"{PREFIX}-data:/data", "--volume", "/tmp:/host:ro", "--volume", "/own"),
        *("--mount", f"type=volume,source={PREFIX}-more,target=/more,readonly"),
        *("--mount", "type=tmpfs,target=/scratch,tmpfs-size=1048576"),
    ),
    "life": (
        *("--restart", "on-failure:3", "--stop-timeout", "3", "--stop-signal", "SIGINT"),
        *("--log-opt", "max-size=1m", "--workdir", "/tmp", "--interactive", "--tty"),
    ),
    # Never due while the test runs: the image has no shell.
    "health": ("--health-cmd", "true", "--health-interval", "1h", "--health-retries", "2"),
    "names": (
        *("--hostname", "odd", "--add-host", "db:10.0.0.1", "--dns", "192.0.2.1"),
        *("--dns-search", "example.test", "--label", "team=trading", "--label", "empty="),
        *("--env", "A=1", "--env", "EMPTY=", "--env", "YAML=a: b # c", "--env", "LINES=a\nb"),
    ),
    "shared": ("--pid", "host", "--ipc", "host", "--uts", "host"),
    "open": ("--publish-all", "--expose", "9000/udp"),
    "chosen": ("--publish", "8000"),
    "no-network": ("--network", "none"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_a_person_started_shows_no_drift_after_its_import(place: Place, name: str) -> None:
    place.run(name, "--entrypoint", "/bin/busybox", *ODD[name], argv=("sleep", "1000"))
    done = place.written(place.imported(name))
    assert [path.name for path in done.files] == [f"{PREFIX}-{name}.yml"], done.left_out
    assert validate(place.loop.root / "work", place.loop.config.directory).problems == ()
    seen = place.plan()
    assert [str(drift) for drift in seen.comparison.drifts] == []
    assert not seen.differs


def test_published_ports_entrypoint_and_networks(place: Place) -> None:
    first, second, port = f"{PREFIX}-one", f"{PREFIX}-two", free_port()
    for network in (first, second):
        docker(place.host, "network", "create", network)
    published = ("--publish", f"127.0.0.1:{port}:8000", "--network", first)
    place.run("web", *published, "--network-alias", "shop")
    docker(place.host, "network", "connect", "--alias", "other", second, f"{PREFIX}-web")
    place.run("own", "--entrypoint", "/bin/busybox", "--network", first, argv=("sleep", "99"))
    done = place.written(place.imported("web", "own"))
    text = done.files[1].read_text()
    assert f"127.0.0.1:{port}:8000" in text
    assert not place.plan().differs


def test_a_container_that_is_lost_is_made_again_as_it_was(place: Place) -> None:
    networks = (f"{PREFIX}-one", f"{PREFIX}-two")
    for network in networks:
        docker(place.host, "network", "create", network)
    options = (*ODD["limits"], *ODD["rights"], *ODD["storage"], *ODD["life"], *ODD["names"])
    joined = ("--network", networks[0], "--network-alias", "shop")
    sleeping = ("--entrypoint", "/bin/busybox")
    place.run("web", *options, *joined, *sleeping, argv=("sleep", "1000"))
    docker(place.host, "network", "connect", networks[1], f"{PREFIX}-web")
    before = _inspected(place, "web")
    place.written(place.imported("web"))
    docker(place.host, "rm", "--force", f"{PREFIX}-web")
    report = place.loop.run()
    assert report.result is RunResult.CONVERGED, report.incidents
    after = _inspected(place, "web")
    assert _comparable(after) == _comparable(before)


def _inspected(place: Place, name: str) -> dict[str, object]:
    (found,) = json.loads(docker(place.host, "inspect", f"{PREFIX}-{name}"))
    return dict(found)


def _comparable(inspected: dict[str, object]) -> dict[str, object]:
    """What a person chose, without names that only one container has."""
    config = _part(inspected, "Config")
    # The command line writes null where another client writes nothing.
    host = {key: value for key, value in _part(inspected, "HostConfig").items() if value}
    labels = {k: v for k, v in _part(config, "Labels").items() if not k.startswith("uici.")}
    env = sorted(str(item) for item in _items(config, "Env"))
    for key in ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"):
        config.pop(key, None)
    host.pop("ConsoleSize", None)
    networks = {
        name: "shop" in _items(endpoint, "Aliases")
        for name, endpoint in _part(_part(inspected, "NetworkSettings"), "Networks").items()
    }
    return {**config, "Labels": labels, "Env": env, "HostConfig": host, "Networks": networks}


def _part(value: object, key: str) -> dict[str, object]:
    assert isinstance(value, dict)
    found = value[key]
    return dict(found) if isinstance(found, dict) else {}


def _items(value: object, key: str) -> list[object]:
    assert isinstance(value, dict)
    found = value[key]
    return list(found) if isinstance(found, list) else []


def test_secrets_become_references_and_nothing_is_lost_silently(place: Place) -> None:
    place.run("secret", "--env", "API_KEY=hunter2hunter2", "--label", "token=abcdefgh12345")
    place.run("stopped")
    docker(place.host, "kill", f"{PREFIX}-stopped")
    place.run("Odd_Name")
    found = place.imported("secret", "stopped", "Odd_Name")
    done = place.written(found)
    (file,) = done.files
    text = file.read_text()
    assert "hunter2" not in text
    assert "abcdefgh12345" not in text
    assert "API_KEY: {secret: env:UICI_IMP_SECRET_API_KEY}" in text
    assert "# - native.Labels.token holds what looks like a secret" in text
    told = "\n".join(done.left_out)
    assert f"{PREFIX}-stopped: it is exited" in told
    assert f"docker rename {PREFIX}-Odd_Name {PREFIX}-odd-name" in told
    assert not place.plan().differs


def test_replicas_that_compose_made_are_one_service(place: Place) -> None:
    project = f"{PREFIX}-shop"
    labels = ("com.docker.compose.project=" + project, "com.docker.compose.service=my_web")
    for number in (1, 2):
        numbered = f"com.docker.compose.container-number={number}"
        words = [w for label in (*labels, numbered) for w in ("--label", label)]
        place.run(f"shop_my_web_{number}", *words, "--env", "A=1")
    runtime = place.loop.runtime
    found = import_docker(place.loop.config, ENVIRONMENT, runtime.identity, names=["my-web"])
    done = place.written(found)
    assert [path.name for path in done.files] == ["my-web.yml"], done.left_out
    assert "replicas: 2" in done.files[0].read_text()
    assert not place.plan().differs
