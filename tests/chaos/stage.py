"""The real parts of the chaos stack, started in order and ended with the context.

The configuration is a copy of the shipped one, with short intervals; every value that
differs from production's stands in `_CHANGES` and `_write_monitoring`. The monitoring rules
are those of monitoring/, with one more of the same form for each service.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows import local_stack
from flows.demo.place import ROOT, edited, set_values
from flows.local_stack import STACK_LABEL, docker
from flows.local_stack.remote import bare_remote, commit_folder
from infrastructure.errors import PermanentError
from tests.chaos.engine import Engine
from tests.chaos.services import (
    AGENT,
    BYSTANDER,
    ENVIRONMENT,
    OTHER_IMAGE,
    PORT,
    STACK,
    image,
    service,
)

# What differs from the shipped platform.yml: people wait for it, and the same services are
# broken again and again.
_CHANGES: Mapping[str, Any] = {
    "observe/metrics/step": "1s",
    "observe/metrics/staleness": "6s",
    "compare/grace/stopped": "200ms",
    "compare/grace/starting": "5s",
    "compare/grace/confirmAfter": "200ms",
    "compare/crashLoop/within": "20s",
    "guard/policy/backoff": {"initial": "500ms", "max": "1s"},
    "guard/blastRadius/targetsPerHour": 100_000,
    "guard/blastRadius/stepsPerHour": 100_000,
    "guard/flapping": None,
    "learning/relapseWithin": "1s",  # the next fault of a service is another one
    "verify/deadline": "12s",
    "verify/interval": "200ms",
    "verify/stableFor": "1s",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs. `ports`: where each service is published on loopback."""

    scratch: Path
    engine: Engine
    network: str
    other_network: str
    ports: Mapping[str, int]
    prometheus: str
    alertmanager: str
    _kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.scratch / "config"

    @property
    def remote(self) -> Path:
        return self.scratch / "state.git"

    @property
    def data(self) -> Path:
        """The agent's own disk."""
        return self.scratch / "data"

    def url(self, name: str, path: str = "/health") -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def declared(self, name: str, **spec: Any) -> dict[str, Any]:
        """The Service as in Git, with these fields of its spec changed."""
        spec = {**self._kept.get(name, {}), **spec}
        return service(name, network=self.network, port=self.ports[name], **spec)

    def commit(self, name: str, message: str, *, keep: bool = False, **spec: Any) -> str:
        """As a person: this service's file, and the others as they are. The SHA.

        `keep`: later commits of this service have these fields, too.
        """
        if keep:
            self._kept[name] = spec
        folder = self.scratch / "desired-state"
        (folder / f"{name}.yml").write_text(yaml.safe_dump(self.declared(name, **spec)))
        return commit_folder(self.remote, folder, message=message)

    def scrape(self, **addresses: str) -> None:
        """What Prometheus is told to scrape; a service that is not named: as it should be."""
        groups = [
            {
                "targets": [addresses.get(name, f"127.0.0.1:{port}")],
                "labels": {"service": name},
            }
            for name, port in self.ports.items()
            if name not in STACK or STACK[name].replicas == 1
        ]
        path = self.scratch / "monitoring" / "prometheus" / "targets" / "services.yml"
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(groups))
        fresh.replace(path)


