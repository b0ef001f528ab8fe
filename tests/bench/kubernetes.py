"""Observing a large Kubernetes cluster: requests, time, memory of the process that looks.

The API server is the one in memory, in a process of its own; what it takes to make its
answers is in the wall time and not in the CPU time. `python -m tests.bench.kubernetes look
KUBECONFIG N` looks and prints one JSON document, `… serve FOLDER N` is the server.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from executors.contract import ExecutorContext
from executors.deadline import Deadline
from executors.kubernetes import Connection
from executors.kubernetes.executor import KubernetesExecutor
from executors.kubernetes.sdk import SdkCluster, connect
from executors.kubernetes.session import Executed, Query
from infrastructure.service import Service
from tests.bench.apart import looked_at, memory_row, peak
from tests.bench.table import Aim, Of, Row
from tests.fakes.engine import NOBODY
from tests.fakes.kubernetes_server import LIMITS, FakeKubernetes

NAME = "kubernetes"
_NAMESPACE, _ENVIRONMENT = "shop", "cluster"
_PODS = 3  # of each workload
_MOST_REQUESTS = 6
_TIMEOUT = 120.0


def measure(sizes: tuple[int, ...] = (1000, 2500)) -> Iterator[Row]:
    """Rows for each number of workloads; each has three pods."""
    for size in sizes:
        found, _ = looked_at("tests.bench.kubernetes", size)
        what = f"{size} workloads, {_PODS * size} pods"
        yield Row(NAME, f"{what}: observe", found["wall"], "s", note=f"{found['cpu']:.2f} CPU s")
        yield Row(
            NAME,
            f"{what}: requests",
            found["requests"],
            "",
            "aim",
            _MOST_REQUESTS if size == sizes[0] else None,
            Aim(1.0, Of.RATIO) if size == sizes[0] else None,
        )
        yield memory_row(NAME, what, found)


class Counting:
    """A cluster that counts what it is asked."""

    def __init__(self, inner: SdkCluster) -> None:
        self._inner = inner
        self.address = inner.address
        self.requests = 0

    def request(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        self.requests += 1
        return self._inner.request(*arguments, **more)

    def text(
        self, path: str, *, what: str, deadline: Deadline, query: Query, limit: int
    ) -> tuple[str, bool]:
        self.requests += 1
        return self._inner.text(path, what=what, deadline=deadline, query=query, limit=limit)

    def execute(
        self, path: str, argv: Sequence[str], *, container: str, deadline: Deadline, limit: int
    ) -> Executed:
        self.requests += 1
        return self._inner.execute(path, argv, container=container, deadline=deadline, limit=limit)

    def close(self) -> None:
        self._inner.close()


def _look(kubeconfig: str, size: int) -> None:
    place = {"kubeconfig": kubeconfig, "namespaces": [_NAMESPACE]}
    connection = Connection.model_validate({**LIMITS, **place})
    context = ExecutorContext(_ENVIRONMENT, 4, NOBODY, lambda reference: reference)
    executor: KubernetesExecutor = connect(connection, context)
    services = [_service(number) for number in range(size)]
    executor.check(timeout=_TIMEOUT)  # imports and connects: paid once a process
    cluster = Counting(executor._cluster)  # type: ignore[arg-type]  # it is the SDK's
    executor._cluster = cluster
    object.__setattr__(executor._lister, "cluster", cluster)
    before = peak()
    began, busy = time.monotonic(), time.process_time()
    seen = executor.observe(services, all_services=True, timeout=_TIMEOUT)
    wall, cpu = time.monotonic() - began, time.process_time() - busy
    assert sum(len(service.instances) for service in seen.services.values()) == _PODS * size
    assert all(service.workload is not None for service in seen.services.values())
    executor.close()
    figures = {"wall": wall, "cpu": cpu, "requests": cluster.requests}
    print(json.dumps({**figures, "before": before, "peak": peak()}))  # noqa: T201 - its result


def _service(number: int) -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": f"service-{number}", "environment": _ENVIRONMENT},
            "spec": {"image": "registry.example/shop/service:1.4.2", "replicas": _PODS},
        }
    )


def _serve(folder: str, size: int) -> None:
    with FakeKubernetes(controllers=False) as server:
        for number in range(size):
            _seed(server, number)
        print(server.kubeconfig(Path(folder)), flush=True)  # noqa: T201 - its result
        sys.stdin.read()


def _seed(server: FakeKubernetes, number: int) -> None:
    """A Deployment and its pods, as large as they are in a real cluster."""
    name = f"service-{number}"
    labels = {"app.kubernetes.io/name": name, "uici.service": name, "team": "trading"}
    container = {
        "name": "main",
        "image": "registry.example/shop/service:1.4.2",
        "env": [{"name": f"VARIABLE_{n}", "value": f"the value of number {n}"} for n in range(12)],
        "resources": {"limits": {"memory": "256Mi", "cpu": "500m"}},
        "ports": [{"containerPort": 8000, "protocol": "TCP"}],
    }
    managed = [
        {
            "manager": f"manager-{n}",
            "operation": "Update",
            "fieldsV1": {f"f:field-{m}": {"f:below": {"f:this": {}}} for m in range(40)},
        }
        for n in range(3)
    ]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    server.store.seed(
        "deployments",
        {
            "metadata": {
                "name": name,
                "namespace": _NAMESPACE,
                "labels": labels,
                "managedFields": managed,
            },
            "spec": {"replicas": _PODS, "selector": {"matchLabels": labels}, "template": template},
            "status": {
                "observedGeneration": 1,
                "replicas": _PODS,
                "updatedReplicas": _PODS,
                "availableReplicas": _PODS,
            },
        },
    )
    for pod in range(_PODS):
        _seed_pod(server, f"{name}-5d4cf56db6", pod, labels, container, managed)


def _seed_pod(  # noqa: PLR0917 - the parts of one object
    server: FakeKubernetes, owner: str, number: int, labels: Any, container: Any, managed: Any
) -> None:
    at = "2026-11-01T00:00:00Z"
    volume = {"name": "kube-api-access", "projected": {"sources": [{"path": "token"}] * 3}}
    server.store.seed(
        "pods",
        {
            "metadata": {
                "name": f"{owner}-{number:05d}",
                "namespace": _NAMESPACE,
                "labels": {**labels, "pod-template-hash": "5d4cf56db6"},
                "managedFields": managed,
                "ownerReferences": [
                    {"kind": "ReplicaSet", "name": owner, "uid": "0", "controller": True}
                ],
            },
            "spec": {"containers": [container], "volumes": [volume], "restartPolicy": "Always"},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "conditions": [
                    {"type": kind, "status": "True", "lastTransitionTime": at}
                    for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
                ],
                "containerStatuses": [
                    {
                        "name": "main",
                        "ready": True,
                        "restartCount": 0,
                        "state": {"running": {"startedAt": at}},
                    }
                ],
            },
        },
    )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], int(sys.argv[3]))
    else:
        _look(sys.argv[2], int(sys.argv[3]))
