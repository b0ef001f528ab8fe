"""deploy/setup.sh on machines where things are missing: it installs, or says what to do.

Each test gives the script a PATH of its own, with only the programs of that machine; its
package manager is a script that writes down what it was asked for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What every Debian has, and the script needs.
BASE: tuple[str, ...] = (
    "bash",
    "cat",
    "chmod",
    "cut",
    "dirname",
    "grep",
    "ldd",
    "mktemp",
    "rm",
    "sha256sum",
)
BASE += ("sh", "sort", "tail", "touch")
SERVERS = ("docker", "dockerd", "iptables", "prometheus", "alertmanager")


class Machine:
    """A directory of programs, and a copy of the files that the script reads."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "bin"
        self.project = directory / "project"
        self.asked = directory / "apt.log"
        self.programs.mkdir()
        (self.project / "deploy").mkdir(parents=True)
        for name in ("requirements-dev.lock", "pyproject.toml", "deploy/setup.sh"):
            shutil.copy(ROOT / name, self.project / name)
        for name in BASE:
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)
        self.add("id", "echo 0")

    def add(self, name: str, script: str = "exit 0") -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def add_apt(self, *, installs: str = "") -> None:
        """A package manager that knows every package; `installs`: what it then does."""
        self.add("apt-cache", "echo Package")
        self.add("apt-get", f'echo "$@" >>{self.asked}\n{installs}')

    def setup(self, part: str) -> tuple[int, str]:
        # The script adds the sbin directories itself: they must hold nothing on this machine.
        script = self.project / "deploy" / "setup.sh"
        script.write_text(script.read_text().replace(":/usr/local/sbin:/usr/sbin:/sbin", ""))
        result = subprocess.run(
            [self.programs / "bash", script, part],
            env={"PATH": str(self.programs), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    def installed(self) -> str:
        return self.asked.read_text() if self.asked.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_complete_machine_is_left_alone(machine: Machine) -> None:
    for name in SERVERS:
        machine.add(name)
    machine.add("busybox")  # a script is no dynamic executable
    machine.add_apt()
    assert machine.setup("servers") == (0, "")
    assert machine.installed() == ""


def test_missing_servers_are_installed_as_root(machine: Machine) -> None:
    machine.add("busybox")
    made = " ".join(str(machine.programs / name) for name in SERVERS)
    machine.add_apt(installs=f"for p in {made}; do cp {machine.programs}/busybox $p; done")
    (machine.programs / "cp").symlink_to(shutil.which("cp") or "cp")
    code, output = machine.setup("servers")
    assert code == 0, output
    assert "servers are ready" in output
    (command,) = machine.installed().splitlines()
    assert command == (
        "install -y -q --no-install-recommends"
        " docker.io iptables prometheus prometheus-alertmanager"
    )


def test_an_engine_elsewhere_needs_no_engine_here(machine: Machine) -> None:
    for name in ("docker", "prometheus", "prometheus-alertmanager", "busybox"):
        machine.add(name)
    assert machine.setup("servers") == (0, "")


def test_a_newer_distribution_gets_the_docker_command_line_too(machine: Machine) -> None:
    for name in ("iptables", "prometheus", "alertmanager", "busybox"):
        machine.add(name)
    machine.add_apt(installs=f'case "$*" in *docker-cli*) : >{machine.programs}/docker; esac')
    machine.setup("servers")
    assert [line.rsplit(" ", 1)[1] for line in machine.installed().splitlines()] == [
        "docker.io",
        "docker-cli",
    ]


def test_stale_package_lists_are_refreshed_once(machine: Machine) -> None:
    for name in ("docker", "dockerd", "iptables", "alertmanager", "busybox"):
        machine.add(name)
    machine.add_apt(installs='[ "$1" = update ] || exit 100')
    code, output = machine.setup("servers")
    assert code == 1
    assert "apt-get could not install: prometheus" in output
    asked = [line.split()[0] for line in machine.installed().splitlines()]
    assert asked == ["install", "update", "install"]


def test_an_ordinary_user_is_told_the_command(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    machine.add_apt()
    code, output = machine.setup("servers")
    assert code == 1
    assert (
        "apt-get install --no-install-recommends"
        " busybox-static docker.io iptables prometheus prometheus-alertmanager"
    ) in output
    assert machine.installed() == ""


def test_without_apt_it_says_what_is_missing(machine: Machine) -> None:
    code, output = machine.setup("servers")
    assert code == 1
    assert "elsewhere, install the same programs" in output


def test_no_python_at_all(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    code, output = machine.setup("python")
    assert code == 1
    assert "apt-get install --no-install-recommends python3 python3-venv ca-certificates" in output


def test_a_python_that_is_too_old_does_not_count(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    machine.add("python3", "exit 1")  # the version check fails
    code, output = machine.setup("python")
    assert code == 1
    assert "missing: Python 3.11 or newer" in output


def test_debian_without_ensurepip_names_the_package_of_that_version(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    machine.add(
        "python3.12",
        'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; *) exit 0 ;; esac',
    )
    code, output = machine.setup("python")
    assert code == 1
    assert "apt-get install --no-install-recommends python3.12-venv ca-certificates" in output


def test_an_unchanged_lock_costs_nothing(machine: Machine) -> None:
    lines = [
        f"{hashlib.sha256((machine.project / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("requirements-dev.lock", "pyproject.toml")
    ]
    wanted = hashlib.sha256("".join(lines).encode()).hexdigest()
    (machine.project / ".venv" / "bin").mkdir(parents=True)
    python = machine.project / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 99\n")  # must not be asked
    python.chmod(0o755)
    (machine.project / ".venv" / ".installed").write_text(wanted)
    assert machine.setup("python") == (0, "")


def test_what_to_set_up_has_to_be_said(machine: Machine) -> None:
    assert machine.setup("everything") == (
        1,
        "setup: say what to set up: python, servers or testing\n",
    )
