"""Fixtures of the cluster that the contract suite runs on: see `kubernetes_world`."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from executors.deadline import Deadline
from executors.kubernetes import Connection
from executors.kubernetes.binding import Json, core_path
from executors.kubernetes.sdk import SdkCluster
from infrastructure.errors import NotFoundError, UiciError
from tests.contract.kubernetes_world import Cluster, KubernetesWorld, PlayedKubelet
from tests.fakes.kubernetes_server import LIMITS, FakeKubernetes

_VARIABLE = "UICI_TEST_KUBECONFIG"
# What a real kubelet can pull; both have a shell.
_IMAGES = ("busybox:1.36", "busybox:1.37")
_PROBE_PATIENCE = 20.0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster in memory, or the real one that the environment variable names."""
    given = os.environ.get(_VARIABLE)
    if given:
        yield _real(Path(given))
        return
    with FakeKubernetes() as server:
        path = server.kubeconfig(tmp_path_factory.mktemp("kubernetes"))
        yield Cluster(path, plays=False, commands=True, steerable=True)


def _real(kubeconfig: Path) -> Cluster:
    """What the cluster does by itself, tried with one pod."""
    namespace = _unique("probe")
    api = _api(kubeconfig, namespace)
    _create_namespace(api, namespace)
    try:
        runs = _runs_a_pod(api, namespace)
        commands = runs and _has_commands(api, namespace)
        return Cluster(kubeconfig, plays=not runs, commands=commands, steerable=not runs)
    finally:
        _delete_namespace(api, namespace)
        api.close()


def _runs_a_pod(api: SdkCluster, namespace: str) -> bool:
    container = {"name": "main", "image": _IMAGES[0], "args": ["sleep", "60"]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe"},
        "spec": {"containers": [container]},
    }
    limit = time.monotonic() + _PROBE_PATIENCE
    _request(api, "POST", core_path("pods", namespace), body, patience=limit)
    while time.monotonic() < limit:
        pod = _request(api, "GET", core_path("pods", namespace, "probe"))
        if (pod.get("status") or {}).get("phase") == "Running":
            return True
        if (pod.get("spec") or {}).get("nodeName") is None and _no_node(api):
            return False
        time.sleep(0.5)
    return False


def _no_node(api: SdkCluster) -> bool:
    return not (_request(api, "GET", "/api/v1/nodes").get("items") or ())


def _has_commands(api: SdkCluster, namespace: str) -> bool:
    try:
        done = api.execute(
            core_path("pods", namespace, "probe"),
            ["echo", "here"],
            container="main",
            deadline=Deadline(5),
            limit=100,
        )
    except UiciError:
        return False
    return done.stdout == "here\n"


@pytest.fixture
def silent_api(tmp_path: Path) -> Iterator[Path]:
    """Kubeconfig of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        path = tmp_path / "silent-kubeconfig"
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "silent", "cluster": {"server": url}}],
                    "users": [{"name": "nobody", "user": {}}],
                    "contexts": [
                        {"name": "silent", "context": {"cluster": "silent", "user": "nobody"}}
                    ],
                    "current-context": "silent",
                }
            )
        )
        yield path


@pytest.fixture
def kubernetes_world(cluster: Cluster, silent_api: Path) -> Iterator[KubernetesWorld]:
    """A namespace of its own; everything in it is removed at the end."""
    namespace = _unique("contract")
    api = _api(cluster.kubeconfig, namespace)
    _create_namespace(api, namespace)
    kubelet = PlayedKubelet(api, namespace)
    if cluster.plays:
        kubelet.start()
    world = KubernetesWorld(cluster, namespace, silent_api, _IMAGES)
    yield world
    world.close()
    if cluster.plays:
        kubelet.stop()
    _delete_namespace(api, namespace)
    api.close()


def _unique(stem: str) -> str:
    return f"uict-{stem}-{os.getpid()}-{time.time_ns() // 1000 % 10**9:x}"


def _api(kubeconfig: Path, namespace: str) -> SdkCluster:
    return SdkCluster(
        Connection.model_validate(
            {**LIMITS, "kubeconfig": str(kubeconfig), "namespaces": [namespace]}
        )
    )


def _request(
    api: SdkCluster, method: str, path: str, body: Json | None = None, *, patience: float = 0.0
) -> Json:
    """A request; tried again until `patience`: a new namespace has no service account yet."""
    while True:
        try:
            return api.request(method, path, what=method, deadline=Deadline(10), body=body)
        except UiciError:
            if time.monotonic() >= patience:
                raise
            time.sleep(0.2)


def _create_namespace(api: SdkCluster, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    _request(api, "POST", "/api/v1/namespaces", body)


def _delete_namespace(api: SdkCluster, name: str) -> None:
    """With its Deployments first, so that nothing is left where no controller finishes."""
    deployments = f"/apis/apps/v1/namespaces/{name}/deployments"
    for item in _request(api, "GET", deployments)["items"] or ():
        with suppress(NotFoundError):
            _request(api, "DELETE", f"{deployments}/{item['metadata']['name']}")
    with suppress(NotFoundError):
        _request(api, "DELETE", f"/api/v1/namespaces/{name}")
