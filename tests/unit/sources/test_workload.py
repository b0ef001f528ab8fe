"""Kubernetes manifests and live workloads → drafts of Services."""

from __future__ import annotations

from typing import Any

import pytest

from executors.kubernetes.binding import Binding
from flows.command_line.import_kubernetes import imported
from infrastructure.identity import AgentIdentity
from infrastructure.service import Service
from infrastructure.sources.draft import Draft, Findings, Point
from infrastructure.sources.kubernetes_manifests import read_manifests
from infrastructure.sources.tree import FilesTree

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
        - name: sidecar
          image: side:1
        - name: web
          image: shop:1
          args: [serve, "8000"]
          env:
            - {name: LEVEL, value: info}
            - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: k}}}
          ports: [{containerPort: 8000, name: http}, {containerPort: 53, protocol: UDP}]
          resources: {limits: {memory: 64Mi, cpu: 500m}, requests: {cpu: "0.1"}}
          readinessProbe: {httpGet: {path: /health, port: 8000}}
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]
---
kind: DaemonSet
metadata: {name: node}
spec: {template: {spec: {containers: [{name: n, image: n:1, command: [run], args: [x]}]}}}
---
kind: ConfigMap
metadata: {name: settings}
"""


def manifests(**files: str) -> tuple[dict[str, Draft], Findings]:
    findings = Findings()
    tree = FilesTree({name.replace("__", "/"): text.encode() for name, text in files.items()})
    point = Point("shop.yml", 5, 15)
    found = read_manifests("k8s", tree, findings, max_bytes=100_000, point=point)
    return found, findings


def service(draft: Draft) -> Service:
    return Service.model_validate(draft.document("cluster").data)


def test_a_deployment_in_universal_words() -> None:
    drafts, findings = manifests(**{"k8s/a.yml": DEPLOYMENT})
    assert findings.errors == []
    spec = drafts["web"].spec
    assert spec["image"] == "shop:1"
    assert spec["command"] == ["serve", "8000"]
    assert spec["replicas"] == 3
    assert spec["env"] == {"LEVEL": "info"}
    assert spec["ports"] == ["8000", "53/udp"]
    assert spec["resources"] == {"memory": 64 * 2**20, "cpu": "0.5"}
    wanted = {"kind": "Deployment", "name": "web", "namespace": "shop", "container": "web"}
    assert spec["binding"] == wanted
    Binding.model_validate(spec["binding"])
    assert service(drafts["web"]).target == "cluster/web"


def test_everything_else_is_native_and_what_the_server_rewrites_is_not_compared() -> None:
    drafts, findings = manifests(**{"k8s/a.yml": DEPLOYMENT})
    spec = drafts["web"].spec
    native = spec["native"]
    assert native["workload"] == {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}},
    }
    assert native["pod"] == {
        "serviceAccountName": "web",
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [{"name": "sidecar", "image": "side:1"}],
    }
    assert set(spec["ignoreDifferences"]) == {
        "/native/pod/volumes",
        "/native/pod/containers",
        "/native/container/ports",
        "/native/container/resources",
        "/native/container/volumeMounts",
        "/native/container/env",
    }
    told = [str(warning) for warning in findings.warnings]
    assert "k8s/a.yml:24:16: pod.volumes of web is declared, but not compared" in told
    assert any("ConfigMap settings: only DaemonSet" in sentence for sentence in told)


def test_a_daemon_set_has_no_number_and_an_entrypoint_stays_native() -> None:
    drafts, _ = manifests(**{"k8s/a.yml": DEPLOYMENT})
    spec = drafts["node"].spec
    assert "replicas" not in spec
    assert spec["ignoreDifferences"] == ["/replicas"]
    assert "command" not in spec
    assert spec["native"]["container"] == {"command": ["run"], "args": ["x"]}
    assert spec["binding"] == {"kind": "DaemonSet", "name": "node", "container": "n"}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: 1", "k8s/a.yml:1:1", "no manifest"),
        ("kind: {{ .Values.kind }}", "k8s/a.yml:1:", ""),
        (
            "kind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: []}}}",
            "k8s/a.yml:3:",
            "no container with an image",
        ),
        ("kind: Deployment\nmetadata: {}", "k8s/a.yml:2:", "no name"),
        (DEPLOYMENT.replace("500m", "lots"), "k8s/a.yml:21:51", "cpu limit of web"),
        (DEPLOYMENT + "---\n" + DEPLOYMENT, "k8s/a.yml:35:18", "declared twice"),
    ],
)
def test_mistakes_are_told_at_the_manifests_lines(text: str, place: str, said: str) -> None:
    _, findings = manifests(**{"k8s/a.yml": text})
    assert findings.errors
    assert any(place in str(e) and said in str(e) for e in findings.errors), findings.errors


def test_an_empty_folder_is_told_where_it_is_named() -> None:
    _, findings = manifests(**{"other/a.yml": DEPLOYMENT})
    assert str(findings.errors[0]).startswith("shop.yml:5:15: k8s holds no .yml")


def test_a_list_is_read_item_by_item() -> None:
    item = "{kind: Deployment, metadata: {name: w}, spec: {template: {spec: {containers: [%s]}}}}"
    text = f"kind: List\nitems:\n  - {item % '{name: w, image: a}'}\n  - {{kind: Job}}\n"
    drafts, findings = manifests(**{"k8s/a.yml": text})
    assert set(drafts) == {"w"}
    assert drafts["w"].origin.line == 3
    (warning,) = findings.warnings
    assert str(warning).startswith("k8s/a.yml:4:12: Job")


def live(name: str = "web", **metadata: Any) -> dict[str, Any]:
    container = {
        "name": name,
        "image": "shop:1",
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "env": [{"name": "API_KEY", "value": "hunter2"}],
        "resources": {},
    }
    pod = {"containers": [container], "restartPolicy": "Always", "securityContext": {}}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "uid": "u", **metadata},
        "spec": {
            "replicas": 2,
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"creationTimestamp": None}, "spec": pod},
        },
        "status": {"readyReplicas": 2},
    }


NOBODY = AgentIdentity(agent="devops-ai-agent", names=frozenset({"devops-ai-agent"}))


def test_a_live_workload_is_read_without_the_servers_defaults() -> None:
    ((draft, origin),) = imported([live()], "cluster", NOBODY).drafts
    assert origin == "Imported from the live Deployment shop/web."
    assert draft.spec["native"] == {"workload": {"selector": {"matchLabels": {"app": "web"}}}}
    assert draft.spec["env"] == {"API_KEY": "hunter2"}


def test_live_workloads_that_are_left_out_are_told() -> None:
    found = imported(
        [
            live("devops-ai-agent"),
            live("mine", annotations={"uici.target": "cluster/mine"}),
            live("web"),
            live("web"),
        ],
        "cluster",
        NOBODY,
        names=["devops-ai-agent", "mine", "web", "gone"],
    )
    assert [draft.name for draft, _ in found.drafts] == ["web"]
    told = "\n".join(found.left_out)
    assert "devops-ai-agent: it is the agent's own" in told
    assert "mine: it is cluster/mine of a state repository already" in told
    assert "web: there is another web" in told
    assert "gone: no workload has this name" in told
