"""A Docker Engine: the machine's own where one answers, else a child of ours.

An engine of ours shares nothing with another one on the machine: its own data, sockets,
containerd namespace and network bridge, and no firewall rules, so that ending it leaves
the machine as it was. Ports are published by Docker's own proxy process.

The `docker` command line is used here on purpose and not the SDK: what the demo and the
tests do by it is what a person would do by hand.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.local_stack.bridge import network_bridge
from flows.local_stack.child import child, find_program
from infrastructure.errors import PermanentError

MACHINE_HOST = "unix:///var/run/docker.sock"
_COMMAND_TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """An engine's address, and whether it is a child of ours (it ends with its context)."""

    host: str
    owned: bool


def docker(host: str, *arguments: str, stdin: bytes | None = None) -> str:
    """Run the docker command line against an engine; returns its stdout, stripped.

    Raises:
        PermanentError: it failed, or did not end within two minutes; with what it wrote.
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    argv = [find_program("docker"), "--host", host, *arguments]
    try:
        result = subprocess.run(  # noqa: S603 - an argument list of our own, no shell
            argv,
            input=b"" if stdin is None else stdin,
            env={**environ, "DOCKER_BUILDKIT": "0"},  # the builder that every engine has
            capture_output=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise PermanentError(f"docker {arguments[0]} did not end in {_COMMAND_TIMEOUT} s") from exc
    if result.returncode != 0:
        error = result.stderr.decode(errors="replace").strip()
        raise PermanentError(f"docker {arguments[0]} failed: {error}")
    return result.stdout.decode(errors="replace").strip()


@contextlib.contextmanager
def docker_engine(
    scratch: Path, *, reuse: bool = True, ready_timeout: float = 60
) -> Iterator[DockerEngine]:
    """An engine that answers.

    Args:
        scratch: directory for the child's images, containers and `dockerd.log`.
        reuse: take the machine's engine if it answers; it is left as it is at the end
            (see `remove_stack` for what was made in it).
        ready_timeout: seconds until a child must answer.

    Raises:
        PermanentError: no engine answers, and none can be started here; with the next step.
    """
    if reuse and engine_answers(MACHINE_HOST):
        yield DockerEngine(MACHINE_HOST, owned=False)
        return
    if os.geteuid() != 0:
        raise PermanentError(
            "no Docker Engine answers at /var/run/docker.sock, and only root can start one: "
            "start Docker, add yourself to the group docker, or run this as root"
        )
    # A socket's path may have 107 bytes, so it can't be in a deep scratch directory.
    run = Path(tempfile.mkdtemp(prefix="uici-docker-"))
    name = f"uici{os.getpid() % 100_000}{secrets.token_hex(2)}"  # at most 15 bytes
    host = f"unix://{run / 'docker.sock'}"
    data = scratch / "docker-data"
    argv = [
        find_program("dockerd"),
        f"--host={host}",
        f"--data-root={data}",
        f"--exec-root={run / 'exec'}",
        f"--pidfile={run / 'docker.pid'}",
        f"--containerd-namespace={name}",
        f"--containerd-plugins-namespace={name}-plugins",
        f"--bridge={name}",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--shutdown-timeout=1",
    ]
    try:
        with network_bridge(name), child("dockerd", argv, log=scratch / "dockerd.log") as server:
            server.wait_until(lambda: engine_answers(host), timeout=ready_timeout)
            try:
                yield DockerEngine(host, owned=True)
            finally:
                with contextlib.suppress(PermanentError):  # it may be what died
                    empty(host)
    finally:
        for directory in (run, data):
            _remove_tree(directory)


def engine_answers(host: str) -> bool:
    """Whether an engine answers a version request."""
    try:
        docker(host, "version", "--format", "{{.Server.Version}}")
    except PermanentError:
        return False
    return True


def empty(host: str) -> None:
    """Remove every container and network; only for an engine of ours.

    An engine that ends leaves the bridges of its networks in the kernel.
    """
    containers = docker(host, "ps", "--all", "--quiet").split()
    if containers:
        docker(host, "rm", "--force", "--volumes", *containers)
    docker(host, "network", "prune", "--force")


def _remove_tree(directory: Path) -> None:
    """Remove a directory of the engine's, unmounting what a killed engine left in it.

    A directory that can't be removed is left: the next start uses another.
    """
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted(mounts, key=len, reverse=True):  # the deepest first
        if Path(mount).is_relative_to(directory):
            subprocess.run([find_program("umount"), "--lazy", mount], check=False)  # noqa: S603 - no shell
    for _ in range(10):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)  # containerd's shims close their files a moment later