@contextlib.contextmanager
def stage(scratch: Path, *, model: bool = False) -> Iterator[Stage]:
    """Start everything; the services themselves are made by the agent's first runs.

    Args:
        scratch: an empty directory.
        model: leave the LLM as platform.yml has it. Else the runbooks plan.
    """
    name = f"chaos-{os.getpid()}"
    label = f"{STACK_LABEL}={name}"
    with contextlib.ExitStack() as running:
        own = os.geteuid() == 0
        engine = running.enter_context(local_stack.docker_engine(scratch, reuse=not own))
        _refuse_taken(engine.host)
        running.callback(_clear, engine.host, name)
        tags = [*(image(each) for each in STACK), OTHER_IMAGE]
        folder = Path(__file__).parent / "image"
        local_stack.build_demo_image(engine.host, *tags, stack=name, directory=folder)
        networks = (f"uici-{name}", f"uici-{name}-other")
        for network in networks:
            running.enter_context(local_stack.container_network(engine, network, label=label))
        ports = {each: local_stack.free_port() for each in (*STACK, AGENT, BYSTANDER)}
        for each in (AGENT, BYSTANDER):
            publish = f"127.0.0.1:{ports[each]}:{PORT}"
            options = ("--name", each, "--network", networks[0], "--publish", publish)
            docker(engine.host, "run", "--detach", *options, OTHER_IMAGE)
        prometheus, alertmanager = (f"http://127.0.0.1:{local_stack.free_port()}" for _ in range(2))
        hands = running.enter_context(contextlib.closing(Engine(engine.host, name)))
        made = Stage(
            scratch,
            hands,
            networks[0],
            networks[1],
            ports,
            prometheus,
            alertmanager,
        )
        _write(made, model=model)
        monitoring = scratch / "monitoring"
        running.enter_context(
            local_stack.alertmanager(
                scratch,
                monitoring / "alertmanager" / "alertmanager.yml",
                port=_port(made.alertmanager),
            )
        )
        running.enter_context(
            local_stack.prometheus(
                scratch,
                monitoring / "prometheus" / "prometheus.yml",
                port=_port(made.prometheus),
            )
        )
        yield made


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _refuse_taken(host: str) -> None:
    names = set(docker(host, "ps", "--all", "--format", "{{.Names}}").split())
    if taken := sorted({*STACK, AGENT, BYSTANDER} & names):
        raise SystemExit(f"the engine already has a container {taken[0]}: use another engine")


def _clear(host: str, name: str) -> None:
    with contextlib.suppress(PermanentError):  # the engine may be what broke
        local_stack.remove_stack(host, name)


def _write(made: Stage, *, model: bool) -> None:
    """Configuration, monitoring and desired state."""
    shutil.copytree(ROOT / "infrastructure" / "config", made.config)
    changes = {**_CHANGES, "dataDirectory": str(made.data), "git/remote": str(made.remote)}
    if not model:
        changes["llm/apiKey"] = ""
    set_values(made.config / "platform.yml", changes)
    with edited(made.config / "environments.yml") as document:
        place = document["environments"][ENVIRONMENT]
        place["connection"]["host"] = made.engine.host
        place["prometheus"][0]["url"] = made.prometheus
        place["alertmanager"][0]["url"] = made.alertmanager
        document["environments"] = {ENVIRONMENT: place}
    seed = made.scratch / "desired-state"
    seed.mkdir()
    for name in STACK:
        (seed / f"{name}.yml").write_text(yaml.safe_dump(made.declared(name)))
    bare_remote(made.remote, seed)
    _write_monitoring(made)


def _write_monitoring(made: Stage) -> None:
    """monitoring/ with the addresses of this stage, each second, and a rule a service."""
    folder = made.scratch / "monitoring"
    for part in ("prometheus", "alertmanager"):
        shutil.copytree(ROOT / "monitoring" / part, folder / part)
    prometheus = folder / "prometheus"
    with edited(prometheus / "prometheus.yml") as document:
        document["global"].update(
            scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s"
        )
        for job in document["scrape_configs"]:
            for found in job["file_sd_configs"]:
                found["refresh_interval"] = "1s"
    with edited(prometheus / "targets" / "alertmanagers.yml") as document:
        document[0]["targets"] = [made.alertmanager.removeprefix("http://")]
    for path in (prometheus / "rules").glob("*.yml"):
        with edited(path) as document:
            for group in document["groups"]:
                for rule in group["rules"]:
                    if "for" in rule:
                        rule["for"] = "4s"
    _add_rules(prometheus / "rules" / "services.yml")
    made.scrape()
    with edited(folder / "alertmanager" / "alertmanager.yml") as document:
        document["route"].update(group_wait="0s", group_interval="1s")


def _add_rules(path: Path) -> None:
    """As `MarketPredictorDown` is, for every service that is scraped and has none."""
    text = path.read_text()
    if "alert: ServiceDown" in text:  # one rule for all of them
        return
    pattern = yaml.safe_load(text)["groups"][0]["rules"][0]
    added = []
    for name, kind in STACK.items():
        alert = re.sub(r"(?:^|-)(.)", lambda found: found[1].upper(), name) + "Down"
        if alert in text or kind.replicas > 1:
            continue
        rule = yaml.safe_load(yaml.safe_dump(pattern).replace("market-predictor", name))
        added.append({**rule, "alert": alert})
    with edited(path) as document:
        document["groups"][0]["rules"].extend(added)
