"""The manifests: what they refer to, what the API's own models take, what they allow."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.command_line.rbac import manifest
from flows.local_stack.child import find_program
from infrastructure.config_loader import UniversalConfigLoader
from infrastructure.errors import PermanentError
from tests.conftest import real_part

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
ACCOUNT = "uici/devops-ai-agent"
PORT = 8001


def read(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def one(name: str) -> dict[str, Any]:
    (document,) = read(BASE / f"{name}.yaml")
    return document


KUSTOMIZATION = one("kustomization")
OBJECTS = [document for name in KUSTOMIZATION["resources"] for document in read(BASE / name)]
POD = one("deployment")["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which `deploy/configure.sh kubernetes` has been run."""
    place = tmp_path_factory.mktemp("checkout")
    for folder in ("infrastructure/config", "desired-state", "deploy"):
        shutil.copytree(ROOT / folder, place / folder)
    shutil.rmtree(place / "deploy/kubernetes/base/config", ignore_errors=True)
    subprocess.run(
        [place / "deploy" / "configure.sh", "kubernetes"], check=True, capture_output=True
    )
    return place


def test_the_roles_are_what_uici_rbac_prints(checkout: Path) -> None:
    config = UniversalConfigLoader(checkout / "deploy/kubernetes/base/config").load()
    first, _, rest = (BASE / "rbac.yaml").read_text().partition("\n")
    assert first.startswith("# Generated: uici rbac --environment production")
    assert rest == manifest(config, "production", ACCOUNT), "write it anew, as its first line says"


