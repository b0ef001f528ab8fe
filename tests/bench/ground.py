"""The real parts that measures stand on: engine, Prometheus, Alertmanager, Git remotes.

All of it is scratch: children on loopback that end with the context, containers and
images with a label of this process, removed with it. Prometheus has what the checks of
the services ask for by recording rules, because N scraped exporters would be measured,
too, on the same cores.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows import local_stack
from flows.demo.place import ROOT, edited, set_values
from flows.local_stack.remote import bare_remote
from infrastructure.config_loader import UniversalConfigLoader
from tests.bench.bare import BareEngine

ENVIRONMENT = "local-docker"
REPORTS = "uici/reports"
_METRICS = ("up", "service_healthy")
_MEMORY = 16 * 1024**2
_TAG = "uici-bench"


@dataclass
class Ground:
    """See the module. `concurrency`: inspects at the same time, for both sides alike."""

    scratch: Path
    host: str
    stack: str
    prometheus_url: str
    alertmanager_url: str
    engine: BareEngine
    image: str
    concurrency: int
    _names: list[str] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """How the names of all our containers begin."""
        return f"{_TAG}-{os.getpid()}-"

    def grow(self, count: int) -> None:
        """See to it that `count` containers run, as `service` declares them."""
        fresh = [self.name(number) for number in range(len(self._names), count)]
        made = self.engine.each(
            "POST",
            [f"/containers/create?name={name}" for name in fresh],
            [self._container(name) for name in fresh],
        )
        self.engine.each("POST", [f"/containers/{one['Id']}/start" for one in made])
        self._names += fresh

    def name(self, number: int) -> str:
        """Of a container and its service."""
        return f"{self.prefix}{number}"

    def service(self, name: str, **spec: Any) -> dict[str, Any]:
        """A Service like those of desired-state/: limits, variables, metrics, alerts."""
        checks = [
            {"name": metric.replace("_", "-"), "query": f'{metric}{{job="{name}"}}'}
            for metric in _METRICS
        ]
        return {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": ENVIRONMENT, "labels": {"team": "bench"}},
            "spec": {
                "image": self.image,
                "env": _env(name),
                "resources": {"memory": "16Mi", "cpu": "0.5"},
                "health": {"metrics": [{**c, "expect": "== 1", "for": "30s"} for c in checks]},
                "alerts": [{"matchers": {"service": name}}],
                "native": {"HostConfig": {"NetworkMode": "none"}},
                **spec,
            },
        }

    def remote(self, name: str, *services: Mapping[str, Any]) -> Path:
        """A bare repository with these services as desired state."""
        seed = self.scratch / f"{name}-seed"
        seed.mkdir()
        for service in services:
            path = seed / f"{service['metadata']['name']}.yml"
            path.write_text(yaml.safe_dump(service))
        return bare_remote(self.scratch / f"{name}.git", seed)

    def config(self, name: str, remote: Path, **platform: Any) -> Path:
        """The shipped configuration with our addresses, and `platform` set in platform.yml.

        Keys are as in `flows.demo.place.set_values`, with `__` in the place of `/`.
        """
        folder = self.scratch / f"{name}-config"
        shutil.copytree(ROOT / "infrastructure" / "config", folder)
        values = {
            "dataDirectory": str(self.scratch / f"{name}-data"),
            "git/remote": str(remote),
            "llm/apiKey": "",
            "guard/flapping": None,  # the same service is broken again and again
            **{key.replace("__", "/"): value for key, value in platform.items()},
        }
        set_values(folder / "platform.yml", values)
        with edited(folder / "environments.yml") as document:
            place = document["environments"][ENVIRONMENT]
            place["connection"]["host"] = self.host
            place["prometheus"][0]["url"] = self.prometheus_url
            place["alertmanager"][0]["url"] = self.alertmanager_url
            document["environments"] = {ENVIRONMENT: place}
        return folder

    def _container(self, name: str) -> dict[str, Any]:
        return {
            "Image": self.image,
            "Env": [f"{key}={value}" for key, value in _env(name).items()],
            "Labels": {"uici.target": f"{ENVIRONMENT}/{name}", "uici.service": name},
            "HostConfig": {
                "Memory": _MEMORY,
                "NanoCpus": 500_000_000,
                "NetworkMode": "none",
            },
        }


def _env(name: str) -> dict[str, str]:
    return {"PORT": "8000", "LOG_LEVEL": "info", "MODEL_PATH": f"/models/{name}.bin"}


@contextlib.contextmanager
def ground(scratch: Path, *, largest: int, own_engine: bool) -> Iterator[Ground]:
    """Start everything; ended and removed with the context.

    Args:
        scratch: an empty directory.
        largest: services that will be needed at most.
        own_engine: start an engine of our own even where one runs, so that the list has
            our containers only.
    """
    stack = f"bench-{os.getpid()}"
    shipped = UniversalConfigLoader().load().environments.environments[ENVIRONMENT]
    with contextlib.ExitStack() as running:
        host = running.enter_context(local_stack.docker_engine(scratch, reuse=not own_engine)).host
        image = f"{_TAG}:{os.getpid()}"
        running.callback(local_stack.remove_stack, host, stack)
        local_stack.build_demo_image(host, image, stack=stack)
        engine = running.enter_context(
            contextlib.closing(BareEngine(host, concurrency=shipped.concurrency))
        )
        prefix = f"{_TAG}-{os.getpid()}-"
        config = _prometheus_config(scratch, [f"{prefix}{n}" for n in range(largest)])
        yield Ground(
            scratch=scratch,
            host=host,
            stack=stack,
            prometheus_url=running.enter_context(local_stack.prometheus(scratch, config)),
            alertmanager_url=running.enter_context(
                local_stack.alertmanager(scratch, _alertmanager_config(scratch))
            ),
            engine=engine,
            image=image,
            concurrency=shipped.concurrency,
        )


def _prometheus_config(scratch: Path, names: list[str]) -> Path:
    rules = [
        {"record": metric, "expr": "vector(1)", "labels": {"job": name}}
        for name in names
        for metric in _METRICS
    ]
    groups = {"groups": [{"name": "bench", "interval": "10s", "rules": rules}]}
    (scratch / "rules.yml").write_text(yaml.safe_dump(groups))
    path = scratch / "prometheus.yml"
    settings = {"evaluation_interval": "10s"}
    path.write_text(yaml.safe_dump({"global": settings, "rule_files": ["rules.yml"]}))
    return path


def _alertmanager_config(scratch: Path) -> Path:
    path = scratch / "alertmanager.yml"
    receivers = [{"name": "nobody"}]
    path.write_text(yaml.safe_dump({"route": {"receiver": "nobody"}, "receivers": receivers}))
    return path
