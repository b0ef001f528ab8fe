"""Workloads that `kubectl apply` made, imported and then healed: whose field is whose.

Over the server in memory and, with UICI_TEST_KUBECONFIG, over a real one: what counts here is
how server-side apply compares values, and what the real one fills in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor, ExecutorContext
from executors.deadline import Deadline
from executors.kubernetes import connect
from executors.kubernetes.errors import FieldConflictError
from executors.kubernetes.sdk import SdkCluster
from flows.command_line.import_files import write
from flows.command_line.import_kubernetes import import_kubernetes
from flows.command_line.validation import validate
from flows.open_executors import desired_state_parser
from infrastructure.config_loader import UniversalConfig
from infrastructure.operations import PrimitiveCall
from infrastructure.service import Service
from tests.contract.kubernetes_world import KubernetesWorld
from tests.fakes.engine import NOBODY
from tests.unit.infrastructure.config_folder import ConfigFolder
from tests.unit.infrastructure.test_binding import CLUSTER

Json = dict[str, Any]
APPLY, SET = "kubectl-client-side-apply", "kubectl-set"
SECRET, OTHER = "abcdef1234567890abcdef", "another-7f3b9c2e1d"


@dataclass
class People:
    """Those who ran the cluster before, and what UICI makes of it."""

    world: KubernetesWorld
    config: UniversalConfig
    folder: Path
    comments: tuple[str, ...] = ()  # of the last import

    def send(self, method: str, path: str, body: Json, *, manager: str, **more: Any) -> Json:
        api = SdkCluster(self.world.connection(self.world.cluster.kubeconfig))
        try:
            return api.request(
                method,
                f"/apis/apps/v1/namespaces/{self.world.namespace}/{path}",
                what=f"{method} {path}",
                deadline=Deadline(20),
                query=(("fieldManager", manager),),
                body=body,
                **more,
            )
        finally:
            api.close()

    def set_image(self, plural: str, name: str, image: str) -> None:
        body = {"spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}}
        kind = "application/strategic-merge-patch+json"
        self.send("PATCH", f"{plural}/{name}", body, manager=SET, content_type=kind)

    def live(self, plural: str, name: str) -> Json:
        path = f"/apis/apps/v1/namespaces/{self.world.namespace}/{plural}/{name}"
        return self.world.request("GET", path)

    def imported(self, name: str) -> tuple[Service, str]:
        found = import_kubernetes(self.config, "cluster", NOBODY, names=[name])
        written = write(found, self.config, self.folder, force=True)
        self.comments = written.comments
        (path,) = written.files
        text = path.read_text()
        services, problems = desired_state_parser(self.config, NOBODY).parse(
            {path.name: text.encode()}
        )
        assert not problems
        return services[f"cluster/{name}"], text

    def executor(self, take_over: Sequence[str]) -> Executor:
        connection = self.world.connection(self.world.cluster.kubeconfig, takeOver=list(take_over))
        context = ExecutorContext("cluster", 4, NOBODY, lambda _: SECRET)
        return connect(connection, context)


@pytest.fixture
def people(kubernetes_world: KubernetesWorld, tmp_path: Path) -> People:
    folder = ConfigFolder.make(tmp_path / "config")
    own = CLUSTER.replace("/nowhere", str(kubernetes_world.cluster.kubeconfig))
    folder.append("environments", own.replace("[shop]", f"[{kubernetes_world.namespace}]"))
    return People(kubernetes_world, folder.load(), tmp_path / "state")


def workload(kind: str, name: str, world: KubernetesWorld, **spec: Any) -> Json:
    web = {
        "name": name,
        "image": world.image,
        "args": ["sleep", "600"],
        "env": [{"name": "LEVEL", "value": "info"}, {"name": "API_TOKEN", "value": SECRET}],
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
    }
    side = {
        "name": "side",
        "image": world.image,
        "args": ["sleep", "600"],
        "env": [{"name": "API_TOKEN", "value": OTHER}, {"name": "MODE", "value": "fast"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [web, side]},
            },
            **spec,
        },
    }


def env_of(live: Json, container: int = 0) -> dict[str, Json]:
    found = live["spec"]["template"]["spec"]["containers"][container]["env"]
    return {entry["name"]: entry for entry in found}


def recreate(executor: Executor, service: Service, **given: Any) -> None:
    try:
        executor.call(service, PrimitiveCall("recreate", given, None), timeout=30)
    finally:
        executor.close()


def test_no_secret_of_a_sidecar_is_written_and_the_rest_of_it_is(people: People) -> None:
    item = workload("Deployment", "web", people.world)
    people.send("POST", "deployments", item, manager=APPLY)
    service, text = people.imported("web")
    assert SECRET not in text
    assert OTHER not in text
    (side,) = service.spec.native["pod"]["containers"]
    assert [entry["name"] for entry in side["env"]] == ["MODE"]
    assert "side, API_TOKEN" in text
    assert any(said.startswith("web: ") and "side, API_TOKEN" in said for said in people.comments)
    # The same value by hand is refused.
    path = people.folder / "web.yml"
    path.write_text(text.replace("name: MODE", "name: API_TOKEN").replace("fast", OTHER))
    told = validate(people.folder, people.config.directory)
    assert any("holds what looks like a secret" in problem.message for problem in told.problems)


def test_an_imported_workload_with_a_secret_is_healed(people: People) -> None:
    """Its value stood in the workload for all to read: the reference takes its place."""
    item = workload("Deployment", "web", people.world)
    people.send("POST", "deployments", item, manager=APPLY)
    service, _ = people.imported("web")
    people.set_image("deployments", "web", people.world.other_image)
    recreate(people.executor([SET, APPLY]), service, image=people.world.image)
    live = people.live("deployments", "web")
    web, side = live["spec"]["template"]["spec"]["containers"]
    assert web["image"] == people.world.image
    token = env_of(live)["API_TOKEN"]
    assert token == {
        "name": "API_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "web-uici-env", "key": "API_TOKEN"}},
    }
    assert env_of(live)["LEVEL"]["value"] == "info"
    assert env_of(live, 1)["API_TOKEN"]["value"] == OTHER  # nobody spoke of it
    assert side["image"] == people.world.image
    recreate(people.executor([APPLY]), service, env={"LEVEL": "debug"})
    assert env_of(people.live("deployments", "web"))["LEVEL"]["value"] == "debug"
    assert env_of(people.live("deployments", "web"))["API_TOKEN"] == token


def test_only_what_differs_is_in_dispute(people: People) -> None:
    """`0.5` of a CPU is `500m`, whoever wrote it and however."""
    item = workload("Deployment", "web", people.world)
    del item["spec"]["template"]["spec"]["containers"][0]["env"][1]
    people.send("POST", "deployments", item, manager=APPLY)
    service, _ = people.imported("web")
    people.set_image("deployments", "web", people.world.other_image)
    with pytest.raises(FieldConflictError) as caught:
        recreate(people.executor([]), service, image=people.world.image)
    assert "limits" not in str(caught.value)
    assert caught.value.managers == {SET}
    recreate(people.executor([SET]), service, image=people.world.image)
    (web, _) = people.live("deployments", "web")["spec"]["template"]["spec"]["containers"]
    assert web["resources"]["limits"] == {"cpu": "500m", "memory": "64Mi"}
    assert web["image"] == people.world.image


CLAIMS = [
    {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1024Mi"}},
        },
    }
]


@pytest.mark.parametrize("ignored", [True, False])
def test_what_cant_be_compared_is_no_conflict(people: People, *, ignored: bool) -> None:
    """Claims are one value to the server, with its own defaults in it, and can't be changed."""
    item = workload(
        "StatefulSet", "ledger", people.world, serviceName="ledger", volumeClaimTemplates=CLAIMS
    )
    del item["spec"]["template"]["spec"]["containers"][0]["env"][1]
    people.send("POST", "statefulsets", item, manager=APPLY)
    service, text = people.imported("ledger")
    assert "phase: Pending" not in text
    assert "/native/workload/volumeClaimTemplates" in service.spec.ignore_differences
    if not ignored:
        bare = service.spec.model_copy(update={"ignore_differences": ()})
        service = service.model_copy(update={"spec": bare})
    before = people.live("statefulsets", "ledger")["spec"]
    people.set_image("statefulsets", "ledger", people.world.other_image)
    recreate(people.executor([SET]), service, image=people.world.image)
    after = people.live("statefulsets", "ledger")["spec"]
    assert after["volumeClaimTemplates"] == before["volumeClaimTemplates"]
    assert after["template"]["spec"]["containers"][0]["image"] == people.world.image


def test_what_is_left_to_others_is_not_applied(people: People) -> None:
    item = workload("Deployment", "web", people.world)
    del item["spec"]["template"]["spec"]["containers"][0]["env"][1]
    people.send("POST", "deployments", item, manager=APPLY)
    service, _ = people.imported("web")
    limits = service.spec.resources.model_copy(update={"memory": 2**20 * 32})
    theirs = (*service.spec.ignore_differences, "/resources/memory", "/env/LEVEL")
    changed = service.spec.model_copy(
        update={
            "resources": limits,
            "ignore_differences": theirs,
            "env": {"LEVEL": "debug", "MORE": "yes"},
        }
    )
    service = service.model_copy(update={"spec": changed})
    recreate(people.executor([]), service)
    live = people.live("deployments", "web")
    assert live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {
        "cpu": "500m",
        "memory": "64Mi",
    }
    assert env_of(live)["LEVEL"]["value"] == "info"
    assert env_of(live)["MORE"]["value"] == "yes"
