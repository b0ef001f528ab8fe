"""The loop over three environments at once: a real Docker Engine, a cluster, a cloud.

Docker is the real engine; the cluster and the cloud are the servers on loopback that the
contract suite runs over, asked by the real executors. All three come from one configuration,
opened as production opens it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executors.contract import Executor
from flows.open_executors import open_executors
from infrastructure.service import Service
from tests.contract.kubernetes_world import Cluster, KubernetesWorld
from tests.contract.oci_world import BINDING, OciWorld, connection, write_config
from tests.contract.world import DockerWorld
from tests.fakes.kubernetes_server import LIMITS, FakeKubernetes
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml
from tests.fakes.oci_service import OciService

DOCKER, CLUSTER, CLOUD, NAMESPACE = ENVIRONMENT, "cluster", "cloud", "shop"
BINDINGS: Mapping[str, Mapping[str, Any]] = {
    DOCKER: {},
    CLUSTER: {"kind": "Deployment", "namespace": NAMESPACE},
    CLOUD: BINDING,
}


@dataclass
class Places:
    """The loop, and in each environment somebody who changes things by hand."""

    loop: LoopWorld
    executors: Mapping[str, Executor]
    docker: DockerWorld
    cluster: KubernetesWorld
    server: FakeKubernetes
    cloud: OciWorld

    def declare(self, name: str, environment: str, **spec: Any) -> Service:
        """Commit a Service that is in this environment, and nowhere else."""
        text = declared(name, environment, **spec)
        self.loop.commit(f"{name} to {environment}", **{name: text})
        return self.service(f"{environment}/{name}")

    def service(self, target: str) -> Service:
        """As the loop reads it from Git now."""
        return self.loop.runtime.git.desired().services[target]

    def seen(self, service: Service) -> Any:
        """What the environment's executor sees of it now."""
        return self.executors[service.metadata.environment].look(service, timeout=20)

    def states(self, environment: str, prefix: str) -> dict[str, tuple[str, ...]]:
        """Everything named so, and all of it that a change would show in."""
        places: Mapping[str, Any] = {
            DOCKER: self.docker,
            CLUSTER: self.cluster,
            CLOUD: self.cloud,
        }
        found: dict[str, tuple[str, ...]] = places[environment].state(prefix)
        return found


def declared(name: str, environment: str, **spec: Any) -> str:
    """A Service file: the same words everywhere, bound to what it is in this place."""
    bound = {"binding": dict(BINDINGS[environment])} if BINDINGS[environment] else {}
    text = service_yaml(name, **{**bound, **spec})
    return text.replace(f"environment: {DOCKER}", f"environment: {environment}")


@contextlib.contextmanager
def three_places(
    root: Path,
    docker_host: str,
    images: tuple[str, str],
    *,
    deadlines: Mapping[str, str] | None = None,
    only: Sequence[str] = (DOCKER, CLUSTER, CLOUD),
    platform: Mapping[str, Any] | None = None,
    **config: Any,
) -> Iterator[Places]:
    """Three environments behind one loop.

    Args:
        root: an empty folder.
        docker_host: address of the engine.
        images: two that are on it.
        deadlines: environment → its deadline; 15 s where nothing is said.
        only: environments whose executors there are; the others keep the engine in memory.
        config: changes of configuration files; see `loop_world`.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(FakeKubernetes())
        service = stack.enter_context(OciService())
        kubeconfig = server.kubeconfig(_folder(root / "kubernetes"))
        oci = connection(service.url, write_config(_folder(root / "oci")))
        environments = _environments(
            docker_host, kubeconfig, oci.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
        for name, deadline in (deadlines or {}).items():
            environments[name]["deadline"] = deadline
        changes = {"verify": {"deadline": "30s", "interval": "50ms"}, **(platform or {})}
        loop = stack.enter_context(
            loop_world(
                _folder(root / "loop"),
                platform=changes,
                environments={"environments": environments},
                **config,
            )
        )
        runtime = loop.runtime
        opened = open_executors(loop.config, runtime.identity, runtime.secrets)
        for executor in opened.values():
            stack.callback(executor.close)
        executors = {**runtime.executors, **{name: opened[name] for name in only}}
        loop.runtime = replace(runtime, executors=executors)
        nowhere = root / "nowhere"
        cluster = Cluster(kubeconfig, plays=False, commands=True, steerable=True)
        by_hand = KubernetesWorld(cluster, NAMESPACE, nowhere, images)
        stack.callback(by_hand.close)
        cloud = OciWorld(service, _folder(root / "hand"))
        stack.callback(cloud.close)
        docker = DockerWorld(docker_host, images, "unix:///nowhere")
        yield Places(loop, executors, docker, by_hand, server, cloud)


def _environments(docker_host: str, kubeconfig: Path, oci: Any) -> dict[str, dict[str, Any]]:
    common = {
        "detect": [],
        "deadline": "15s",
        "concurrency": 4,
        "prometheus": [],
        "alertmanager": [],
        "policy": {},
    }
    cluster = {
        **LIMITS,
        "kubeconfig": str(kubeconfig),
        "namespaces": [NAMESPACE],
        "takeOver": ["kubectl-edit"],
    }
    return {
        DOCKER: {"connection": {"host": docker_host}, "deadline": "15s"},
        CLUSTER: {**common, "executor": "kubernetes", "connection": cluster},
        CLOUD: {**common, "executor": "oci", "connection": oci},
    }


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
