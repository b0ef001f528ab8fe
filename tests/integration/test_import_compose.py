"""Compose files as desired state, on a real engine.

Containers are made as `docker compose up` makes them (labels, names, networks with aliases,
binds in any order), by the Docker command line: the tests need no compose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from executors.contract import ExecutorContext, load_executor_module
from flows.command_line.import_compose import import_compose
from flows.command_line.import_files import write
from flows.command_line.preview import Preview, preview
from flows.command_line.validation import validate
from flows.listener import RunRequest
from flows.local_stack import docker, free_port
from flows.report import RunResult
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, loop_world

pytestmark = pytest.mark.real
PROJECT = "uici-comp"

COMPOSE = """\
name: {project}
x-logging: &logging
  logging: {{driver: json-file, options: {{max-size: 10m, max-file: "3"}}}}
services:
  gateway:
    <<: *logging
    image: ${{IMAGE}}
    ports: ["127.0.0.1:{port}:8000"]
    depends_on: {{web: {{condition: service_healthy}}, front_end: {{condition: service_started}}}}
    networks: [front, back]
    restart: unless-stopped
  web:
    <<: *logging
    image: ${{IMAGE}}
    environment:
      LOG_LEVEL: ${{LEVEL:-info}}
      API_KEY: ${{API_KEY}}
      PRICE: "5$$"
    env_file: [web.env]
    deploy:
      replicas: 2
      resources: {{limits: {{memory: 64M, cpus: "0.5", pids: 100}}}}
    expose: ["9000"]
    networks: {{back: {{aliases: [shop]}}}}
    healthcheck: {{test: ["NONE"]}}
    depends_on: [db]
  front_end:
    image: ${{IMAGE}}
    entrypoint: /bin/busybox
    command: sleep 1000
    networks: [front]
    read_only: true
    tmpfs: [/run]
    cap_drop: [MKNOD, AUDIT_WRITE]
  db:
    image: ${{IMAGE}}
    volumes:
      - data:/data
      - ./conf:/conf:ro
      - {{type: bind, source: ./conf, target: /more}}
    networks: [back]
    stop_grace_period: 3s
    ulimits: {{nofile: {{soft: 1024, hard: 2048}}, nproc: 64}}
    mem_limit: 64m
    memswap_limit: 96m
    labels: {{team: trading}}
  cache:
    extends: {{file: common.yml, service: base}}
    networks: [back]
    init: true
    user: "1000:1000"
    command: ["sleep", "1000"]
  plain:
    image: ${{IMAGE}}
    hostname: odd
    extra_hosts: ["db:10.0.0.1", "other=10.0.0.2"]
networks:
  front:
  back: {{name: {project}-private}}
volumes:
  data:
"""
COMMON = """\
services:
  base:
    image: ${IMAGE}
    entrypoint: ["/bin/busybox"]
    working_dir: /tmp
"""
SOURCE = """\
apiVersion: uici/v1
kind: Source
metadata: {name: shop}
spec:
  compose: shop/docker-compose.yml
  environment: local-docker
  directory: %s
  services:
    web:
      env: {API_KEY: {secret: "env:UICI_TEST_API_KEY"}}
      remediation: {mode: enforce}
