"""Oracle Cloud for the contract suite: the real SDK against a service on loopback.

The suite's services are container instances here, changed behind UICI's back by reaching
into the service as a person would through the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from executors.contract import Executor, ExecutorContext
from executors.oci import Connection, connect
from executors.oci.settings import Api
from infrastructure.identity import AgentIdentity
from infrastructure.service import Service
from tests.contract.world import ENVIRONMENT, LOOP, resolve_secret
from tests.fakes.engine import BROKEN_COMMAND, NOBODY
from tests.fakes.oci_service import COMPARTMENT, SUBNET, OciService
from tests.fakes.oci_service.resources import DOMAIN, TENANCY, Thing, now
from tests.fakes.oci_service.service import FINGERPRINT, METADATA, USER, private_pem

GIB = 2**30
BINDING: Mapping[str, Any] = {
    "kind": "ContainerInstance",
    "availabilityDomain": DOMAIN,
    "shape": {"name": "CI.Standard.E4.Flex", "ocpus": 1, "memoryInGBs": 4},
    "subnet": SUBNET,
}


def write_config(folder: Path) -> Path:
    """A configuration file with a key, as the Oracle Cloud CLI writes it."""
    key = folder / "api_key.pem"
    key.write_text(private_pem())
    key.chmod(0o600)
    file = folder / "config"
    lines = {
        "user": USER,
        "fingerprint": FINGERPRINT,
        "tenancy": TENANCY,
        "region": "us-phoenix-1",
        "key_file": str(key),
    }
    file.write_text("[UICI]\n" + "".join(f"{name}={value}\n" for name, value in lines.items()))
    file.chmod(0o600)
    return file


def connection(url: str, config: Path, **more: Any) -> Connection:
    """A connection whose every endpoint is the service at `url`."""
    return Connection.model_validate(
        {
            "auth": {
                "method": "configFile",
                "file": str(config),
                "profile": "UICI",
                "metadataEndpoint": f"{url}{METADATA}",
            },
            "compartments": [COMPARTMENT],
            "requestBudget": 100_000,
            "pageSize": 50,
            "pollInterval": "20ms",
            "retries": {"attempts": 8, "initial": "20ms", "max": "100ms"},
            "endpoints": {api.value: url for api in Api},
            **more,
        }
    )


class OciWorld:
    """Over the service on loopback."""

    image, other_image, missing_image = "ghcr.io/x/loop:1", "ghcr.io/x/loop:2", "ghcr.io/x/no:1"
    spec: Mapping[str, Any] = {"binding": BINDING}
    checked: Mapping[str, Any] = {
        "container": {
            "healthChecks": [
                {"name": "up", "healthCheckType": "HTTP", "port": 8000, "path": "/health"}
            ]
        }
    }
    # A container instance can be neither frozen, nor entered, nor given other limits.
    lacks = frozenset({"pause", "exec", "resize in place", "compose"})

    def __init__(self, service: OciService, folder: Path) -> None:
        self.service = service
        self.region = service.region
        self.region.missing_images.add(self.missing_image)
        self.region.broken_commands.add(tuple(BROKEN_COMMAND))
        self._config = write_config(folder)
        self._executors: list[Executor] = []

    def executor(self, identity: AgentIdentity = NOBODY, **more: Any) -> Executor:
        """An executor on it; the world closes it."""
        context = ExecutorContext(ENVIRONMENT, 4, identity, resolve_secret)
        made = connect(connection(self.service.url, self._config, **more), context)
        self._executors.append(made)
        return made

    def silent(self) -> Executor:
        """An executor whose service takes connections and never answers."""
        self.service.silent = True
        return self.executor()

    def foreign(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """A container instance that somebody else made."""
        body = {
            "compartmentId": COMPARTMENT,
            "displayName": name,
            "availabilityDomain": DOMAIN,
            "shape": "CI.Standard.E4.Flex",
            "shapeConfig": {"ocpus": 1.0, "memoryInGBs": 4.0},
            "vnics": [{"subnetId": SUBNET}],
            "containers": [{"imageUrl": self.image, "arguments": list(LOOP)}],
            "freeformTags": {
                key.replace("uici.", "uici-"): value for key, value in (labels or {}).items()
            },
        }
        machine, _ = self.region.create_machine(body)
        self._finish(machine)
        return machine.id

    def kill(self, name: str) -> None:
        """Its program ends by itself, and nothing restarts it."""
        machine = self._named(name)
        self._main(machine).become("INACTIVE", exitCode=137, timeTerminated=now())
        machine.become("INACTIVE")

    def delete(self, name: str) -> None:
        machine = self._named(name)
        self.region.delete_machine(machine)
        self._finish(machine)

    def pause(self, name: str) -> None:
        raise AssertionError(f"{name} can't be paused: the suite asked for what is not there")

    def rename(self, name: str, new: str) -> None:
        self._named(name).data["displayName"] = new

    def set_memory(self, name: str, memory: int) -> None:
        limits = self._main(self._named(name)).data.setdefault("resourceConfig", {})
        limits["memoryLimitInGBs"] = memory / GIB
        self._main(self._named(name)).become("ACTIVE")

    def replace_env(self, service: Service, env: Mapping[str, str]) -> None:
        """Another container instance in its place."""
        old = self._named(service.metadata.name)
        body = {
            "compartmentId": COMPARTMENT,
            "displayName": service.metadata.name,
            "availabilityDomain": DOMAIN,
            "shape": "CI.Standard.E4.Flex",
            "shapeConfig": {"ocpus": 1.0, "memoryInGBs": 4.0},
            "vnics": [{"subnetId": SUBNET}],
            "containers": [
                {
                    "imageUrl": self.image,
                    "arguments": list(LOOP),
                    "environmentVariables": dict(env),
                }
            ],
            "freeformTags": {"uici-target": service.target},
        }
        machine, _ = self.region.create_machine(body)
        self._finish(machine)
        self.region.delete_machine(old)
        self._finish(old)

    def make_sick(self, name: str) -> None:
        for check in self._main(self._named(name)).data["healthChecks"]:
            check["status"] = "UNHEALTHY"

    def state(self, prefix: str) -> dict[str, tuple[str, ...]]:
        self.region.settle()
        return {
            machine.id: (
                str(machine.data["displayName"]),
                machine.state,
                str(self._main(machine).data["imageUrl"]),
                str(self._main(machine).data.get("resourceConfig")),
                str(self._main(machine).data.get("environmentVariables")),
                str(machine.data["freeformTags"]),
            )
            for machine in self.region.machines.values()
            if prefix in machine.data["displayName"]
            and machine.state not in ("DELETING", "DELETED")
        }

    def close(self) -> None:
        for executor in self._executors:
            executor.close()

    def _named(self, name: str) -> Thing:
        self.region.settle()
        (found,) = (
            machine
            for machine in self.region.machines.values()
            if machine.data["displayName"] == name and machine.state not in ("DELETED", "DELETING")
        )
        return found

    def _main(self, machine: Thing) -> Thing:
        return self.region.containers_of(machine)[0]

    @staticmethod
    def _finish(machine: Thing) -> None:
        """Nobody waits for what a person did."""
        machine.plans = [(0.0, what) for _, what in machine.plans]
        machine.settle()
