"""The whole loop over an engine in memory and a real Git repository, for tests.

Everything but the engine is what production uses: configuration, parser, guard, planners,
the agent's own clone. Monitoring is switched off unless a test names sources.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executors.contract import Executor
from executors.translator import CommandTranslator
from flows.listener import Listener, NullListener, RunRequest
from flows.reconcile import reconcile
from flows.report import RunReport
from flows.reporting.status import Reported
from flows.runtime import SYSTEM_CLOCK, Runtime, open_git
from infrastructure.config_loader import (
    DEFAULT_DIRECTORY,
    UniversalConfig,
    UniversalConfigLoader,
    agent_identity,
)
from infrastructure.operation_registry import OperationRegistry
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Mode
from monitoring.http_source import MonitoringClients
from tests import yaml_text
from tests.fakes.engine import FakeEngine

ENVIRONMENT = "local-docker"
# No time to wait in a test: the shipped values are for people's production.
QUICK: Mapping[str, Any] = {
    # Tests break the same service again and again; test_flapping has it on.
    "guard": {"flapping": None},
    "reports": {"pages": None},  # commits of their own; tests/unit/report/pages has them on
    "compare": {"grace": {"stopped": "0s", "starting": "0s", "confirmAfter": "10ms"}},
    "verify": {"deadline": "500ms", "interval": "10ms", "stableFor": "20ms"},
    "git": {"push": {"attempts": 3, "backoff": {"initial": "10ms", "max": "50ms"}}},
}


def service_yaml(name: str, **spec: Any) -> str:
    """One Service file."""
    return yaml_text.write(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": ENVIRONMENT},
            "spec": {"image": f"{name}:1.0.0", **spec},
        }
    )


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = copy.deepcopy(value)  # the next merge writes into it


def write_config(directory: Path, **files: Mapping[str, Any]) -> Path:
    """A copy of the shipped configuration with these changes, by file name without `.yml`."""
    shutil.copytree(DEFAULT_DIRECTORY, directory, ignore=shutil.ignore_patterns("__pycache__"))
    platform = {**QUICK, "dataDirectory": str(directory.parent / "data")}
    changes: dict[str, dict[str, Any]] = {"platform": {}, "environments": {}}
    _merge(changes["platform"], platform)
    place = {"prometheus": [], "alertmanager": [], "deadline": "2s"}
    _merge(changes["environments"], {"environments": {ENVIRONMENT: place}})
    for name, change in files.items():
        _merge(changes.setdefault(name, {}), change)
    for name, change in changes.items():
        data = copy.deepcopy(yaml_text.read_file(DEFAULT_DIRECTORY / f"{name}.yml"))
        _merge(data, change)
        (directory / f"{name}.yml").write_text(yaml_text.write(data))
    return directory


def git(folder: Path, *words: str) -> str:
    """Run git as a person would."""
    identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.test"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@dataclass
class LoopWorld:
    """A state repository, an engine, and runs of the loop over them."""

    root: Path
    config: UniversalConfig
    engine: FakeEngine
    runtime: Runtime

    @property
    def remote(self) -> Path:
        return self.root / "remote.git"

    def commit(self, message: str = "change", **files: str | None) -> str:
        """Commit Service files (name without `.yml` → text, None deletes) as a person."""
        work = self.root / "work"
        if not work.exists():
            git(self.root, "clone", "-q", "--template=", str(self.remote), str(work))
        for name, text in files.items():
            path = work / f"{name.replace('_', '-')}.yml"
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        git(work, "add", "-A")
        git(work, "commit", "-qm", message)
        git(work, "push", "-q", "origin", "main")
        return git(work, "rev-parse", "HEAD")

    def run(
        self, *, mode: Mode | None = None, listener: Listener | None = None, **request: Any
    ) -> RunReport:
        """One run of the loop."""
        asked = RunRequest(
            environments=request.get("environments"),
            targets=request.get("targets"),
            mode=mode,
            run_id=str(uuid.uuid4()),
        )
        return reconcile(asked, self.runtime, listener or NullListener())

    def remembered(self) -> Reported:
        """What the next process's run would find on the reports branch."""
        git_state = open_git(self.config, agent_identity(self.config), self.runtime.redactor)
        return git_state.reported()

    def reports(self) -> list[str]:
        """Subjects of the commits on the reports branch of the remote, newest first."""
        try:
            return git(self.remote, "log", "--format=%s", "uici/reports").splitlines()
        except subprocess.CalledProcessError:
            return []

    def file(self, path: str) -> str:
        """A file at the tip of the reports branch of the remote."""
        return git(self.remote, "show", f"uici/reports:{path}")


@contextlib.contextmanager
def loop_world(
    root: Path,
    *,
    wrap: Callable[[FakeEngine], Executor] = lambda engine: engine,
    **config: Mapping[str, Any],
) -> Iterator[LoopWorld]:
    """A loop over `root`.

    Args:
        root: an empty folder.
        wrap: what stands between the loop and the engine.
        config: changes of configuration files.
    """
    git(root, "init", "-q", "--bare", "--template=", "-b", "main", "remote.git")
    platform = dict(config.pop("platform", {}))
    _merge(platform, {"git": {"remote": str(root / "remote.git"), **platform.get("git", {})}})
    loaded = UniversalConfigLoader(
        write_config(root / "config", platform=platform, **config)
    ).load()
    identity = agent_identity(loaded)
    redactor = loaded.redactor()
    secrets = SecretResolver(on_resolved=redactor.learn)
    engine = FakeEngine(ENVIRONMENT, identity=identity, resolve_secret=secrets.resolve)
    runtime = Runtime(
        config=loaded,
        identity=identity,
        redactor=redactor,
        secrets=secrets,
        registry=OperationRegistry(loaded.operations),
        translator=CommandTranslator(loaded.translations),
        executors={ENVIRONMENT: wrap(engine)},
        git=open_git(loaded, identity, redactor),
        clients=MonitoringClients(),
        clock=SYSTEM_CLOCK,
    )
    with contextlib.closing(runtime):
        yield LoopWorld(root, loaded, engine, runtime)