"""


@dataclass
class Place:
    """An engine on which compose was, and the loop beside."""

    host: str
    image: str
    port: int
    folder: Path
    loop: LoopWorld

    def up(self, separator: str = "-") -> None:
        """What `docker compose up` makes of the file."""
        for network in (f"{PROJECT}_front", f"{PROJECT}-private", f"{PROJECT}_default"):
            docker(self.host, "network", "create", network)
        self._gateway(separator)
        limits = ("--memory", "64m", "--cpus", "0.5", "--pids-limit", "100", "--expose", "9000")
        env = ("--env", "LOG_LEVEL=info", "--env", "API_KEY=s3cret", "--env", "PRICE=5$")
        for number in (1, 2):
            self._run(
                *("web", number, separator, f"{PROJECT}-private"),
                *("--env", "FROM_FILE=a b", *env, *limits, "--network-alias", "shop"),
                *("--no-healthcheck", *LOGGING),
            )
        self._run(
            *("front_end", 1, separator, f"{PROJECT}_front"),
            *("--entrypoint", "/bin/busybox", "--read-only", "--tmpfs", "/run"),
            *("--cap-drop", "AUDIT_WRITE", "--cap-drop", "MKNOD"),
            argv=("sleep", "1000"),
        )
        conf = self.folder / "conf"
        self._run(
            *("db", 1, separator, f"{PROJECT}-private"),
            *("--mount", f"type=bind,source={conf},target=/more"),
            *("--volume", f"{conf}:/conf:ro", "--volume", f"{PROJECT}_data:/data:rw"),
            *("--stop-timeout", "3", "--ulimit", "nproc=64", "--ulimit", "nofile=1024:2048"),
            *("--memory", "64m", "--memory-swap", "96m", "--label", "team=trading"),
        )
        self._run(
            *("cache", 1, separator, f"{PROJECT}-private"),
            *("--entrypoint", "/bin/busybox", "--workdir", "/tmp", "--init"),
            *("--user", "1000:1000"),
            argv=("sleep", "1000"),
        )
        hosts = ("--add-host", "other:10.0.0.2", "--add-host", "db:10.0.0.1")
        self._run("plain", 1, separator, f"{PROJECT}_default", "--hostname", "odd", *hosts)

    def _gateway(self, separator: str) -> None:
        published = ("--publish", f"127.0.0.1:{self.port}:8000")
        policy = ("--restart", "unless-stopped")
        # Which of two networks comes first is compose's affair.
        networks = (f"{PROJECT}_front", f"{PROJECT}-private")
        self._run("gateway", 1, separator, networks[0], *published, *policy, *LOGGING)
        name = f"{PROJECT}{separator}gateway{separator}1"
        docker(self.host, "network", "connect", "--alias", "gateway", networks[1], name)

    def _run(
        self,
        service: str,
        number: int,
        separator: str,
        network: str,
        *words: str,
        argv: tuple[str, ...] = (),
    ) -> None:
        labels = {
            "project": PROJECT,
            "service": service,
            "container-number": str(number),
            "oneoff": "False",
            "config-hash": "0" * 64,
            "version": "2.26.1",
        }
        own = [w for k, v in labels.items() for w in ("--label", f"com.docker.compose.{k}={v}")]
        name = f"{PROJECT}{separator}{service}{separator}{number}"
        joined = ("--network", network, "--network-alias", service)
        command = ("run", "--detach", "--name", name, *own, *joined, *words, self.image, *argv)
        docker(self.host, *command)

    def commit(self, **files: str) -> None:
        """Commit files by their paths."""
        work = self.loop.root / "work"
        if not work.exists():
            git(self.loop.root, "clone", "-q", str(self.loop.remote), str(work))
            git(work, "checkout", "-q", "-B", "main")
        for name, text in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(work, "add", "-A")
        git(work, "commit", "-qm", "change")
        git(work, "push", "-q", "origin", "main")

    def source(self) -> None:
        """The compose file and a Source that names it, committed."""
        files = {path.name: path.read_text() for path in self.folder.iterdir() if path.is_file()}
        self.commit(
            **{"shop.yml": SOURCE % self.folder},
            **{f"shop/{name}": text for name, text in files.items()},
        )

    def plan(self) -> Preview:
        """`uici plan`."""
        return preview(RunRequest(None, None, None, "plan"), self.loop.runtime)


LOGGING = ("--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3")


@pytest.fixture
def place(
    tmp_path: Path, docker_host: str, demo_image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setenv("UICI_TEST_API_KEY", "s3cret")
    monkeypatch.setenv("API_KEY", "s3cret")
    port, folder = free_port(), tmp_path / "shop"
    (folder / "conf").mkdir(parents=True)
    (folder / "docker-compose.yml").write_text(COMPOSE.format(project=PROJECT, port=port))
    (folder / "common.yml").write_text(COMMON)
    (folder / ".env").write_text(f"IMAGE={demo_image}\n")
    (folder / "web.env").write_text("# settings\nFROM_FILE='a b'\nLOG_LEVEL=debug\n")
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
        yield Place(docker_host, demo_image, port, folder, made)


def _clean(host: str) -> None:
    label = f"label=com.docker.compose.project={PROJECT}"
    made = docker(host, "ps", "-aq", "--filter", label).split()
    if made:
        docker(host, "rm", "--force", "--volumes", *made)
    for kind in ("network", "volume"):
        found = docker(host, kind, "ls", "-q", "--filter", f"name={PROJECT}").split()
        if found:
            docker(host, kind, "rm", *found)


@pytest.mark.parametrize("separator", ["-", "_"])
def test_containers_of_compose_show_no_drift_from_their_file(place: Place, separator: str) -> None:
    place.up(separator)
    place.source()
    seen = place.plan()
    assert seen.desired.refused_revision is None, seen.desired.problems
    assert len(seen.desired.services) == 6
    assert [str(drift) for drift in seen.comparison.drifts] == []
    assert not seen.differs


def test_a_change_by_hand_is_seen_against_the_compose_file(place: Place) -> None:
    place.up()
    place.source()
    docker(place.host, "update", "--memory", "32m", "--memory-swap", "96m", f"{PROJECT}-db-1")
    docker(place.host, "rm", "--force", f"{PROJECT}-cache-1", f"{PROJECT}-gateway-1")
    seen = {
        (d.target.partition("/")[2], d.kind.value, d.field) for d in place.plan().comparison.drifts
    }
    assert ("cache", "Missing", "") in seen
    assert ("gateway", "Missing", "") in seen
    assert ("db", "ConfigDrift", "/resources/memory") in seen


def test_what_is_lost_is_made_again_from_the_compose_file(place: Place) -> None:
    place.up()
    place.source()
    docker(place.host, "rm", "--force", f"{PROJECT}-gateway-1", f"{PROJECT}-db-1")
    assert place.loop.run().result is RunResult.CONVERGED
    assert not place.plan().differs
    project = f"label=com.docker.compose.project={PROJECT}"
    names = docker(place.host, "ps", "--filter", project, "--format", "{{.Names}}").split()
    assert len(names) == 7
    networks = docker(
        place.host, "inspect", "--format", "{{json .NetworkSettings.Networks}}", "gateway"
    )
    assert f"{PROJECT}_front" in networks
    assert f"{PROJECT}-private" in networks


def test_after_an_import_of_the_file_there_is_no_drift(place: Place) -> None:
    place.up()
    found = import_compose(place.folder / "docker-compose.yml", ENVIRONMENT, max_bytes=1_000_000)
    state = place.folder.parent / "state"
    done = write(found, place.loop.config, state, force=False)
    assert len(done.files) == 6
    assert validate(state, place.loop.config.directory).problems == ()
    place.commit(**{path.name: path.read_text() for path in done.files})
    seen = place.plan()
    assert [str(drift) for drift in seen.comparison.drifts] == []
    assert not seen.differs
