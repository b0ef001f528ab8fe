"""`uici import kubernetes`: workloads of a cluster as Service files.

A live workload is read like a manifest, without what the API server itself filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.binding import Json, WorkloadKind
from executors.kubernetes.errors import (
    STRANGE,
    ForbiddenError,
    UnservedError,
    not_an_api_server,
)
from executors.kubernetes.pods import owner_of
from executors.kubernetes.protection import pod_natives
from executors.kubernetes.reader import Key, Lister, pod_keys
from executors.kubernetes.sdk import SdkCluster
from executors.kubernetes.settings import Connection
from flows.command_line.import_files import Imported
from infrastructure.config_loader import UniversalConfig
from infrastructure.identity import AgentIdentity
from infrastructure.observed import NativeObject
from infrastructure.sources.draft import Draft, Findings
from infrastructure.sources.workload import workload_draft
from infrastructure.yaml_source import Place, YamlDocument

_TARGET = "uici.target"
_OWN = "it is the agent's own, or what the agent lives on"
_KINDS = frozenset({WorkloadKind.DEPLOYMENT, WorkloadKind.STATEFUL_SET, WorkloadKind.DAEMON_SET})
_NO_SERVICE = (
    "it ends by itself, and is not imported: to have UICI keep it, write a Service that is bound"
    " to it (`binding.kind`)"
)
# What the API server writes where a person says nothing (Kubernetes API reference).
_DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "creationTimestamp": (None,),
    "dnsPolicy": ("ClusterFirst",),
    "imagePullPolicy": ("IfNotPresent", "Always"),
    "minReadySeconds": (0,),
    "podManagementPolicy": ("OrderedReady",),
    "progressDeadlineSeconds": (600,),
    "restartPolicy": ("Always",),
    "revisionHistoryLimit": (10,),
    "schedulerName": ("default-scheduler",),
    "securityContext": ({},),
    "terminationGracePeriodSeconds": (30,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
}

# What the API server says in each claim of a StatefulSet.
_OF_CLAIMS = ("apiVersion", "kind", "status")


def import_kubernetes(
    config: UniversalConfig,
    environment: str,
    identity: AgentIdentity,
    *,
    names: Sequence[str] = (),
) -> Imported:
    """What runs in the namespaces of an environment.

    Args:
        config: the configuration.
        environment: one whose executor is kubernetes.
        identity: the agent's; its own workloads are left out.
        names: only these workloads; none: all.

    Raises:
        UiciError: the cluster can't be asked.
    """
    connection = config.connection(environment, Connection)
    cluster = SdkCluster(connection)
    lister = Lister(cluster, connection.namespaces, connection.cluster_wide, connection.page_size)
    seconds = config.environments.environments[environment].deadline.total_seconds()
    deadline = Deadline(seconds)
    try:
        unread: list[str] = []
        workloads = list(_workloads(lister, deadline, unread))
        own = agents_places(lister.pods(deadline), identity)
        found = imported(workloads, environment, identity, names=names, own=own)
        return replace(found, left_out=[*unread, *found.left_out])
    except STRANGE as exc:
        raise not_an_api_server("import workloads", cluster.address) from exc
    finally:
        cluster.close()


def _workloads(lister: Lister, deadline: Deadline, unread: list[str]) -> Iterator[Json]:
    """Of all kinds. One that can't be listed joins `unread`; the others are none the worse."""
    for kind in WorkloadKind:
        try:
            yield from ({**found, "kind": kind.value} for found in lister.workloads(kind, deadline))
        except (ForbiddenError, UnservedError) as exc:
            unread.append(f"every {kind.value}: {exc}")


def agents_places(pods: Iterable[Json], identity: AgentIdentity) -> frozenset[Key]:
    """The workloads of which a pod, or a container of a pod, is the agent's own."""
    return frozenset(
        key
        for pod in pods
        if any(identity.reason(each) for each in pod_natives(pod))
        for key in pod_keys(pod)
    )


def imported(
    workloads: Iterable[Mapping[str, Any]],
    environment: str,
    identity: AgentIdentity,
    *,
    names: Sequence[str] = (),
    own: frozenset[Key] = frozenset(),
) -> Imported:
    """Workloads as the API server tells them → drafts. Two of one name are not told apart.

    `own` are those that the agent runs in, by kind, namespace and name: see `agents_places`.
    """
    drafts: dict[str, tuple[Draft, str]] = {}
    left_out: list[str] = []
    for found in workloads:
        metadata = found.get("metadata") or {}
        name, kind = str(metadata.get("name", "")), str(found["kind"])
        if names and name not in names:
            continue
        if kind not in _KINDS and owner_of(found) is not None:
            continue  # a CronJob's Job: the CronJob is what people declare
        shown = f"{kind} {metadata.get('namespace')}/{name}"
        mine = (kind, str(metadata.get("namespace", "")), name) in own
        reason = _OWN if mine else _reason(metadata, kind, identity)
        if kind not in _KINDS:
            reason = reason or _NO_SERVICE
        elif name in drafts:
            reason = f"there is another {name}: give it another name by hand"
        if reason:
            left_out.append(f"{shown}: {reason}")
            continue
        findings = Findings()
        draft = workload_draft(_document(found, shown), findings)
        said = [p.message for p in (*findings.errors, *findings.warnings)]
        if draft is None:
            left_out += [f"{shown}: {sentence}" for sentence in said]
            continue
        draft.left_out += said
        drafts[name] = (draft, f"Imported from the live {shown}.")
    left_out += [f"{name}: no workload has this name" for name in names if name not in drafts]
    return Imported(environment, list(drafts.values()), left_out)


def _reason(metadata: Mapping[str, Any], kind: str, identity: AgentIdentity) -> str:
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    native = NativeObject(kind, str(metadata.get("uid", "")), str(metadata.get("name")), labels)
    if identity.reason(native):
        return _OWN
    if _TARGET in notes:
        return f"it is {notes[_TARGET]} of a state repository already"
    return ""


def _document(found: Mapping[str, Any], shown: str) -> YamlDocument:
    """A live object as a manifest: only what a person would have written."""
    metadata = found.get("metadata") or {}
    kept = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    spec = _bare(found.get("spec") or {})
    for claim in spec.get("volumeClaimTemplates") or ():
        for key in _OF_CLAIMS:
            claim.pop(key, None)
    return YamlDocument(shown, {"kind": found["kind"], "metadata": kept, "spec": spec}, Place(0, 0))


def _bare(value: Any) -> Any:
    """Without defaults of the API server, at any depth."""
    if isinstance(value, Mapping):
        return {
            key: _bare(item)
            for key, item in value.items()
            if key not in _DEFAULTS or item not in _DEFAULTS[key]
        }
    return [_bare(item) for item in value] if isinstance(value, list) else value
