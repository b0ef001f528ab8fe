"""`uici doctor`: everything that UICI lives on, one line each, and how to mend it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from executors.contract import Authorised, Selective, SelfAware
from executors.translator import CommandTranslator
from flows.command_line.desired import desired_state, those_in
from flows.command_line.doctor_git import signature_findings
from flows.command_line.doctor_http import answers, prefect_finding
from flows.command_line.doctor_llm import llm_findings
from flows.command_line.doctor_logs import log_findings
from flows.command_line.doctor_secrets import secret_findings
from flows.command_line.finding import Finding, Level
from flows.command_line.hints import here
from flows.command_line.output import escape, new_console
from flows.open_executors import open_executors
from flows.platform_operations import PlatformOperations
from flows.prefect_edge.secret_block import read_prefect_block
from flows.repository.creation import embedded_path
from infrastructure.config_loader import UniversalConfig, agent_identity
from infrastructure.config_models import Environment, HttpSource
from infrastructure.detection import detect
from infrastructure.errors import PermanentError, UiciError
from infrastructure.identity import runtime_native_ids
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from monitoring.alertmanager import read_alerts
from monitoring.http_source import MonitoringClients
from monitoring.prometheus import query


def examine(config: UniversalConfig) -> list[Finding]:
    """Look at everything; nothing is changed, the agent's data directory included.

    A doctor may be another user than the agent: what it made there could not be used.
    """
    identity = agent_identity(config, runtime_ids=runtime_native_ids())
    ids = ", ".join(sorted(i[:12] for i in identity.native_ids)) or "runs in no container"
    findings = [
        Finding("configuration", Level.OK, str(config.directory)),
        Finding("agent", Level.OK, f"{identity.agent} ({ids})"),
    ]
    services: list[Service] = []
    repository = _git(config, services)
    secrets = SecretResolver(read_block=read_prefect_block)
    findings += _engines(config, services, secrets)
    findings += secret_findings(services, secrets)
    clients = MonitoringClients()
    try:
        for name, environment in config.environments.environments.items():
            findings += _monitoring(config, name, environment, clients)
            findings += log_findings(name, environment, those_in(name, services), clients)
    finally:
        clients.close()
    findings.append(_data_directory(config.data_directory))
    findings.append(repository)
    findings += signature_findings(config)
    findings += llm_findings(config)
    findings.append(prefect_finding(config.platform.prefect))
    return findings


def _try(name: str, look: Callable[[], str], *, otherwise: Level = Level.ERROR) -> Finding:
    try:
        return Finding(name, Level.OK, look())
    except UiciError as exc:
        return Finding(name, otherwise, str(exc))


def _engines(
    config: UniversalConfig, services: Sequence[Service], secrets: SecretResolver
) -> Iterator[Finding]:
    identity = agent_identity(config, runtime_ids=runtime_native_ids())
    translator = CommandTranslator(config.translations)
    for message in translator.check("platform", PlatformOperations.primitives()):
        yield Finding("translations of platform", Level.ERROR, message)
    executors = open_executors(config, identity, secrets)
    found = {d.environment: d for d in detect(config.environments.environments, answers=answers)}
    for name, executor in executors.items():
        environment = config.environments.environments[name]
        level = Level.OK if found[name].found else Level.WARNING
        yield Finding(f"{name}: detected", level, found[name].why)
        seconds = environment.deadline.total_seconds()
        yield _try(f"{name}: engine", lambda e=executor, s=seconds: e.check(timeout=s))  # type: ignore[misc]  # the lambda binds both now
        here = those_in(name, services)
        if isinstance(executor, Selective):
            yield _kinds(name, executor, here, seconds)
        if isinstance(executor, Authorised):
            called = translator.primitives(environment.executor)
            yield _rights(name, executor, called, here, seconds=seconds)
        if isinstance(executor, SelfAware):
            yield own_ids_finding(name, executor, seconds)
        for message in translator.check(environment.executor, executor.primitives()):
            yield Finding(f"{name}: translations", Level.ERROR, message)
        executor.close()


def own_ids_finding(name: str, executor: SelfAware, seconds: float) -> Finding:
    """Whether self-exclusion can go by more than names there."""

    def look() -> str:
        return ", ".join(sorted(executor.known_self(timeout=seconds)))

    finding = _try(f"{name}: the agent's own id", look)
    if finding.level is Level.OK and not finding.detail:
        detail = "not known: if the agent runs there, write its id to nativeIds in agents.yml"
        return Finding(finding.name, Level.WARNING, detail)
    return finding


def _kinds(name: str, executor: Selective, services: Sequence[Service], seconds: float) -> Finding:
    """What the engine has no such thing of; services bound to it are unknown."""

    def look() -> str:
        lacking = executor.unserved(services, timeout=seconds)
        if lacking:
            raise PermanentError(f"{'; '.join(lacking)}: bind to another kind")
        return "all that services are bound to are there"

    return _try(f"{name}: kinds", look)


def _rights(
    name: str,
    executor: Authorised,
    primitives: Collection[str],
    services: Sequence[Service],
    *,
    seconds: float,
) -> Finding:
    """What the engine would refuse. Reads and some operations may work all the same."""

    def look() -> str:
        missing = executor.missing_rights(primitives, services, timeout=seconds)
        if missing:
            raise PermanentError(f"missing: {'; '.join(missing)}: `uici rbac` grants them")
        return "all that the enabled operations take"

    return _try(f"{name}: permissions", look)


def _monitoring(
    config: UniversalConfig, name: str, environment: Environment, clients: MonitoringClients
) -> Iterator[Finding]:
    observing = config.platform.observe

    def prometheus(source: HttpSource) -> str:
        query(clients.sources([source]), "vector(1)", observing.metrics)
        return f"{source.url} answers"

    def alertmanager(source: HttpSource) -> str:
        seen = read_alerts(clients.sources([source]), observing.alerts)
        return f"{source.url} answers: {len(seen.alerts)} alerts, {len(seen.silences)} silences"

    for source in environment.prometheus:
        yield _try(f"{name}: Prometheus", lambda s=source: prometheus(s))  # type: ignore[misc]  # the lambda binds it now
    if not environment.alertmanager:
        yield Finding(
            f"{name}: Alertmanager",
            Level.WARNING,
            "none: nobody is sent what a person has to know, it stands in reports and Prefect"
            f" only: name one in environments.yml, environments.{name}.alertmanager",
        )
    for source in environment.alertmanager:
        yield _try(f"{name}: Alertmanager", lambda s=source: alertmanager(s))  # type: ignore[misc]  # as above


def _data_directory(path: Path) -> Finding:
    """Whether this user could keep data there. The agent may be another user."""
    there = next(p for p in (path, *path.parents) if p.exists())
    usable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    if not usable:
        wrong = "can't be written by this user" if there.is_dir() else "is no folder"
        detail = f"{path}: {there} {wrong}: correct dataDirectory in platform.yml or its rights"
        return Finding("data directory", Level.ERROR, detail)
    detail = str(path) if there == path else f"{path}: is made by the first run"
    return Finding("data directory", Level.OK, detail)


def _git(config: UniversalConfig, services: list[Service]) -> Finding:
    """Whether desired state can be read; its services join `services`."""
    if shutil.which("git") is None:
        return Finding("state repository", Level.ERROR, "git is not installed: install it")

    git = config.platform.git
    seed = config.directory / git.seed
    if git.remote is None and not (embedded_path(config.data_directory).exists() or seed.is_dir()):
        detail = (
            f"git.seed is {git.seed}, and there is no such folder beside platform.yml: correct the"
            " path, or set git.remote to a repository"
        )
        return Finding("state repository", Level.ERROR, detail)

    refused: list[str] = []

    def look() -> str:
        state = desired_state(config)
        services.extend(state.services.values())
        remote = git.remote or "embedded"
        if state.refused_revision is not None:
            # What is in force instead, the agent's own clone knows, and uici status tells.
            problems = "; ".join(str(problem) for problem in state.problems[:_PROBLEMS])
            refused.append(state.refused_revision)
            said = config.redactor().text(state.refused)
            return f"{remote}: {said} is refused: {problems}"
        told = f"{remote}: {state.revision}, {len(state.services)} services"
        return told + (f"; stale: {state.stale}" if state.stale else "")

    found = _try("state repository", look)
    return replace(found, level=Level.WARNING) if refused else found


_PROBLEMS = 3


def well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is broken."""
    return all(finding.level is not Level.ERROR for finding in findings)


def as_data(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings as JSON-able data."""
    rows = [{"name": f.name, "level": f.level.value, "detail": f.detail} for f in findings]
    return {"apiVersion": "uici/v1", "kind": "Diagnosis", "findings": rows}


def show(findings: Iterable[Finding]) -> None:
    """Print the findings."""
    console = new_console()
    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}
    for finding in findings:
        colour = colours[finding.level]
        name = escape(finding.name)
        console.print(
            f"[{colour}]{finding.level.value:7}[/] [bold]{name}[/]  {escape(here(finding.detail))}"
        )
