"""`spec.binding` is held against its environment's executor where desired state is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.open_executors import desired_state_parser
from infrastructure.config_loader import agent_identity
from infrastructure.errors import Problem
from tests.unit.infrastructure.config_folder import ConfigFolder

CLUSTER = """
  cluster:
    executor: kubernetes
    connection:
      kubeconfig: /nowhere
      namespaces: [shop]
      pageSize: 1000
      maxAnswer: 128Mi
      fieldManager: uici
      changeAttempts: 5
      readAttempts: 3
      firstPause: 200ms
      progressDeadline: 10m
    detect: []
    deadline: 15s
    concurrency: 8
    prometheus: []
    alertmanager: []
    policy: {}
"""
CLOUD = """
  cloud:
    executor: oci
    connection:
      auth: {method: instancePrincipal}
      compartments: [ocid1.compartment.oc1..aaaa]
      requestBudget: 10
      pageSize: 100
      pollInterval: 3s
      retries: {attempts: 3, initial: 1s, max: 10s}
    detect: []
    deadline: 15s
    concurrency: 8
    prometheus: []
    alertmanager: []
    policy: {}
"""
POOL = """apiVersion: uici/v1
kind: Service
metadata: {name: web, environment: cloud}
spec:
  image: web:1
  binding: {kind: InstancePool}
  env: {A: "1"}
  resources: {memory: 1Gi}
  ports:
    - "80"
"""
SERVICE = """apiVersion: uici/v1
kind: Service
metadata: {{name: web, environment: {environment}}}
spec:
  image: web:1
  binding:
    {binding}
"""


def problems(tmp_path: Path, environment: str, binding: str) -> tuple[Problem, ...]:
    folder = ConfigFolder.make(tmp_path)
    folder.append("environments", CLUSTER)
    config = folder.load()
    parser = desired_state_parser(config, agent_identity(config))
    text = SERVICE.format(environment=environment, binding=binding)
    _, found = parser.parse({"web.yml": text.encode()})
    return found


@pytest.mark.parametrize("binding", ["kind: StatefulSet", "{}", "namespace: shop"])
def test_a_right_binding_is_accepted(tmp_path: Path, binding: str) -> None:
    assert problems(tmp_path, "cluster", binding) == ()


@pytest.mark.parametrize(
    ("environment", "binding", "said"),
    [
        ("cluster", "kind: Replicaset", "spec.binding.kind"),
        ("cluster", "nmae: web", "nmae"),
        ("cluster", "name: Web_1", "spec.binding.name"),
        ("local-docker", "kind: Deployment", "kind"),
    ],
)
def test_a_wrong_one_is_told_with_its_line(
    tmp_path: Path, environment: str, binding: str, said: str
) -> None:
    (found,) = problems(tmp_path, environment, binding)
    assert (found.file, found.line) == ("web.yml", 7)
    assert said in found.message


def test_words_without_meaning_for_a_binding_are_told_with_their_lines(tmp_path: Path) -> None:
    folder = ConfigFolder.make(tmp_path)
    folder.append("environments", CLOUD)
    config = folder.load()
    parser = desired_state_parser(config, agent_identity(config))
    _, found = parser.parse({"web.yml": POOL.encode()})
    assert [(problem.line, problem.message.split()[0]) for problem in found] == [
        (5, "image"),
        (7, "env"),
        (8, "resources"),
        (10, "ports"),
    ]
    assert all("bind the service to another kind" in problem.remedy for problem in found)
    # A wrong binding is told alone: nothing can be said of what is not known.
    _, found = parser.parse({"web.yml": POOL.replace("InstancePool", "Pool").encode()})
    assert [problem.line for problem in found] == [6]


def said_of(tmp_path: Path, environment: str, *bindings: tuple[str, str]) -> list[str]:
    """What is said of services, each with its name and its binding."""
    folder = ConfigFolder.make(tmp_path)
    folder.append("environments", CLUSTER.replace("[shop]", "[shop, back]"))
    folder.append("environments", CLOUD)
    config = folder.load()
    image = "ocid1.image.oc1..a" if environment == "cloud" else "web:1"
    files = {
        f"{name}.yml": SERVICE.format(environment=environment, binding=binding)
        .replace("{name: web, env", f"{{name: {name}, env")
        .replace("web:1", image)
        .encode()
        for name, binding in bindings
    }
    _, found = desired_state_parser(config, agent_identity(config)).parse(files)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("environment", "one", "other", "claim"),
    [
        ("cluster", "{}", "name: a", "Deployment shop/a"),
        ("cluster", "name: web", "{name: web, namespace: shop}", "Deployment shop/web"),
        ("cluster", "{name: w, container: x}", "{name: w, container: y}", "Deployment shop/w"),
        (
            "cloud",
            "kind: InstancePool",
            "{kind: InstancePool, select: {displayName: a}}",
            "InstancePool a of ocid1.compartment.oc1..aaaa",
        ),
        (
            "cloud",
            "{kind: ComputeInstance, select: {ids: [ocid1.instance.oc1..a]}}",
            "{kind: ComputeInstance, select: {ids: [ocid1.a.b..c, ocid1.instance.oc1..a]}}",
            "ComputeInstance ocid1.instance.oc1..a",
        ),
        (
            "cloud",
            "{kind: ComputeInstance, select: {tags: {app: x}}}",
            "{kind: ComputeInstance, select: {tags: {app: x}}}",
            'ComputeInstance with {"tags":{"app":"x"}} of ocid1.compartment.oc1..aaaa',
        ),
    ],
)
def test_two_services_that_are_one_object_are_refused_with_both_places(
    tmp_path: Path, environment: str, one: str, other: str, claim: str
) -> None:
    (said,) = said_of(tmp_path, environment, ("a", one), ("b", other))
    assert said.startswith("b.yml:7:")
    assert f"b is {claim}, and so is a (in a.yml:3; bind one to another object)" in said


def test_services_that_are_different_objects_are_accepted(tmp_path: Path) -> None:
    assert (
        said_of(
            tmp_path,
            "cluster",
            ("a", "{}"),
            ("b", "{name: a, namespace: back}"),
            ("c", "{name: a, kind: StatefulSet}"),
        )
        == []
    )


def test_a_binding_of_an_unknown_namespace_claims_nothing(tmp_path: Path) -> None:
    assert said_of(tmp_path, "cluster", ("a", "namespace: x"), ("b", "namespace: x")) == []
