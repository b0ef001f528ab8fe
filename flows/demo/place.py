"""The demo's scratch directory: copies of the configuration, with free ports in them.

Nothing is configured but through the files that users have: `platform.yml`,
`environments.yml`, the monitoring configuration, the desired state. Where the copy
differs from the original is listed here, and nowhere else.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows.local_stack import free_port
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import PermanentError

ROOT = Path(__file__).parents[2]
PREDICTOR = "market-predictor"
GATEWAY = "market-gateway"
AGENT = "devops-ai-agent"
ENVIRONMENT = "local-docker"
# The services of monitoring/prometheus/targets/services.yml.
JOBS = (PREDICTOR, GATEWAY, AGENT)
# The demo's intervals: people wait for it. Production's are in the originals.
_SCRAPE = "1s"
_ALERT_AFTER = "2s"


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of one demo is.

    Attributes:
        scratch: directory that holds all of it.
        stack: label value of what is made in the Docker Engine.
        ports: published port of each job's `/health` and `/metrics`. The agent's is that of
            the container which stands in for a second agent.
        agent_port: `/healthz`, `/readyz` and `/metrics` of `uici serve` itself.
    """

    scratch: Path
    stack: str
    docker_host: str
    ports: Mapping[str, int]
    agent_port: int
    prometheus_port: int
    alertmanager_port: int
    prefect_port: int

    @property
    def config(self) -> Path:
        """What `--config` gets."""
        return self.scratch / "config"

    @property
    def desired_state(self) -> Path:
        """Seed of the remote."""
        return self.scratch / "desired-state"

    @property
    def monitoring(self) -> Path:
        """Configuration of Prometheus and Alertmanager."""
        return self.scratch / "monitoring"

    @property
    def remote(self) -> Path:
        """The bare repository: desired state in, reports out."""
        return self.scratch / "state.git"

    @property
    def network(self) -> str:
        """The containers' own network, where they find each other by name."""
        return f"uici-{self.stack}"

    @property
    def prefect_url(self) -> str:
        """Prefect's UI."""
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def prometheus_url(self) -> str:
        """Prometheus."""
        return f"http://127.0.0.1:{self.prometheus_port}"

    @property
    def alertmanager_url(self) -> str:
        """Alertmanager."""
        return f"http://127.0.0.1:{self.alertmanager_port}"

    @property
    def agent_url(self) -> str:
        """The endpoint of `uici serve`."""
        return f"http://127.0.0.1:{self.agent_port}"

    def url(self, job: str, path: str = "/health") -> str:
        """Published address of one of the services."""
        return f"http://127.0.0.1:{self.ports[job]}{path}"


def make_place(scratch: Path, *, stack: str, docker_host: str) -> Place:
    """Choose free ports and write the copies.

    Raises:
        PermanentError: this is no checkout of the project, or a copied file no longer has
            a key that the demo sets.
    """
    place = Place(
        scratch=scratch,
        stack=stack,
        docker_host=docker_host,
        ports={job: free_port() for job in JOBS},
        agent_port=free_port(),
        prometheus_port=free_port(),
        alertmanager_port=free_port(),
        prefect_port=free_port(),
    )
    _copy("infrastructure/config", place.config)
    _copy("desired-state", place.desired_state)
    _copy("monitoring/prometheus", place.monitoring / "prometheus")
    _copy("monitoring/alertmanager", place.monitoring / "alertmanager")
    _write_config(place)
    _write_desired_state(place)
    _write_monitoring(place)
    return place


def _copy(source: str, target: Path) -> None:
    if not (ROOT / source).is_dir():
        raise PermanentError(f"{source}/ is missing: run the demo from a checkout of the project")
    shutil.copytree(ROOT / source, target)


