"""Which rights the executor needs: a manifest that grants them, a check that they are there.

Each primitive lists what it asks of the API server; a manifest holds what the operations that
are enabled use, and no more: no wildcard, and Secrets can be written but never read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.binding import KINDS, Json, WorkloadKind
from executors.kubernetes.session import Cluster
from infrastructure.errors import NotFoundError


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource, `pods/log` style."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


def _workloads(kinds: Iterable[WorkloadKind], *verbs: str) -> Iterable[Right]:
    for kind in kinds:
        for verb in verbs:
            yield Right(KINDS[kind].api_group, KINDS[kind].plural, verb)


# Beside looking, which every primitive starts with: verbs on the workload, other rights.
_CHANGE = ("patch",)
_SECRETS = (Right("", "secrets", "create"), Right("", "secrets", "patch"))
# Where a kind's controller keeps what its template was.
_HISTORY: Mapping[WorkloadKind, Right] = MappingProxyType(
    {
        WorkloadKind.DEPLOYMENT: Right("apps", "replicasets", "list"),
        WorkloadKind.STATEFUL_SET: Right("apps", "controllerrevisions", "list"),
        WorkloadKind.DAEMON_SET: Right("apps", "controllerrevisions", "list"),
    }
)
_COMPARE_REVISIONS = frozenset({"wait_healthy", "rollback"})
_VERBS: Mapping[str, tuple[tuple[str, ...], tuple[Right, ...]]] = MappingProxyType(
    {
        "inspect": ((), ()),
        "wait_healthy": ((), ()),
        "logs": ((), (Right("", "pods/log", "get"),)),
        "stats": ((), (Right("metrics.k8s.io", "pods", "list"),)),
        "events": ((), (Right("", "events", "list"),)),
        "start": (_CHANGE, (Right("", "pods", "delete"),)),
        "stop": (_CHANGE, ()),
        "restart": (_CHANGE, (Right("", "pods", "delete"),)),
        "create": (("create", "patch"), _SECRETS),
        "scale": (("create", "patch"), _SECRETS),  # a workload that is missing is made
        "update_resources": (_CHANGE, ()),
        "recreate": (_CHANGE, _SECRETS),
        "rollback": (_CHANGE, ()),
        # A websocket is opened with GET, which newer servers check as `create`.
        "exec": ((), (Right("", "pods/exec", "get"), Right("", "pods/exec", "create"))),
    }
)


def needed(primitives: Collection[str], kinds: Collection[WorkloadKind]) -> tuple[Right, ...]:
    """The rights that looking and these primitives take, sorted.

    Args:
        primitives: names; those that are no executor's are left out.
        kinds: of the workloads that services are bound to.
    """
    found = {*_workloads(kinds, "get", "list"), Right("", "pods", "list")}
    for name in primitives:
        verbs, others = _VERBS.get(name, ((), ()))
        found.update(_workloads(kinds, *verbs), others)
    if not _COMPARE_REVISIONS.isdisjoint(primitives):
        found.update(_HISTORY[kind] for kind in kinds if kind in _HISTORY)
    if "recreate" in primitives and WorkloadKind.JOB in kinds:
        found.update(_workloads((WorkloadKind.JOB,), "delete", "create"))
    return tuple(sorted(found))


def manifest(
    rights: Iterable[Right],
    *,
    name: str,
    namespaces: Sequence[str],
    cluster_wide: bool,
    account: tuple[str, str],
) -> list[Json]:
    """RBAC objects that grant these rights, to be applied with kubectl.

    Args:
        rights: of `needed`.
        name: of the objects.
        namespaces: where the rights hold.
        cluster_wide: looking holds in all namespaces; changing still only in `namespaces`.
        account: namespace and name of the agent's service account.
    """
    every = sorted(rights)
    reads = [right for right in every if right.verb in ("get", "list")]
    objects: list[Json] = []
    if cluster_wide:
        looking = [right for right in reads if right.resource != "pods/exec"]
        objects += _pair("Cluster", name, None, looking, account)
        every = [right for right in every if right not in looking]
    for namespace in namespaces:
        objects += _pair("", name, namespace, every, account)
    return objects


def _pair(
    scope: str, name: str, namespace: str | None, rights: Sequence[Right], account: tuple[str, str]
) -> list[Json]:
    """A role and its binding."""
    group = "rbac.authorization.k8s.io"
    metadata: Json = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    role: Json = {
        "apiVersion": f"{group}/v1",
        "kind": f"{scope}Role",
        "metadata": metadata,
        "rules": _rules(rights),
    }
    binding: Json = {
        "apiVersion": f"{group}/v1",
        "kind": f"{scope}RoleBinding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": group, "kind": f"{scope}Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": account[0], "name": account[1]}],
    }
    return [role, binding]


def _rules(rights: Iterable[Right]) -> list[Json]:
    """Rights with the same verbs in the same group are one rule."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.resource), []).append(right.verb)
    rules: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), found in verbs.items():
        rules.setdefault((group, tuple(found)), []).append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(found)}
        for (group, found), resources in rules.items()
    ]


