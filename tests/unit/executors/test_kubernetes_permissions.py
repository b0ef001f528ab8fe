"""The manifest grants what enabled operations use, and no more."""

from __future__ import annotations

import pytest

from executors.kubernetes import permissions
from executors.kubernetes.binding import WorkloadKind
from executors.kubernetes.executor import PRIMITIVES

DEPLOYMENTS = (WorkloadKind.DEPLOYMENT,)


def granted(*primitives: str) -> set[str]:
    return {str(right) for right in permissions.needed(primitives, DEPLOYMENTS)}


def test_looking_takes_reads_alone() -> None:
    assert granted() == {"get deployments.apps", "list deployments.apps", "list pods"}
    assert granted("inspect") == granted()
    # Which pods are being replaced is told by what the template was.
    assert granted("wait_healthy") == granted() | {"list replicasets.apps"}


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_every_primitive_has_its_rights_stated(name: str) -> None:
    """One that is forgotten would be granted nothing, and fail only in a cluster."""
    assert name in permissions._VERBS
    more = granted(name) - granted()
    if PRIMITIVES[name].mutates:
        assert more
    else:
        assert not any(right.startswith(("patch", "create", "delete")) for right in more)


def test_a_scale_that_makes_what_is_missing_may_write_its_secrets() -> None:
    assert granted("create") <= granted("scale")


def test_nothing_is_a_wildcard_and_secrets_are_never_read() -> None:
    rights = permissions.needed(PRIMITIVES, tuple(WorkloadKind))
    assert not [r for r in rights if "*" in (r.group, r.resource, r.verb)]
    assert {r.verb for r in rights if r.resource == "secrets"} == {"create", "patch"}


def test_a_role_a_namespace_and_looking_across_only_where_asked() -> None:
    rights = permissions.needed(["restart"], DEPLOYMENTS)
    narrow = permissions.manifest(
        rights, name="uici", namespaces=("a", "b"), cluster_wide=False, account=("ops", "agent")
    )
    assert [o["kind"] for o in narrow] == ["Role", "RoleBinding"] * 2
    assert {o["metadata"]["namespace"] for o in narrow} == {"a", "b"}
    assert narrow[1]["subjects"] == [
        {"kind": "ServiceAccount", "namespace": "ops", "name": "agent"}
    ]
    wide = permissions.manifest(
        rights, name="uici", namespaces=("a",), cluster_wide=True, account=("ops", "agent")
    )
    cluster_role = wide[0]
    assert cluster_role["kind"] == "ClusterRole"
    verbs = {verb for rule in cluster_role["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list"}
    changing = {verb for rule in wide[2]["rules"] for verb in rule["verbs"]}
    assert changing == {"patch", "delete"}
