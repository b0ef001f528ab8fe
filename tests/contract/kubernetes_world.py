"""Kubernetes for the contract suite: in memory, or with UICI_TEST_KUBECONFIG a real cluster.

The suite's services are Deployments in a namespace of their own, changed behind UICI's back
by requests as `kubectl` makes them. A cluster converges by and by, and the suite looks at
once: so the executor that it gets waits after each change until the cluster has caught up.
Where no kubelet runs pods (an API server and controllers alone), the world plays it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executors.contract import Executor, ExecutorContext, Primitive
from executors.deadline import Deadline
from executors.kubernetes import Connection, connect
from executors.kubernetes.binding import Json, core_path
from executors.kubernetes.sdk import SdkCluster
from infrastructure.errors import ConflictError, NotFoundError, UiciError
from infrastructure.identity import AgentIdentity
from infrastructure.observed import EngineSnapshot, InstanceState, ObservedService
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.contract.world import ENVIRONMENT, LOOP, resolve_secret
from tests.fakes.engine import NOBODY
from tests.fakes.kubernetes_server import LIMITS, kubelet
from tests.fakes.kubernetes_server.store import now

PATIENCE = 40.0
PERSON = "kubectl-edit"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
CHECKED: Mapping[str, Any] = {
    "container": {
        "readinessProbe": {
            "exec": {"command": ["test", "!", "-e", "/dev/shm/sick"]},
            "periodSeconds": 1,
            "failureThreshold": 1,
        }
    }
}
# Pods are never frozen or renamed, get new names and stay where they are made; a killed one
# is started again by the cluster, which looks at images and programs only after it said yes.
LACKS = frozenset(
    {
        "pause", "compose", "resize in place", "stable names", "stay down", "stopped instances",
        "numbered replicas", "image check", "start check", "rename",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """Where the suite runs. `plays`: no kubelet runs pods there, so the world does."""

    kubeconfig: Path
    plays: bool
    commands: bool  # whether logs and exec work
    steerable: bool  # whether pods are killed and made sick by annotations


class KubernetesWorld:
    """Over one namespace of a cluster."""

    missing_image = kubelet.MISSING_IMAGE
    spec: Mapping[str, Any] = {}
    checked = CHECKED

    def __init__(
        self, cluster: Cluster, namespace: str, silent: Path, images: tuple[str, str]
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.image, self.other_image = images
        self.lacks = LACKS | (frozenset() if cluster.commands else frozenset({"exec", "logs"}))
        if not cluster.steerable:
            # No process can end the first one of its container other than by a signal it heeds.
            self.lacks |= frozenset({"SIGKILL"} if cluster.commands else {"kill"})
        self._silent = silent
        self._api = SdkCluster(self.connection(cluster.kubeconfig))
        self._closing: list[Callable[[], None]] = [self._api.close]

    def connection(self, kubeconfig: Path, **more: Any) -> Connection:
        return Connection.model_validate(
            {
                **LIMITS,
                "kubeconfig": str(kubeconfig),
                "namespaces": [self.namespace],
                "takeOver": [PERSON],
                **more,
            }
        )

    def executor(self, identity: AgentIdentity = NOBODY, **more: Any) -> Executor:
        return Patient(self.bare(identity, **more))

    def bare(self, identity: AgentIdentity = NOBODY, **more: Any) -> Executor:
        """An executor that does not wait."""
        return self._connected(self.cluster.kubeconfig, identity, **more)

    def silent(self) -> Executor:
        return self._connected(self._silent, NOBODY)

    def _connected(self, kubeconfig: Path, identity: AgentIdentity, **more: Any) -> Executor:
        context = ExecutorContext(ENVIRONMENT, 4, identity, resolve_secret)
        made = connect(self.connection(kubeconfig, **more), context)
        self._closing.append(made.close)
        return made

    # ── what people do ──────────────────────────────────────────────────────────

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> Json:
        """As kubectl would."""
        query = (("fieldManager", PERSON),) if method in ("POST", "PATCH") else ()
        return self._api.request(
            method, path, what=method, deadline=Deadline(20), query=query, body=body, **more
        )

    def foreign(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        given = dict(labels or {})
        notes = {"uici.target": given.pop("uici.target")} if "uici.target" in given else {}
        own = {"made-by": "hand", "app-of": name, **given}
        self.request(
            "POST",
            self._deployments(),
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "labels": own, "annotations": notes},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app-of": name}},
                    "template": {
                        "metadata": {"labels": own},
                        "spec": {
                            "containers": [
                                {"name": "main", "image": self.image, "args": list(LOOP)}
                            ]
                        },
                    },
                },
            },
        )
        (pod,) = self._wait(lambda: self._running(name), lambda pods: len(pods) == 1)
        return str(pod["metadata"]["uid"])

    def kill(self, name: str) -> None:
        """Until the cluster waits before it starts it again: at once after the first time."""
        if self.cluster.steerable:
            self._annotate(name, kubelet.KILLED, "137")
        limit = time.monotonic() + PATIENCE
        while not self.cluster.steerable and "waiting" not in _state(self._pod(name)):
            assert time.monotonic() < limit, "the cluster starts it again and again"
            with contextlib.suppress(UiciError):  # it may be down by now
                self._run(name, "kill", "1")
            time.sleep(1)
        self._wait(lambda: self._pod(name), lambda pod: "waiting" in _state(pod))

    def delete(self, name: str) -> None:
        pod = self._pod(name)
        before = len(self._running(_workload_of(pod)))
        self.request("DELETE", core_path("pods", self.namespace, name), {"gracePeriodSeconds": 0})
        with contextlib.suppress(NotFoundError):
            self._wait(lambda: self._pod(name), lambda _: False, patience=2)
        self._wait(lambda: self._running(_workload_of(pod)), lambda pods: len(pods) == before)

    def pause(self, name: str) -> None:
        raise NotImplementedError(f"{name}: a pod can't be frozen")

    def rename(self, name: str, new: str) -> None:
        raise NotImplementedError(f"{name}: no object can be renamed to {new}")

    def scale(self, name: str, replicas: int) -> None:
        """As `kubectl scale` does."""
        body = {"spec": {"replicas": replicas}}
        self.request("PATCH", self._deployments(name), body, content_type=_MERGE)
        self._wait(lambda: self._alive(name), lambda pods: len(pods) == replicas)

    def edit_unwatched(self, name: str, container: Json) -> None:
        """As `edit`, for a change that the cluster can't roll out: until it has begun."""
        live = self.request("GET", self._deployments(name))
        before = len(self._alive(name))
        first = live["spec"]["template"]["spec"]["containers"][0]["name"]
        changed = {"name": first, **container}
        body = {"spec": {"template": {"spec": {"containers": [changed]}}}}
        self.request("PATCH", self._deployments(name), body, content_type=_STRATEGIC)
        self._wait(lambda: self._alive(name), lambda pods: len(pods) > before)
        self._wait(
            lambda: self._alive(name), lambda pods: any("waiting" in _state(p) for p in pods)
        )

    def evict(self, name: str) -> None:
        """Delete a pod, and do not wait for another in its place."""
        workload = _workload_of(self._pod(name))
        self.request("DELETE", core_path("pods", self.namespace, name), {"gracePeriodSeconds": 0})
        self._wait(lambda: self._alive(workload), lambda pods: not pods)
        path = self._deployments(workload)
        self._wait(
            lambda: self.request("GET", path),
            lambda item: "availableReplicas" not in item["status"],
        )

    def settled(self, plural: str, name: str) -> None:
        """Wait until a workload has all of its pods."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/{plural}/{name}"
        ready = "readyReplicas"
        self._wait(
            lambda: self.request("GET", path),
            lambda item: (item.get("status") or {}).get(ready) == item["spec"]["replicas"],
        )

    def remove(self, name: str) -> None:
        """The Deployment, with all of its pods."""
        self.request("DELETE", self._deployments(name))
        self._wait(lambda: self._alive(name), lambda pods: not pods)

    def set_memory(self, name: str, memory: int) -> None:
        self._edit(name, {"resources": {"limits": {"memory": str(memory)}}})

    def edit(self, name: str, container: Json) -> None:
        """As `kubectl edit` of one container, which `container` names, and wait for the pods."""
        self._edit(name, container)

    def replace_env(self, service: Service, env: Mapping[str, str]) -> None:
        entries = [{"name": key, "value": value} for key, value in env.items()]
        self._edit(service.metadata.name, {"env": entries})

    def make_sick(self, name: str) -> None:
        time.sleep(2.2)  # the cluster's times are whole seconds; it has to have been well
        if self.cluster.steerable:
            self._annotate(name, kubelet.SICK, "yes")
        else:
            self._run(name, "touch", "/dev/shm/sick")
        self._wait(
            lambda: self._pod(name), lambda pod: not pod["status"]["containerStatuses"][0]["ready"]
        )

    def state(self, prefix: str) -> dict[str, tuple[str, ...]]:
        """Workloads and pods, without what the cluster itself writes there."""
        workloads = {
            str(item["metadata"]["uid"]): _shown(item, item["metadata"]["name"])
            for item in self.request("GET", self._deployments())["items"] or ()
        }
        pods = {
            str(item["metadata"]["uid"]): _shown(item, _workload_of(item))
            for item in self.request("GET", core_path("pods", self.namespace))["items"] or ()
            if not item["metadata"].get("deletionTimestamp")
        }
        return {uid: told for uid, told in {**workloads, **pods}.items() if prefix in told[0]}

    def close(self) -> None:
        for close in self._closing:
            close()

    # ── parts ───────────────────────────────────────────────────────────────────

    def _deployments(self, name: str = "") -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments" + (name and f"/{name}")

    def _pod(self, name: str) -> Json:
        return self.request("GET", core_path("pods", self.namespace, name))

    def _running(self, workload: str) -> list[Json]:
        pods = self.request("GET", core_path("pods", self.namespace))["items"] or ()
        return [
            pod
            for pod in pods
            if _workload_of(pod) == workload
            and "running" in _state(pod)
            and not pod["metadata"].get("deletionTimestamp")
        ]

    def _run(self, pod: str, *argv: str) -> None:
        """As `kubectl exec` in its first container."""
        path = core_path("pods", self.namespace, pod)
        container = self._pod(pod)["spec"]["containers"][0]["name"]
        self._api.execute(path, argv, container=container, deadline=Deadline(10), limit=1000)

    def _annotate(self, pod: str, key: str, value: str) -> None:
        body = {"metadata": {"annotations": {key: value}}}
        path = core_path("pods", self.namespace, pod)
        self.request("PATCH", path, body, content_type=_MERGE)

    def _edit(self, name: str, container: Json) -> None:
        live = self.request("GET", self._deployments(name))
        first = live["spec"]["template"]["spec"]["containers"][0]["name"]
        changed = {"name": first, **container}
        body = {"spec": {"template": {"spec": {"containers": [changed]}}}}
        self.request("PATCH", self._deployments(name), body, content_type=_STRATEGIC)
        self._wait(lambda: self.request("GET", self._deployments(name)), _rolled_out)
        self._wait(lambda: self._alive(name), lambda pods: len(pods) == live["spec"]["replicas"])

    def _alive(self, workload: str) -> list[Json]:
        pods = self.request("GET", core_path("pods", self.namespace))["items"] or ()
        return [pod for pod in pods if _workload_of(pod) == workload]

    @staticmethod
    def _wait(
        look: Callable[[], Any], holds: Callable[[Any], bool], patience: float = PATIENCE
    ) -> Any:
        limit = time.monotonic() + patience
        while not holds(found := look()):
            if time.monotonic() > limit:
                assert patience < PATIENCE, f"the cluster never got there: {found}"
                return found
            time.sleep(0.05)
        return found


class Patient:
    """An executor that returns from a change when the cluster has caught up with it."""

    def __init__(self, inner: Executor) -> None:
        self.environment = inner.environment
        self._inner = inner

    def declare(self, names: frozenset[str]) -> None:
        self._inner.declare(names)

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        return self._inner.observe(services, all_services=all_services, timeout=timeout)

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        return self._inner.look(service, timeout=timeout)

    def primitives(self) -> Mapping[str, Primitive]:
        return self._inner.primitives()

    def check(self, *, timeout: float) -> str:
        return self._inner.check(timeout=timeout)

    def close(self) -> None:
        self._inner.close()

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        result = self._inner.call(service, call, timeout=timeout)
        if result.changed and call.primitive != "exec":
            limit = time.monotonic() + PATIENCE
            while not self._caught_up(service):
                seen = self._inner.look(service, timeout=20)
                assert time.monotonic() < limit, f"the cluster never caught up: {seen}"
                time.sleep(0.05)
        return result

    def _caught_up(self, service: Service) -> bool:
        seen = self._inner.look(service, timeout=20)
        return (
            seen.workload is not None
            and seen.workload.settled
            and len(seen.instances) == seen.workload.replicas
            and all(i.state is InstanceState.RUNNING for i in seen.instances)
        )


class PlayedKubelet:
    """Reports what a kubelet would, for the pods of one namespace."""

    def __init__(self, api: SdkCluster, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(0.1):
            with contextlib.suppress(UiciError):  # the next look is soon
                self._look()

    def _look(self) -> None:
        path = core_path("pods", self._namespace)
        found = self._api.request("GET", path, what="list pods", deadline=Deadline(10))
        for pod in found["items"] or ():
            status = kubelet.next_status(pod, now=now())
            if status is None or pod["metadata"].get("deletionTimestamp"):
                continue
            with contextlib.suppress(NotFoundError, ConflictError):
                self._api.request(
                    "PATCH",
                    f"{path}/{pod['metadata']['name']}/status",
                    what="report",
                    deadline=Deadline(10),
                    body={"status": status},
                    content_type=_MERGE,
                )


def _workload_of(pod: Json) -> str:
    suffix = pod["metadata"]["labels"].get("pod-template-hash", "")
    owners = pod["metadata"].get("ownerReferences") or [{"name": ""}]
    return str(owners[0]["name"]).removesuffix(f"-{suffix}")


def _state(pod: Json) -> Json:
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    found: Json = statuses[0].get("state") or {}
    return found


def _rolled_out(item: Json) -> bool:
    status, wanted = item.get("status") or {}, item["spec"]["replicas"]
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    seen = int(status.get("observedGeneration", 0)) >= int(item["metadata"]["generation"])
    return seen and all(status.get(name, 0) == wanted for name in counts)


def _shown(item: Json, workload: str) -> tuple[str, ...]:
    metadata = item["metadata"]
    notes = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith("deployment.kubernetes.io/")
    }
    spec = {key: value for key, value in item["spec"].items() if key != "nodeName"}
    told = (metadata.get("labels"), notes, spec)
    return (workload, *(json.dumps(part, sort_keys=True) for part in told))
