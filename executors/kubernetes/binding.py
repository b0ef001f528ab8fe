"""What a service is in a cluster: which kind of workload, under which name, where. Pure.

`Binding` is what people write in `spec.binding`; `Place` is that with every blank filled in.
The paths and field positions of each kind are those of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, Protocol

from infrastructure.errors import PermanentError
from infrastructure.service import Document, Name, Service

Json = dict[str, Any]


class WorkloadKind(StrEnum):
    """Kinds of object that keep pods."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    JOB = "Job"
    CRON_JOB = "CronJob"


class Binding(Document):
    """`spec.binding` of a service whose environment is a Kubernetes cluster.

    Attributes:
        kind: of the workload; a Deployment where nothing is said.
        name: of the workload; the service's own where nothing is said.
        namespace: one that the environment's connection lists; its first where nothing is said.
        container: the one that the service's image, command, env and limits are about. Where
            nothing is said: the pod's default container, one named like the service, the first.
    """

    kind: WorkloadKind = WorkloadKind.DEPLOYMENT
    name: Name | None = None
    namespace: Name | None = None
    container: Name | None = None


@dataclass(frozen=True, slots=True)
class KindFacts:
    """Where the API keeps a kind, and what it can do.

    Attributes:
        group: API group with version.
        plural: as in paths and in RBAC.
        template: where its pod template is.
        scales: whether it has `spec.replicas`.
        suspends: whether it has `spec.suspend`.
        rolls: whether a changed template replaces its pods by itself.
        owner: what its pods' controller is: itself, or an object between them.
        since: version of Kubernetes from which on `group` has it.
    """

    group: str
    plural: str
    template: tuple[str, ...] = ("spec", "template")
    scales: bool = False
    suspends: bool = False
    rolls: bool = False
    owner: Literal["itself", "ReplicaSet", "Job"] = "itself"
    since: str = "1.9"

    @property
    def api_group(self) -> str:
        """`apps/v1` → `apps`, as RBAC spells it."""
        return self.group.partition("/")[0]


_APPS, _BATCH = "apps/v1", "batch/v1"
KINDS: Mapping[WorkloadKind, KindFacts] = MappingProxyType(
    {
        WorkloadKind.DEPLOYMENT: KindFacts(
            _APPS, "deployments", scales=True, rolls=True, owner="ReplicaSet"
        ),
        WorkloadKind.STATEFUL_SET: KindFacts(_APPS, "statefulsets", scales=True, rolls=True),
        WorkloadKind.DAEMON_SET: KindFacts(_APPS, "daemonsets", rolls=True),
        WorkloadKind.JOB: KindFacts(_BATCH, "jobs", suspends=True),
        WorkloadKind.CRON_JOB: KindFacts(
            _BATCH,
            "cronjobs",
            template=("spec", "jobTemplate", "spec", "template"),
            suspends=True,
            owner="Job",
            since="1.21",
        ),
    }
)


def kinds_of(
    configured: Iterable[WorkloadKind], services: Iterable[Service]
) -> tuple[WorkloadKind, ...]:
    """The kinds that an environment is about: what is looked at, granted and checked.

    Args:
        configured: `connection.kinds`.
        services: what desired state has there; their bindings have been validated.

    Returns:
        Both together; if that is none, what a service is bound to where nothing is said.
    """
    bound = (Binding.model_validate(service.spec.binding).kind for service in services)
    found = {*configured, *bound} or {WorkloadKind.DEPLOYMENT}
    return tuple(kind for kind in WorkloadKind if kind in found)


@dataclass(frozen=True, slots=True)
class Place:
    """One workload: the service's binding with every blank filled in."""

    kind: WorkloadKind
    namespace: str
    name: str
    container: str | None

    @property
    def facts(self) -> KindFacts:
        """Of its kind."""
        return KINDS[self.kind]

    @property
    def collection(self) -> str:
        """Path of the workloads of its kind and namespace."""
        return workloads_path(self.kind, self.namespace)

    @property
    def path(self) -> str:
        """Its own path."""
        return f"{self.collection}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind.value} {self.namespace}/{self.name}"


def place_of(service: Service, namespaces: Sequence[str]) -> Place:
    """Where a service is.

    Args:
        service: desired state; its binding has been validated where it was loaded.
        namespaces: those of the connection.

    Raises:
        PermanentError: its namespace is not one of them.
    """
    binding = Binding.model_validate(service.spec.binding)
    namespace = binding.namespace or namespaces[0]
    if namespace not in namespaces:
        raise PermanentError(
            f"{service.target}: namespace {namespace} is not in `connection.namespaces` of its"
            " environment: add it there, or correct spec.binding.namespace"
        )
    return Place(binding.kind, namespace, binding.name or service.metadata.name, binding.container)


class _Connected(Protocol):
    @property
    def namespaces(self) -> Sequence[str]: ...


def claims(service: Service, connection: _Connected) -> tuple[str]:
    """The workload: see `executors.contract.Claims`."""
    return (str(place_of(service, connection.namespaces)),)


def workloads_path(kind: WorkloadKind, namespace: str | None) -> str:
    """Path of a kind's list; namespace None: of the whole cluster."""
    facts = KINDS[kind]
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{facts.group}{within}/{facts.plural}"


def core_path(plural: str, namespace: str | None, name: str = "") -> str:
    """Path in the core API; namespace None: of the whole cluster."""
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/api/v1{within}/{plural}" + (f"/{name}" if name else "")
