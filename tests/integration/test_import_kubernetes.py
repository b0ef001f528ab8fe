"""`uici import kubernetes`: what runs in a cluster runs as Git says right afterwards."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.import_files import Written, write
from flows.command_line.import_kubernetes import import_kubernetes
from flows.command_line.preview import preview
from flows.command_line.validation import validate
from flows.listener import RunRequest
from flows.report import RunResult
from infrastructure.drift_kinds import DriftKind
from tests.fakes.loop import git
from tests.integration.three_places import CLUSTER, NAMESPACE, Places, three_places

Json = dict[str, Any]
# What an API server fills in where nobody says anything (Kubernetes API reference).
POD_DEFAULTS: Json = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
CONTAINER_DEFAULTS: Json = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
PROBE: Json = {
    "httpGet": {"path": "/health", "port": 8000, "scheme": "HTTP"},
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}


def workload(kind: str, name: str, *containers: Json, pod: Json | None = None, **spec: Any) -> Json:
    """A workload as an API server answers it, defaults and all."""
    filled = [{**CONTAINER_DEFAULTS, "resources": {}, **container} for container in containers]
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": {"owner": "ann"}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "creationTimestamp": None},
                "spec": {**POD_DEFAULTS, **(pod or {}), "containers": filled},
            },
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


PLAIN = workload("Deployment", "plain", {"name": "plain", "image": "shop:1"}, replicas=1)
RICH = workload(
    "Deployment",
    "rich",
    {
        "name": "proxy",
        "image": "envoy:1",
        "ports": [{"containerPort": 15001, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "32Mi"}, "requests": {"cpu": "10m"}},
    },
    {
        "name": "rich",
        "image": "registry.example:5000/shop/rich@sha256:" + "0" * 64,
        "args": ["serve", "--port", "8000", "yes"],
        "env": [
            {"name": "LEVEL", "value": "info"},
            {"name": "EMPTY"},
            {"name": "NUMBER", "value": "1.10"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "modes", "key": "m"}}},
            {
                "name": "NODE",
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}},
            },
        ],
        "envFrom": [{"secretRef": {"name": "more"}}, {"configMapRef": {"name": "settings"}}],
        "ports": [
            {"name": "http", "containerPort": 8000, "protocol": "TCP"},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        ],
        "resources": {
            "limits": {"memory": "256Mi", "cpu": "500m"},
            "requests": {"memory": "128Mi", "cpu": "100m"},
        },
        "readinessProbe": PROBE,
        "livenessProbe": {**PROBE, "initialDelaySeconds": 5},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/rich", "readOnly": True}],
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
    },
    pod={
        "serviceAccountName": "rich",
        "serviceAccount": "rich",
        "nodeSelector": {"disk": "ssd"},
        "initContainers": [{**CONTAINER_DEFAULTS, "name": "prepare", "image": "prepare:1"}],
        "volumes": [
            {"name": "settings", "configMap": {"name": "settings", "defaultMode": 420}},
        ],
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    },
    replicas=2,
    strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}},
)
STATEFUL = workload(
    "StatefulSet",
    "ledger",
    {
        "name": "ledger",
        "image": "ledger:2",
        "command": ["/bin/ledger"],
        "args": ["--data", "/data"],
        "env": [{"name": "LEDGER_PASSWORD", "value": "correct-horse-battery"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    },
    replicas=2,
    serviceName="ledger",
    podManagementPolicy="OrderedReady",
    updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
    volumeClaimTemplates=[
        {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeMode": "Filesystem",
            },
        }
    ],
)
ALL = {"plain": PLAIN, "rich": RICH, "ledger": STATEFUL}


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with three_places(tmp_path, "unix:///nowhere", ("a:1", "a:2"), only=(CLUSTER,)) as made:
        git(made.loop.root, "clone", "-q", str(made.loop.remote), str(made.loop.root / "work"))
        git(made.loop.root / "work", "checkout", "-q", "-B", "main")
        yield made


def _run(places: Places, *names: str) -> None:
    """As `kubectl apply` by a person, and settled."""
    for name in names:
        item = copy.deepcopy(ALL[name])
        plural = {"Deployment": "deployments", "StatefulSet": "statefulsets"}[item["kind"]]
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/{plural}"
        places.cluster.request("POST", path, item)
        places.cluster.settled(plural, name)


def _imported(places: Places, *names: str) -> Written:
    runtime, work = places.loop.runtime, places.loop.root / "work"
    found = import_kubernetes(places.loop.config, CLUSTER, runtime.identity, names=names)
    done = write(found, places.loop.config, work, force=False)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "import")
    git(work, "push", "-q", "origin", "main")
    return done


@pytest.mark.parametrize("name", ALL)
def test_a_live_workload_shows_no_drift_after_its_import(
    places: Places, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_PASSWORD", "correct-horse-battery")
    _run(places, name)
    done = _imported(places)
    assert [path.name for path in done.files] == [f"{name}.yml"], done.left_out
    assert "correct-horse" not in done.files[0].read_text()
    work = places.loop.root / "work"
    assert validate(work, places.loop.config.directory).problems == ()
    seen = preview(RunRequest(None, None, None, "plan"), places.loop.runtime)
    assert [str(drift) for drift in seen.comparison.drifts] == []
    assert not seen.differs
    before = places.states(CLUSTER, name)
    report = places.loop.run()
    assert (report.result, report.incidents) == (RunResult.CONVERGED, ())
    assert places.states(CLUSTER, name) == before


def test_what_is_changed_after_the_import_is_seen_and_healed(places: Places) -> None:
    _run(places, "rich")
    _imported(places, "rich")
    places.cluster.scale("rich", 3)
    smaller = {"limits": {"memory": "192Mi"}}
    places.cluster.edit("rich", {"name": "rich", "resources": smaller})
    report = places.loop.run()
    assert report.result is RunResult.CONVERGED, report.incidents
    (told,) = report.incidents
    kinds = {drift.kind for drift in told.incident.drifts}
    assert kinds == {DriftKind.SCALE_DRIFT, DriftKind.CONFIG_DRIFT}
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/rich"
    live = places.cluster.request("GET", path)["spec"]
    proxy, rich = live["template"]["spec"]["containers"]
    assert live["replicas"] == 2
    assert rich["resources"] == RICH["spec"]["template"]["spec"]["containers"][1]["resources"]
    assert proxy["image"] == "envoy:1"  # what nobody spoke of is as it was
    assert [entry["name"] for entry in rich["env"]] == [
        entry["name"] for entry in RICH["spec"]["template"]["spec"]["containers"][1]["env"]
    ]


def _said(value: Any) -> Any:
    """Without what an API server would fill in again."""
    if isinstance(value, dict):
        return {k: _said(v) for k, v in value.items() if CONTAINER_DEFAULTS.get(k, object) != v}
    return [_said(item) for item in value] if isinstance(value, list) else value


def test_a_workload_that_is_lost_is_made_again_whole(places: Places) -> None:
    _run(places, "rich")
    _imported(places, "rich")
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/rich"
    before = places.cluster.request("GET", path)["spec"]
    places.cluster.remove("rich")
    report = places.loop.run()
    assert report.result is RunResult.CONVERGED, report.incidents
    after = places.cluster.request("GET", path)["spec"]
    was, now = (spec["template"]["spec"] for spec in (before, after))
    for part in ("initContainers", "volumes", "nodeSelector", "serviceAccountName", "tolerations"):
        assert _said(now[part]) == _said(was[part])
    by_name = {container["name"]: container for container in now["containers"]}
    for container in was["containers"]:
        made = by_name[container["name"]]
        for key in ("image", "resources", "ports", "envFrom", "readinessProbe", "volumeMounts"):
            assert made.get(key) == container.get(key), (container["name"], key)
    assert sorted(e["name"] for e in by_name["rich"]["env"]) == sorted(
        e["name"] for e in was["containers"][1]["env"]
    )
