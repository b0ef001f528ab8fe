"""A state repository's remote as people have it, and agents that work on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.git_state import GitState
from flows.repository.clone import GitRepository
from infrastructure.config_models import GitSettings
from infrastructure.desired_state import StateRead
from infrastructure.errors import Problem
from infrastructure.redaction import Redactor
from infrastructure.service import Service
from infrastructure.sources.tree import Tree

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REPORTS = "uici/reports"
SECRET = "hunter2-is-the-password"


def settings(**changes: Any) -> GitSettings:
    values: dict[str, Any] = {
        "remote": None,
        "seed": "seed",
        "branch": "main",
        "path": ".",
        "pauseFile": "uici.yml",
        "reportsBranch": REPORTS,
        "author": {"name": "UICI", "email": "uici@localhost"},
        "timeout": "20s",
        "push": {"attempts": 20, "backoff": {"initial": "10ms", "max": "200ms"}},
        "localCommitSufficesUpTo": "low",
        "heartbeat": "1d",
        "retention": {"reports": "90d", "gcEvery": "1d"},
        "maxFileBytes": 65536,
    }
    return GitSettings.model_validate({**values, **changes})


def git(directory: Path, *command: str, stdin: bytes = b"") -> str:
    """Git as a person runs it; fails loudly."""
    return git_bytes(directory, *command, stdin=stdin).decode().strip()


def git_bytes(directory: Path, *command: str, stdin: bytes = b"") -> bytes:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
    }
    done = subprocess.run(
        ["git", *command],
        cwd=directory,
        env=environment,
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Remote:
    """A bare repository, and a person who commits to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        git(path.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(path))

    def commit(
        self,
        files: Mapping[str, bytes | None],
        *,
        branch: str = "main",
        modes: Mapping[str, str] | None = None,
        amend: bool = False,
    ) -> str:
        """A person's commit; `amend` rewrites the branch's newest one."""
        ref = f"refs/heads/{branch}"
        tip = self.tip(branch)
        parent = f"{tip}~1" if amend else tip
        lines = [f"commit {ref}", "committer Ada <ada@example.org> 1700000000 +0000"]
        lines += ["data 6", "a edit"]
        if parent and (not amend or self._has(parent)):
            lines.append(f"from {parent}^0")
        stream = "\n".join(lines).encode() + b"\n"
        for path, content in files.items():
            mode = (modes or {}).get(path, "100644")
            if content is None:
                stream += f'D "{path}"\n'.encode()
            elif mode == "160000":
                stream += f'M 160000 {content.decode()} "{path}"\n'.encode()
            else:
                stream += f'M {mode} inline "{path}"\ndata {len(content)}\n'.encode() + content
                stream += b"\n"
        git(self.path, "fast-import", "--quiet", "--force", "--done", stdin=stream + b"\ndone\n")
        found = self.tip(branch)
        assert found is not None
        return found

    def _has(self, revision: str) -> bool:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", f"{revision}^0"],
            cwd=self.path,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def tip(self, branch: str = REPORTS) -> str | None:
        found = git(self.path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        return found or None

    def files(self, branch: str = REPORTS) -> dict[str, bytes]:
        names = git(self.path, "ls-tree", "-r", "--name-only", branch).splitlines()
        return {name: git_bytes(self.path, "show", f"{branch}:{name}") for name in names}

    def messages(self, branch: str = REPORTS) -> list[str]:
        """Subjects, oldest first."""
        return git(self.path, "log", "--reverse", "--format=%s", branch).splitlines()

    def shas(self, branch: str = REPORTS) -> list[str]:
        return git(self.path, "rev-list", "--reverse", branch).splitlines()


def service_file(name: str, *, image: str = "shop:1.0") -> bytes:
    return (
        "apiVersion: uici/v1\nkind: Service\n"
        f"metadata: {{name: {name}, environment: local}}\nspec: {{image: {image}}}\n"
    ).encode()


def service(name: str, *, image: str = "shop:1.0") -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": "local"},
            "spec": {"image": image},
        }
    )


def parse(files: Mapping[str, bytes], _tree: Tree) -> StateRead:
    """The least that a parser does: a file named after its service; `broken` is a mistake."""
    services: dict[str, Service] = {}
    problems = []
    for path, content in files.items():
        if b"broken" in content:
            problems.append(Problem(path, 1, 1, "it is broken"))
            continue
        name = path.rpartition("/")[2].partition(".")[0]
        found = service(name, image=content.decode().strip() or "shop:1.0")
        services[found.target] = found
    return StateRead(services, tuple(problems))


def agent(remote: Path | str, data: Path, **changes: Any) -> GitRepository:
    return GitRepository.open(str(remote), data, None, settings(**changes))


def state(repository: GitRepository, **changes: Any) -> GitState:
    return GitState(repository, parse, settings(**changes), redactor=Redactor([], [SECRET]))