def test_every_file_that_the_kustomization_names_is_there(checkout: Path) -> None:
    base = checkout / "deploy" / "kubernetes" / "base"
    named = {*KUSTOMIZATION["resources"]}
    assert named == {p.name for p in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    files = [f for generated in KUSTOMIZATION["configMapGenerator"] for f in generated["files"]]
    assert all((base / file).is_file() for file in files)
    made = base / "config"
    assert {made / file.removeprefix("config/") for file in files} == {
        path for path in made.rglob("*") if path.is_file()
    }


def test_the_pod_mounts_the_configuration_as_it_stands_in_the_folder() -> None:
    (volume,) = (v for v in POD["volumes"] if v["name"] == "config")
    paths = {
        item["path"]
        for source in volume["projected"]["sources"]
        for item in source["configMap"].get("items", ())
    }
    generated = {g["name"]: g["files"] for g in KUSTOMIZATION["configMapGenerator"]}
    sources = {source["configMap"]["name"] for source in volume["projected"]["sources"]}
    assert sources == generated.keys()
    assert paths == {file.removeprefix("config/") for file in generated["uici-prompts"]}


@pytest.mark.parametrize("overlay", ["base", "overlays/monitored"])
def test_kustomize_builds_it(checkout: Path, overlay: str) -> None:
    try:
        kubectl = find_program("kubectl")
    except PermanentError:
        pytest.skip("kubectl is not installed; the references are tested above")
    built = subprocess.run(
        [kubectl, "kustomize", str(checkout / "deploy" / "kubernetes" / overlay)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    objects = [document for document in yaml.safe_load_all(built.stdout) if document]
    kinds = {document["kind"] for document in objects}
    assert ("ServiceMonitor" in kinds) == (overlay != "base")
    (role,) = (document for document in objects if document["kind"] == "Role")
    assert role["metadata"]["namespace"] == "shop"
    (deployment,) = (document for document in objects if document["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "uici:0.1.0"
    (volume,) = (v for v in pod["volumes"] if v["name"] == "config")
    hashed = {source["configMap"]["name"] for source in volume["projected"]["sources"]}
    assert hashed <= {d["metadata"]["name"] for d in objects if d["kind"] == "ConfigMap"}


@pytest.mark.parametrize(
    "document", OBJECTS, ids=[f"{d['kind']}-{d['metadata']['name']}" for d in OBJECTS]
)
def test_the_apis_own_models_take_every_object(document: dict[str, Any]) -> None:
    """Written, read and written again it is the same: no field that the API does not know."""
    from kubernetes import client  # noqa: PLC0415, TID251 - the models are what is tested with

    class Answer:
        def __init__(self, text: str) -> None:
            self.data = text

    names = {
        "v1": "V1",
        "apps/v1": "V1",
        "policy/v1": "V1",
        "networking.k8s.io/v1": "V1",
        "rbac.authorization.k8s.io/v1": "V1",
    }
    kind = f"{names[document['apiVersion']]}{document['kind']}"
    api: Any = client.ApiClient()
    model = getattr(client, kind)
    made = _of_model(api, document, model)
    assert _plain(api.sanitize_for_serialization(made)) == _plain(document)


def test_the_models_would_refuse_a_field_that_the_api_does_not_know() -> None:
    from kubernetes import client  # noqa: PLC0415, TID251 - as above

    wrong = copy.deepcopy(one("deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    api: Any = client.ApiClient()
    try:
        made = api.sanitize_for_serialization(_of_model(api, wrong, client.V1Deployment))
    except ValueError:
        return
    assert _plain(made) != _plain(wrong)


def _of_model(api: Any, document: dict[str, Any], model: Any) -> Any:
    return (
        model.from_dict(document)
        if hasattr(model, "from_dict")
        else api._deserialize(document, model)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def test_the_pod_is_what_restricted_namespaces_take() -> None:
    assert one("namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == (
        "restricted"
    )
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    kinds = {kind for volume in POD["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"persistentVolumeClaim", "projected", "emptyDir"}


def test_the_agent_knows_itself_and_runs_once() -> None:
    told = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in CONTAINER["env"][:3]}
    assert told == {
        "UICI_POD_UID": "metadata.uid",
        "UICI_POD_NAMESPACE": "metadata.namespace",
        "UICI_NODE_NAME": "spec.nodeName",
    }
    deployment = one("deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    agents = yaml.safe_load((ROOT / "infrastructure/config/agents.yml").read_text())["agents"]
    assert agents["devops-ai-agent"]["identity"]["labels"].items() <= labels.items()


def test_everything_selects_the_agents_pod_and_its_port() -> None:
    labels = one("deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert one("service")["spec"]["selector"].items() <= labels
    assert one("disruption-budget")["spec"]["selector"]["matchLabels"].items() <= labels
    (monitor,) = read(KUBERNETES / "components/service-monitor/service-monitor.yaml")
    service = one("service")
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": PORT}]
    policy = one("network-policy")["spec"]
    assert policy["ingress"][0]["ports"] == [{"port": PORT, "protocol": "TCP"}]
    platform = yaml.safe_load((ROOT / "infrastructure/config/platform.yml").read_text())
    assert platform["serve"]["http"]["port"] == PORT


def test_prometheus_knows_the_agent_by_the_names_of_the_rules() -> None:
    (monitor,) = read(KUBERNETES / "components/service-monitor/service-monitor.yaml")
    given = {
        r["targetLabel"]: r["replacement"] for r in monitor["spec"]["endpoints"][0]["relabelings"]
    }
    assert given == {"service": "devops-ai-agent", "job": "devops-ai-agent"}


def test_the_policy_lets_the_agent_reach_what_its_configuration_names() -> None:
    environments = yaml.safe_load((KUBERNETES / "environments.yml").read_text())["environments"]
    spaces = set(environments["production"]["connection"]["namespaces"])
    urls = [
        s["url"]
        for kind in ("prometheus", "alertmanager")
        for s in environments["production"][kind]
    ]
    egress = one("network-policy")["spec"]["egress"]
    reached = {
        to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in egress
        for to in rule.get("to", ())
    }
    assert spaces | {url.split("//")[1].split(":")[0].rpartition(".")[2] for url in urls} <= reached
    ports = {port["port"] for rule in egress for port in rule.get("ports", ())}
    assert {int(url.rpartition(":")[2]) for url in urls} | {53, 443, 6443} <= ports


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    with real_part():
        bash = find_program("bash")
    done = subprocess.run(
        [bash, str(ROOT / "deploy" / "configure.sh"), "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "compose, kubernetes or systemd" in done.stderr