def missing(
    cluster: Cluster,
    rights: Iterable[Right],
    namespaces: Sequence[str],
    deadline: Deadline,
    *,
    cluster_wide: bool,
) -> tuple[str, ...]:
    """Which rights the server says the agent does not have, `verb resource in namespace`.

    Args:
        cluster: is asked.
        rights: of `needed`.
        namespaces: where they have to hold.
        deadline: for all of them.
        cluster_wide: sweeps are lists over all namespaces, which takes the right in all.
    """
    asked: list[tuple[Right, str | None]] = []
    for right in rights:
        across = cluster_wide and (right.group, right.resource, right.verb) in _SWEPT
        asked += [(right, namespace) for namespace in ((None,) if across else namespaces)]
    return tuple(
        f"{right} in {namespace or 'all namespaces'}"
        for right, namespace in asked
        if not _allowed(cluster, right, namespace, deadline)
    )


def unserved(
    cluster: Cluster, kinds: Iterable[WorkloadKind], deadline: Deadline
) -> tuple[str, ...]:
    """Kinds that this version of Kubernetes does not have, one sentence each.

    Args:
        cluster: is asked for the resources of each API group.
        kinds: those that the environment is about.
        deadline: for all of them.
    """
    served: dict[str, frozenset[str]] = {}
    found: list[str] = []
    for kind in kinds:
        group, plural = KINDS[kind].group, KINDS[kind].plural
        if group not in served:
            served[group] = _resources(cluster, group, deadline)
        if plural not in served[group]:
            found.append(
                f"the cluster has no {kind.value} in {group}, as Kubernetes has it from"
                f" {KINDS[kind].since} on"
            )
    return tuple(found)


def _resources(cluster: Cluster, group: str, deadline: Deadline) -> frozenset[str]:
    try:
        answer = cluster.request(
            "GET", f"/apis/{group}", what=f"ask for the kinds of {group}", deadline=deadline
        )
    except NotFoundError:
        return frozenset()
    return frozenset(str(item["name"]) for item in answer.get("resources") or ())


# What `reader.Lister` asks for.
_SWEPT = frozenset(
    {("", "pods", "list"), *((f.api_group, f.plural, "list") for f in KINDS.values())}
)


def _allowed(cluster: Cluster, right: Right, namespace: str | None, deadline: Deadline) -> bool:
    """One SelfSubjectAccessReview. Asking changes nothing, though it is a POST.

    Without a namespace it asks about all of them.
    """
    resource, _, subresource = right.resource.partition("/")
    attributes: dict[str, Any] = {
        **({"namespace": namespace} if namespace else {}),
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
    }
    if subresource:
        attributes["subresource"] = subresource
    answer = cluster.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        what=f"ask whether we may {right}",
        deadline=deadline,
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    return bool((answer.get("status") or {}).get("allowed"))
