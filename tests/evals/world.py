"""An incident's file → the world of one run: Git, engine, observation, planners, guard.

Everything but the engine and the monitoring is what production uses: the shipped
configuration, a Git repository with the desired state and its history, the parser, the
planners in their order, the guard. The engine answers reads from the file and does nothing.
Neighbours: `tests.evals.incident_file` (what it is made of), `tests.evals.run` (what is done
with it).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from executors.contract import Executor
from executors.translator import CommandTranslator
from flows.comparison.drift import HealthStatus, Sync
from flows.listener import RunRequest
from flows.observe import Observation
from flows.open_executors import open_executors
from flows.reporting.status import TargetStatus
from flows.runtime import Runtime, open_git
from flows.world import Clock, World
from infrastructure.config_loader import (
    DEFAULT_DIRECTORY,
    UniversalConfig,
    UniversalConfigLoader,
    agent_identity,
)
from infrastructure.errors import PermanentError
from infrastructure.operation_registry import OperationRegistry
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service, target_id
from monitoring.http_source import MonitoringClients
from tests import yaml_text
from tests.evals.file_engine import FileEngine
from tests.evals.incident_file import (
    Incident,
    IncidentFile,
    Place,
)
from tests.evals.observation import NOW, observe, over, snapshot_of
from tests.fakes.kubernetes_server import LIMITS

_OCID = "ocid1.{}.oc1.phx.{}"
_PLACES: Mapping[str, Mapping[str, Any]] = {
    Place.DOCKER: {"connection": {"host": "unix:///nowhere"}},
    Place.KUBERNETES: {"connection": {"namespaces": ["shop"], **LIMITS}},
    Place.OCI: {
        "connection": {
            "auth": {"method": "instancePrincipal"},
            "compartments": [_OCID.format("compartment", "evals")],
            "requestBudget": 1,
            "pageSize": 100,
            "pollInterval": "1s",
            "retries": {"attempts": 1, "initial": "1s", "max": "1s"},
        }
    },
}


@dataclass(frozen=True)
class Model:
    """A model behind an OpenAI-compatible endpoint; `settings` go to `llm` of platform.yml.

    `end` makes it answer no more, at once, where that can be done.
    """

    name: str
    settings: Mapping[str, Any]
    end: Callable[[], None] = lambda: None


# Evaluations ask about many incidents in one run, so the budgets of production would end them.
_NO_LIMIT = {"requests": 100_000, "tokens": 1_000_000_000, "dollars": 1_000_000.0}


def write_config(directory: Path, model: Model | None) -> UniversalConfig:
    """The shipped configuration with the dataset's environments and this model.

    Args:
        directory: where it is written; a folder that does not exist yet.
        model: None: no model is configured, the runbooks plan.
    """
    shutil.copytree(DEFAULT_DIRECTORY, directory, ignore=shutil.ignore_patterns("__pycache__"))
    common = {
        "detect": [],
        "deadline": "15s",
        "concurrency": 4,
        "prometheus": [],
        "alertmanager": [],
        "policy": {},
    }
    environments = {
        name.value: {**common, "executor": name.value, **_PLACES[name]} for name in Place
    }
    _rewrite(directory / "environments.yml", {"environments": environments})
    data = str(directory.parent / "data")
    asks = {"keepAnswersFor": "0s"}  # every question is asked: that is what is scored
    settings = {"apiKey": "", "keyRequired": True} if model is None else {**model.settings, **asks}
    # Beside the copied files there is no such folder; it is never used.
    seed = {"seed": str(DEFAULT_DIRECTORY.parent.parent / "desired-state")}
    _rewrite(directory / "platform.yml", {"dataDirectory": data, "git": seed, "llm": settings})
    if model is not None:
        agent = {"llm": {"model": model.name}, "budgets": {"run": _NO_LIMIT, "day": _NO_LIMIT}}
        _rewrite(directory / "agents.yml", {"agents": {"devops-ai-agent": agent}})
    return UniversalConfigLoader(directory).load()


def _rewrite(path: Path, changes: Mapping[str, Any]) -> None:
    content = yaml_text.read(path.read_text(encoding="utf-8"))
    if "environments" in changes:
        content["environments"] = {}
    path.write_text(yaml_text.write(over(content, changes)), encoding="utf-8")


@dataclass(frozen=True)
class Session:
    """What all incidents of an evaluation share; they are played one after the other.

    `environ` is what `secrets`, which the executors ask, reads.
    """

    config: UniversalConfig
    executors: Mapping[str, Executor]
    environ: dict[str, str]
    secrets: SecretResolver


@contextlib.contextmanager
def open_session(root: Path, model: Model | None = None) -> Iterator[Session]:
    """Configuration and the real executors, which are asked nothing but what they can do.

    Args:
        root: an empty folder.
        model: what plans before the runbooks.
    """
    config = write_config(root / "config", model)
    environ: dict[str, str] = {}
    secrets = SecretResolver(environ)
    opened = open_executors(config, agent_identity(config), secrets)
    with contextlib.ExitStack() as stack:
        for executor in opened.values():
            stack.callback(executor.close)
        yield Session(config, opened, environ, secrets)


@dataclass(frozen=True)
class EvalWorld:
    """One incident, ready to be compared, planned and judged."""

    world: World
    observation: Observation
    engine: FileEngine


@contextlib.contextmanager
def eval_world(session: Session, incident: Incident, root: Path) -> Iterator[EvalWorld]:
    """The world of one incident.

    Args:
        session: what is shared.
        incident: the file.
        root: an empty folder for its Git repository.

    Raises:
        InvalidInputError: its desired state is not valid.
    """
    file = incident.file
    remote = commit_history(file, root / "remote.git")
    git = session.config.platform.git.model_copy(update={"remote": str(remote)})
    platform = session.config.platform.model_copy(update={"git": git})
    config = replace(session.config, platform=platform)
    identity = agent_identity(config)
    redactor = config.redactor()
    session.environ.clear()
    session.environ.update(file.secrets)
    session.secrets.forget()
    secrets = SecretResolver(file.secrets, on_resolved=redactor.learn)
    services = {
        target_id(file.environment, name): declared(file, name, spec)
        for name, spec in file.services.items()
    }
    snapshot = snapshot_of(file, services)
    engine = FileEngine(file.environment, file, snapshot, session.executors[file.environment])
    runtime = Runtime(
        config=config,
        identity=identity,
        redactor=redactor,
        secrets=secrets,
        registry=OperationRegistry(config.operations),
        translator=CommandTranslator(config.translations),
        executors={file.environment.value: engine},
        git=open_git(config, identity, redactor),
        clients=MonitoringClients(),
        clock=Clock(now=lambda: NOW, sleep=lambda _: None),
    )
    with contextlib.closing(runtime):
        world = runtime.open_world(RunRequest(None, None, None, "evals"))
        if missing := services.keys() - world.services.keys():
            told = "; ".join(problem.message for problem in world.desired.problems)
            raise PermanentError(f"{incident.name}: not desired state: {sorted(missing)}: {told}")
        reported = replace(world.reported, statuses=_statuses(file, services))
        world = replace(world, reported=reported)
        yield EvalWorld(world, observe(file, services, snapshot), engine)


def _statuses(file: IncidentFile, services: Mapping[str, Service]) -> dict[str, TargetStatus]:
    """What an earlier run told of those that the file says were in sync once."""
    made: dict[str, TargetStatus] = {}
    for name, spec in file.synced.items():
        target = target_id(file.environment, name)
        made[target] = TargetStatus(
            target=target,
            observed_revision="main@none",
            spec_digest=services[target].spec_digest,
            sync=Sync.DRIFTED.value,
            health=HealthStatus.HEALTHY.value,
            conditions=(),
            synced_digest=declared(file, name, spec).spec_digest,
        )
    return made


# ── Git ─────────────────────────────────────────────────────────────────────────


def commit_history(file: IncidentFile, remote: Path) -> Path:
    """A bare repository with the commits of the file, the newest being what is declared."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    stream: list[bytes] = []
    first = (timedelta(days=400), "ann", "declare the services")
    past = sorted(file.commits, key=lambda commit: commit.ago, reverse=True)
    # What a commit's `services` tell was in force until it.
    moments = [first, *((c.ago, c.author, c.message) for c in past)]
    states = [{**file.services, **c.services} for c in past] + [file.services]
    for (ago, author, message), services in zip(moments, states, strict=True):
        stream.append(_commit(NOW - ago, author, message))
        stream.extend(
            _blob(f"{name}.yml", yaml_text.write(document_of(file.environment, name, spec)))
            for name, spec in services.items()
        )
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=remote, input=b"".join(stream), check=True
    )
    return remote


def _commit(at: datetime, author: str, message: str) -> bytes:
    text = message.encode()
    who = f"committer {author} <{author}@example.test> {int(at.timestamp())} +0000"
    return f"commit refs/heads/main\n{who}\ndata {len(text)}\n".encode() + text + b"\ndeleteall\n"


def _blob(path: str, text: str) -> bytes:
    content = text.encode()
    return f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"


def document_of(environment: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "uici/v1",
        "kind": "Service",
        "metadata": {"name": name, "environment": str(environment)},
        "spec": dict(spec),
    }


def declared(file: IncidentFile, name: str, spec: Mapping[str, Any]) -> Service:
    return Service.model_validate(document_of(file.environment, name, spec))
