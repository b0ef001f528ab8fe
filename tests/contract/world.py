"""What the contract suite needs of an engine, to bring drift about behind UICI's back."""

from __future__ import annotations

import io
import itertools
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from executors.contract import Executor, ExecutorContext
from executors.docker import Connection, connect
from flows.local_stack import STACK_LABEL, docker
from flows.local_stack.child import find_program
from infrastructure.identity import AgentIdentity
from infrastructure.observed import EngineHealth, InstanceState
from infrastructure.service import Service
from tests.fakes.engine import NOBODY, FakeEngine

ENVIRONMENT = "contract"
# Ends at once on SIGTERM, and is sick while /dev/shm/sick exists (which a restart clears).
LOOP = ("sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done")
CHECKED: Mapping[str, Any] = {
    "Healthcheck": {
        "Test": ["CMD-SHELL", "test ! -e /dev/shm/sick"],
        "Interval": 200_000_000,
        "Timeout": 2_000_000_000,
        "Retries": 1,
    }
}
_numbers = itertools.count(1)


class World(Protocol):
    """One engine, real or not."""

    image: str
    other_image: str
    missing_image: str
    spec: Mapping[str, Any]  # what every service declares here beside a test's own: its binding
    checked: Mapping[str, Any]  # `native` fields of a health check that `make_sick` fails
    lacks: frozenset[str]  # what this environment can't do at all; `needs` skips by it

    def executor(self, identity: AgentIdentity = NOBODY) -> Executor:
        """An executor on it; the world closes it."""
        ...

    def silent(self) -> Executor:
        """An executor whose engine takes connections and never answers."""
        ...

    def foreign(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """A running container that somebody else made; returns its id."""
        ...

    def kill(self, name: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def rename(self, name: str, new: str) -> None: ...
    def set_memory(self, name: str, memory: int) -> None: ...
    def replace_env(self, service: Service, env: Mapping[str, str]) -> None: ...
    def make_sick(self, name: str) -> None: ...

    def state(self, prefix: str) -> dict[str, tuple[str, ...]]:
        """id → everything that a change would show in, of containers named so."""
        ...


def unique(stem: str = "svc") -> str:
    """A service name that no other test has, also not one that runs beside this one."""
    return f"uict-{stem}-{time.time_ns() // 1000 % 10**9:x}{next(_numbers)}"


class FakeWorld:
    """Over the engine in memory."""

    image, other_image, missing_image = "loop:1", "loop:2", "nowhere:1"
    spec: Mapping[str, Any] = {}
    checked = CHECKED
    lacks: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.engine = self.executor()

    def executor(self, identity: AgentIdentity = NOBODY) -> FakeEngine:
        made = FakeEngine(ENVIRONMENT, identity=identity, resolve_secret=resolve_secret)
        made.images = {self.image, self.other_image}
        if hasattr(self, "engine"):
            made.containers = self.engine.containers
            made._next_id = 1000
        return made

    def silent(self) -> FakeEngine:
        made = FakeEngine(ENVIRONMENT)
        made.hangs = True
        return made

    def foreign(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        return self.engine.add(name, image=self.image, labels=dict(labels or {})).id

    def kill(self, name: str) -> None:
        self.engine.kill(name)

    def delete(self, name: str) -> None:
        self.engine.remove(name)

    def pause(self, name: str) -> None:
        self.engine.named(name).state = InstanceState.PAUSED

    def rename(self, name: str, new: str) -> None:
        self.engine.named(name).name = new

    def set_memory(self, name: str, memory: int) -> None:
        self.engine.named(name).memory = memory

    def replace_env(self, service: Service, env: Mapping[str, str]) -> None:
        self.engine.named(service.metadata.name).env.update(env)

    def make_sick(self, name: str) -> None:
        self.engine.named(name).health = EngineHealth.UNHEALTHY

    def state(self, prefix: str) -> dict[str, tuple[str, ...]]:
        return {
            c.id: (c.name, c.state, c.image, str(c.memory), str(c.cpu), str(c.env))
            for c in self.engine.containers.values()
            if prefix in c.name
        }


class DockerWorld:
    """Over a Docker Engine, changed by the docker command line as a person would."""

    missing_image = "uict-nowhere:1"
    spec: Mapping[str, Any] = {}
    checked = CHECKED
    lacks: frozenset[str] = frozenset()

    def __init__(self, host: str, images: tuple[str, str], silent_host: str) -> None:
        self.host = host
        self.image, self.other_image = images
        self._silent_host = silent_host
        self._executors: list[Executor] = []

    def executor(self, identity: AgentIdentity = NOBODY) -> Executor:
        return self._connected(self.host, identity)

    def silent(self) -> Executor:
        return self._connected(self._silent_host, NOBODY)

    def _connected(self, host: str, identity: AgentIdentity) -> Executor:
        context = ExecutorContext(ENVIRONMENT, 4, identity, resolve_secret)
        made = connect(Connection(host=host), context)
        self._executors.append(made)
        return made

    def docker(self, *arguments: str) -> str:
        return docker(self.host, *arguments)

    def foreign(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        options = [f"--label={key}={value}" for key, value in (labels or {}).items()]
        return self.docker("run", "--detach", "--name", name, *options, self.image, *LOOP)

    def kill(self, name: str) -> None:
        self.docker("kill", name)

    def delete(self, name: str) -> None:
        self.docker("rm", "--force", "--volumes", name)

    def pause(self, name: str) -> None:
        self.docker("pause", name)

    def rename(self, name: str, new: str) -> None:
        self.docker("rename", name, new)

    def set_memory(self, name: str, memory: int) -> None:
        self.docker("update", f"--memory={memory}", f"--memory-swap={2 * memory}", name)

    def replace_env(self, service: Service, env: Mapping[str, str]) -> None:
        name = service.metadata.name
        self.delete(name)
        options = [f"--env={key}={value}" for key, value in env.items()]
        label = f"--label=uici.target={service.target}"
        self.docker("run", "--detach", "--name", name, label, *options, self.image, *LOOP)

    def make_sick(self, name: str) -> None:
        self.docker("exec", name, "touch", "/dev/shm/sick")
        limit = time.monotonic() + 15
        while self.docker("inspect", "--format", "{{.State.Health.Status}}", name) != "unhealthy":
            assert time.monotonic() < limit, "the engine never called it unhealthy"
            time.sleep(0.1)

    def state(self, prefix: str) -> dict[str, tuple[str, ...]]:
        ids = self.docker("ps", "--all", "--quiet", "--no-trunc", f"--filter=name={prefix}").split()
        if not ids:
            return {}
        form = (
            "{{.Id}}|{{.Name}}|{{.State.Status}}|{{.State.StartedAt}}|{{.Config.Image}}"
            "|{{.HostConfig.Memory}}|{{.HostConfig.NanoCpus}}|{{.Config.Env}}"
        )
        lines = self.docker("inspect", "--format", form, *ids).splitlines()
        return {line.split("|")[0]: tuple(line.split("|")[1:]) for line in lines}

    def close(self) -> None:
        for executor in self._executors:
            executor.close()
        chosen = f"label={STACK_LABEL}={self.image.partition(':')[0]}"
        left = self.docker("ps", "--all", "--quiet", "--filter", chosen).split()
        if left:
            self.docker("rm", "--force", "--volumes", *left)


def resolve_secret(reference: str) -> str:
    return f"value of {reference}"


def import_images(host: str, stack_label: str) -> tuple[str, str]:
    """Two images of static busybox that differ in one default; no registry is asked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(Path(find_program("busybox")).resolve(), arcname="bin/busybox")
        for applet in ("sh", "sleep", "echo", "test", "touch", "cat", "yes", "head", "id", "pwd"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        entry = tarfile.TarInfo("tmp")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(entry)
    command = "CMD [" + ", ".join(f'"{word}"' for word in LOOP) + "]"
    tags = tuple(f"{stack_label.partition('=')[2]}:{version}" for version in ("1", "2"))
    for tag in tags:
        changes = (command, f"ENV DEFAULT={tag[-1]}", f"LABEL {stack_label}")
        options = [option for change in changes for option in ("--change", change)]
        docker(host, "import", *options, "-", tag, stdin=buffer.getvalue())
    return tags[0], tags[1]
