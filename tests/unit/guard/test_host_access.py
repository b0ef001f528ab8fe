"""What of its host an instance can reach, as each engine tells it."""

from __future__ import annotations

from typing import Any

import pytest

from executors.docker.spec import Reach, observed_instance
from executors.kubernetes.pods import _host_access
from flows.guarding.reach import engine_access
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.observed import ObservedService
from tests.builders import instance_of, observation, service

SHOP = service("shop")
PATTERNS = UniversalConfigLoader().load().platform.guard.engine_access


def inspected(
    *, mounts: list[dict[str, Any]] | None = None, env: list[str] | None = None, **host: Any
) -> dict[str, Any]:
    return {
        "Id": "1" * 64,
        "Name": "/shop",
        "State": {"Status": "running", "Running": True},
        "Config": {"Image": "shop:1", "Env": env},
        "HostConfig": host,
        "Mounts": mounts,
    }


def bind(source: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Destination": "/x"}


@pytest.mark.parametrize(
    ("inspect", "reached"),
    [
        (inspected(), ()),
        (inspected(mounts=[bind("/srv/data")]), ("/srv/data",)),
        (inspected(mounts=[{"Type": "volume", "Source": "/var/lib/docker/volumes/v"}]), ()),
        (inspected(Privileged=True), ("privileged",)),
        (inspected(CapAdd=["SYS_ADMIN"]), ("privileged",)),
        (inspected(CapAdd=["NET_ADMIN"]), ()),
        (inspected(PidMode="host"), ("host processes",)),
        (inspected(env=["DOCKER_HOST=tcp://engine:2375", "A=b"]), ("tcp://engine:2375",)),
    ],
)
def test_docker_tells_what_is_mounted_and_allowed(
    inspect: dict[str, Any], reached: tuple[str, ...]
) -> None:
    seen = observed_instance(inspect, Reach(local=False, host="127.0.0.1"), keep_native=False)
    assert seen.host_access == reached


def test_kubernetes_tells_host_paths_and_privileges() -> None:
    pod = {
        "hostPID": True,
        "volumes": [{"name": "s", "hostPath": {"path": "/run/containerd/containerd.sock"}}, {}],
    }
    container = {"securityContext": {"privileged": True}}
    assert _host_access(pod, container) == (
        "/run/containerd/containerd.sock",
        "privileged",
        "host processes",
    )
    assert _host_access({}, {}) == ()


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/var/run/docker.sock", True),
        ("/run/podman/podman.sock", True),
        ("/run/containerd/containerd.sock", True),
        ("/run/crio/crio.sock", True),
        ("/", True),
        ("/var", True),
        ("/var/run", True),
        ("/proc", True),
        ("/var/lib/docker", True),
        ("/var/lib/kubelet/pods", True),
        ("privileged", True),
        ("host processes", True),
        ("tcp://engine:2375", True),
        ("/srv/data", False),
        ("/var/lib/shop", False),
        ("/home/shop/data", False),
        ("/etc/localtime", False),
    ],
)
def test_what_leads_to_an_engine_as_shipped(path: str, leads: bool) -> None:
    seen = observation([ObservedService(SHOP.target, (instance_of(SHOP, host_access=(path,)),))])
    assert engine_access(seen, PATTERNS) == ({SHOP.target: path} if leads else {})
