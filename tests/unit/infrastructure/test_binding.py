"""`spec.binding` is held against its environment's executor where desired state is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.open_executors import binding_models
from infrastructure.config_loader import agent_identity
from infrastructure.desired_state import DesiredStateParser
from infrastructure.errors import Problem
from tests.unit.infrastructure.config_folder import ConfigFolder

CLUSTER = """
  cluster:
    executor: kubernetes
    connection: {kubeconfig: /nowhere, namespaces: [shop]}
    detect: []
    deadline: 15s
    concurrency: 8
    prometheus: []
    alertmanager: []
    policy: {}
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
    parser = DesiredStateParser.from_config(config, agent_identity(config), binding_models(config))
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
