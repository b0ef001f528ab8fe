"""What `uici import kubernetes` leaves out because the agent runs in it."""

from __future__ import annotations

from typing import Any

import pytest

from flows.command_line.import_kubernetes import agents_places, imported
from infrastructure.identity import AgentIdentity

NOBODY = AgentIdentity(agent="agent", names=frozenset({"no-such-name"}))
POD = "0f3c1a52-7d5e-4b52-9c1e-2a6f0b1d9e77"
CONTAINER = "c" * 64


def deployment(name: str, namespace: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": name, "image": "shop:1"}]}}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": f"{name}-{namespace}"},
        "spec": {"replicas": 1, "template": template},
    }


def pod(workload: str, namespace: str, uid: str) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": f"{workload}-abc", "uid": "r", "controller": True}
    return {
        "metadata": {
            "name": f"{workload}-abc-x",
            "namespace": namespace,
            "uid": uid,
            "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [owner],
        },
        "status": {"initContainerStatuses": [{"containerID": f"containerd://{CONTAINER}"}]},
    }


@pytest.mark.parametrize("known", [POD, CONTAINER])
def test_a_workload_is_the_agents_by_its_pods(known: str) -> None:
    identity = AgentIdentity(agent="a", names=NOBODY.names, native_ids=frozenset({known}))
    other = pod("shop", "b", "another")
    other["status"] = {}
    own = agents_places([pod("harmless", "a", POD), other], identity)
    workloads = [deployment("harmless", "a"), deployment("shop", "b")]
    found = imported(workloads, "cluster", identity, own=own)
    assert [draft.name for draft, _ in found.drafts] == ["shop"]
    (sentence,) = found.left_out
    assert sentence.startswith("Deployment a/harmless: it is the agent's own")


def test_a_namesake_in_another_namespace_is_not_the_agents() -> None:
    identity = AgentIdentity(agent="a", names=NOBODY.names, native_ids=frozenset({POD}))
    own = agents_places([pod("shop", "a", POD)], identity)
    found = imported([deployment("shop", "b")], "cluster", identity, own=own)
    assert [draft.name for draft, _ in found.drafts] == ["shop"]
