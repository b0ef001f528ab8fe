"""What Git declares in the chaos stack: fifteen services that need each other.

Two of them are those of desired-state/, so that the project's own alert rules are about
something; for each other one there is a rule of the same form (`tests.chaos.stage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENVIRONMENT = "local-docker"
MEMORY = 24 * 1024**2
PORT = 8000
BYSTANDER = "bystander"  # runs beside the stack; Git knows nothing of it
AGENT = "devops-ai-agent"  # a container in the place of the agent's own
LOST_IMAGE = "chaos-lost:1"  # exists nowhere
OTHER_IMAGE = "chaos-other:2"


@dataclass(frozen=True, slots=True)
class Kind:
    """One service of the stack. `restart`: the engine's own policy."""

    needs: tuple[str, ...] = ()
    probe: bool = True
    replicas: int = 1
    disk: bool = False
    errors: bool = False  # has a metric that can be breached while /health is well
    restart: str = "no"
    engine_check: bool = False  # a HEALTHCHECK that the engine runs


STACK: Mapping[str, Kind] = {
    "db": Kind(disk=True),
    "cache": Kind(errors=True),
    "queue": Kind(),
    "users": Kind(needs=("db", "cache")),
    "catalog": Kind(needs=("db",), errors=True),
    "inventory": Kind(needs=("db",), disk=True),
    "orders": Kind(needs=("users", "queue")),
    "payments": Kind(needs=("orders",), errors=True),
    "search": Kind(needs=("catalog",), restart="unless-stopped"),
    "mailer": Kind(needs=("queue",), restart="unless-stopped"),
    "worker": Kind(needs=("queue",), probe=False, errors=True),
    "web": Kind(replicas=2),
    "legacy": Kind(restart="always", engine_check=True),
    "market-predictor": Kind(),
    "market-gateway": Kind(needs=("market-predictor",)),
}


def image(name: str) -> str:
    """Each has a name for its image of its own, so that one can be lost."""
    return f"chaos-{name}:1"


def containers(name: str) -> tuple[str, ...]:
    """Names of a service's containers."""
    replicas = STACK[name].replicas
    return (name,) if replicas == 1 else tuple(f"{name}-{n}" for n in range(1, replicas + 1))


def dependents(name: str) -> frozenset[str]:
    """Everything that needs it, directly or not."""
    found: set[str] = set()
    while True:
        more = {n for n, k in STACK.items() if {name, *found} & set(k.needs)} - found
        if not more:
            return frozenset(found)
        found |= more


def environment(name: str) -> dict[str, str]:
    """Its variables."""
    kind = STACK[name]
    env = {"PORT": str(PORT), "LOG_LEVEL": "info"}
    if kind.needs:
        env["UPSTREAMS"] = " ".join(f"{needed}:{PORT}" for needed in kind.needs)
    if kind.disk:
        env["DATA"] = "/data"
    return env


def service(name: str, *, network: str, port: int, **spec: Any) -> dict[str, Any]:
    """The Service as it stands in Git. `port`: where it is published on loopback."""
    kind = STACK[name]
    host: dict[str, Any] = {"NetworkMode": network, "RestartPolicy": {"Name": kind.restart}}
    if kind.disk:
        host["Tmpfs"] = {"/data": "size=64k"}
    native: dict[str, Any] = {"HostConfig": host}
    if kind.engine_check:
        test = ["CMD", "/bin/busybox", "test", "!", "-e", "/tmp/checked"]
        native["Healthcheck"] = {
            "Test": test,
            "Interval": 2_000_000_000,
            "Timeout": 2_000_000_000,
            "Retries": 2,
        }
    health: dict[str, Any] = {"metrics": _checks(name, kind)}
    if kind.probe:
        health["http"] = {"port": PORT, "path": "/health", "timeout": "4s"}
    return {
        "apiVersion": "uici/v1",
        "kind": "Service",
        "metadata": {"name": name, "environment": ENVIRONMENT, "labels": {"team": "chaos"}},
        "spec": {
            "image": image(name),
            "replicas": kind.replicas,
            "env": environment(name),
            "resources": {"memory": "24Mi", "cpu": "1"},
            "ports": [f"127.0.0.1:{port}:{PORT}"] if kind.replicas == 1 else [str(PORT)],
            "dependsOn": list(kind.needs),
            "health": health,
            "alerts": [{"matchers": {"service": name}}],
            "native": native,
            **spec,
        },
    }


def _checks(name: str, kind: Kind) -> list[dict[str, str]]:
    if kind.replicas > 1:  # Prometheus knows published ports only
        return []
    wanted = {"scraped": ("up", "== 1"), "healthy": ("service_healthy", "== 1")}
    if kind.errors:
        wanted["errors"] = ("service_errors", "== 0")
    return [
        {"name": check, "query": f'{metric}{{job="{name}"}}', "expect": expect, "for": "4s"}
        for check, (metric, expect) in wanted.items()
    ]