def _write_config(place: Place) -> None:
    set_values(
        place.config / "platform.yml",
        {
            "dataDirectory": str(place.scratch / "data"),
            "git/remote": str(place.remote),
            "prefect/apiUrl": f"{place.prefect_url}/api",
            "prefect/server/port": place.prefect_port,
            "prefect/server/readyTimeout": "5m",
            "prefect/pollInterval": "500ms",
            "reconcile/interval": "2s",
            "serve/http/port": place.agent_port,
            "observe/metrics/step": _SCRAPE,
            "observe/metrics/staleness": "10s",
            "compare/grace/stopped": "1s",
            "compare/grace/starting": "2s",
            "guard/policy/backoff/initial": "2s",
            "guard/flapping": None,  # the same service is broken on purpose, time and again
            "verify/deadline": "20s",
            "verify/interval": "200ms",
            "verify/stableFor": "1s",
        },
    )
    with edited(place.config / "environments.yml") as document:
        environment = document["environments"][ENVIRONMENT]
        environment["connection"]["host"] = place.docker_host
        environment["prometheus"][0]["url"] = place.prometheus_url
        environment["alertmanager"][0]["url"] = place.alertmanager_url
        document["environments"] = {ENVIRONMENT: environment}


def _write_desired_state(place: Place) -> None:
    for name in (PREDICTOR, GATEWAY):
        with edited(place.desired_state / f"{name}.yml") as document:
            spec = document["spec"]
            spec["ports"] = [f"127.0.0.1:{place.ports[name]}:8000"]
            spec["native"]["HostConfig"]["NetworkMode"] = place.network
            for check in spec["health"]["metrics"]:
                check["for"] = "3s"


def _write_monitoring(place: Place) -> None:
    prometheus = place.monitoring / "prometheus"
    with edited(prometheus / "prometheus.yml") as document:
        document["global"].update(
            scrape_interval=_SCRAPE, scrape_timeout=_SCRAPE, evaluation_interval=_SCRAPE
        )
    with edited(prometheus / "targets" / "services.yml") as document:
        known = {group["labels"]["service"]: group for group in document}
        if missing := set(JOBS) - set(known):
            raise PermanentError(f"targets/services.yml has no service {min(missing)}")
        for name, port in place.ports.items():
            known[name]["targets"] = [f"127.0.0.1:{port}"]
        # `uici serve` itself, and the container that incident 5 stops in its place.
        known[AGENT]["targets"].append(f"127.0.0.1:{place.agent_port}")
    with edited(prometheus / "targets" / "alertmanagers.yml") as document:
        document[0]["targets"] = [f"127.0.0.1:{place.alertmanager_port}"]
    for path in (prometheus / "rules").glob("*.yml"):
        with edited(path) as document:
            for group in document["groups"]:
                for rule in group["rules"]:
                    if "for" in rule:
                        rule["for"] = _ALERT_AFTER
    with edited(place.monitoring / "alertmanager" / "alertmanager.yml") as document:
        document["route"].update(group_wait="0s", group_interval="1s")


def who_plans(place: Place) -> str:
    """Whether a model plans or the runbooks do, and why, by the demo's configuration.

    Raises:
        InvalidInputError: the configuration has mistakes.
    """
    config = UniversalConfigLoader(place.config).load()
    llm = config.platform.llm
    if llm.key_required and not llm.api_key:
        return "the runbooks: no OPENAI_API_KEY is set and platform.yml names no other endpoint"
    model = config.agents.agents[config.platform.agent].llm.model
    return f"{model} at {llm.base_url}; the runbooks where it fails"


class edited:  # noqa: N801 - a context manager that reads like a verb
    """`with edited(path) as document`: load YAML, change it, write it back with comments."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._yaml = YAML()
        self._yaml.preserve_quotes = True
        self._yaml.width = 200

    def __enter__(self) -> Any:
        self._document = self._yaml.load(self._path)
        return self._document

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._yaml.dump(self._document, self._path)


def set_values(path: Path, values: Mapping[str, Any]) -> None:
    """Set values of a YAML file by slash-separated keys that it already has.

    Raises:
        PermanentError: a key is not there: the file's shape has changed.
    """
    with edited(path) as document:
        for pointer, value in values.items():
            *parents, last = pointer.split("/")
            block = document
            for key in parents:
                block = block.get(key, {})
            if last not in block:
                raise PermanentError(f"{path.name} has no {pointer}, which the demo sets")
            block[last] = value
