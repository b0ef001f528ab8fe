"""Bodies for server-side apply. Pure: no cluster, no clock.

Applying a body gives up every field that we own and that it lacks. So a change never starts
from nothing: `owned` takes from the live object what is ours by its `managedFields`, an edit
changes that, and the whole is applied. What others own is not in it and so is not touched.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and, for the form of
`fieldsV1`, the structured-merge-diff project.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from executors.kubernetes import secrets
from executors.kubernetes.binding import Json, Place, WorkloadKind
from executors.kubernetes.objects import (
    DECLARED_ENV,
    DIGEST,
    ENVIRONMENT_LABEL,
    SERVICE_LABEL,
    TARGET,
    container_name,
    container_of,
    template_of,
)
from infrastructure.quantities import format_cpu, format_memory
from infrastructure.service import PortMapping, SecretRef, Service

MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "app.kubernetes.io/name"
RESTARTED_AT = "uici.restarted-at"
_US = "uici"


# ── what is ours ────────────────────────────────────────────────────────────────


def owned(live: Mapping[str, Any], manager: str) -> Json:
    """The body that we would have to apply to change nothing.

    Args:
        live: the object as the server has it.
        manager: our name as a field manager.
    """
    fields: Json = {}
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        ours = entry.get("manager") == manager and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            fields = entry.get("fieldsV1") or {}
    body = _part(live, fields) if fields else {}
    found: Json = body if isinstance(body, dict) else {}
    metadata = live["metadata"]
    found["apiVersion"], found["kind"] = live["apiVersion"], live["kind"]
    found["metadata"] = {
        **(found.get("metadata") or {}),
        "name": metadata["name"],
        "namespace": metadata["namespace"],
    }
    return found


def _part(live: Any, fields: Mapping[str, Any]) -> Any:
    """The part of a value that a field set names. A set without members means all of it."""
    named = {key: below for key, below in fields.items() if key != "."}
    if not named:
        return copy.deepcopy(live) if not fields else ({} if isinstance(live, dict) else [])
    if isinstance(live, Mapping):
        return {
            key[2:]: _part(live[key[2:]], below)
            for key, below in named.items()
            if key.startswith("f:") and key[2:] in live
        }
    if isinstance(live, list):
        return [found for key, below in named.items() for found in _members(live, key, below)]
    return live


def _members(live: list[Any], key: str, below: Mapping[str, Any]) -> list[Any]:
    """The members of a list that one entry of a field set names: by keys, value or place."""
    kind, _, text = key.partition(":")
    told = json.loads(text)
    if kind == "v":
        return [item for item in live if item == told]
    if kind == "i":
        return [_part(live[told], below)] if told < len(live) else []
    found = [i for i in live if isinstance(i, dict) and all(i.get(k) == v for k, v in told.items())]
    return [{**told, **part} for part in (_part(item, below) for item in found)]


# Of metadata: what is the server's, or of this very object.
_BORN_WITH = frozenset(
    {
        "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink",
        "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers",
    }
)  # fmt: skip
# By which the Job controller knows a Job's pods; the old and the new name of each.
_JOB_LABELS = frozenset(
    {
        "controller-uid", "job-name",
        "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
    }
)  # fmt: skip


def anew(live: Mapping[str, Any]) -> Json:
    """A Job as somebody declared it, to be made again under its name: all but the server's own.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-labels
    """
    body = copy.deepcopy({k: v for k, v in live.items() if k != "status"})
    spec: Json = body.get("spec") or {}
    by_hand = spec.get("manualSelector")
    if not by_hand:
        spec.pop("selector", None)
    for item in (body, spec.get("template") or {}):
        metadata = item.get("metadata") or {}
        for key in _BORN_WITH & metadata.keys():
            del metadata[key]
        labels = metadata.get("labels") or {}
        for key in frozenset() if by_hand else _JOB_LABELS & labels.keys():
            del labels[key]
        (metadata.get("annotations") or {}).pop("batch.kubernetes.io/job-tracking", None)
    return body


# ── desired state as a body ─────────────────────────────────────────────────────


def labels_for(service: Service) -> Json:
    """By which the workload and its pods are known as this service's."""
    return {
        SERVICE_LABEL: service.metadata.name,
        ENVIRONMENT_LABEL: service.metadata.environment,
    }


def new_body(service: Service, place: Place, values: Mapping[str, str]) -> Json:
    """The workload as desired state declares it, to be created.

    Args:
        service: desired state.
        place: of the workload.
        values: its environment with secrets resolved.
    """
    own = labels_for(service)
    body: Json = {
        "apiVersion": place.facts.group,
        "kind": place.kind.value,
        "metadata": {
            "name": place.name,
            "namespace": place.namespace,
            "labels": {NAME: service.metadata.name, MANAGED_BY: _US, **own},
        },
        "spec": {},
    }
    template = edit_template(body, place)
    template["metadata"] = {"labels": {NAME: service.metadata.name, **own}}
    if place.kind in (WorkloadKind.JOB, WorkloadKind.CRON_JOB):
        template["spec"] = {"restartPolicy": "Never"}
    else:
        body["spec"]["selector"] = {"matchLabels": own}
    if place.facts.scales:
        body["spec"]["replicas"] = service.spec.replicas
    if place.kind is WorkloadKind.STATEFUL_SET:
        body["spec"]["serviceName"] = place.name
    lay_over(body, service, place, values, live=None)
    return body


def lay_over(
    body: Json,
    service: Service,
    place: Place,
    values: Mapping[str, str],
    *,
    live: Mapping[str, Any] | None,
) -> None:
    """Desired state laid over a body: first `native`, then the universal words.

    Args:
        body: is changed. The number of replicas is not: that is `scale`'s.
        service: desired state. What it leaves to others (`ignoreDifferences`) is only laid
            over where there is no workload yet.
        place: of the workload.
        values: its environment with secrets resolved.
        live: the workload as it is; None: there is none yet.
    """
    spec = service.spec
    theirs = frozenset() if live is None else frozenset(spec.ignore_differences)
    edit_annotations(body)[DIGEST] = service.spec_digest
    edit_annotations(body)[TARGET] = service.target
    before = edit_annotations(body).get(DECLARED_ENV, "").split()
    edit_annotations(body)[DECLARED_ENV] = " ".join(sorted(spec.env))
    native = _ours(spec.native, "/native", theirs)
    merge(body["spec"], native.get("workload") or {})
    template = edit_template(body, place)
    edit_annotations(template)[TARGET] = service.target
    merge(template.setdefault("spec", {}), native.get("pod") or {})
    container = edit_container(body, place, live)
    merge(container, native.get("container") or {})
    if "/image" not in theirs:
        container["image"] = spec.image
    if spec.command is not None and "/command" not in theirs:
        set_command(container, spec.command, live, place)
    gone = set(before) - spec.env.keys()
    if "env" in container:
        container["env"] = [e for e in container["env"] if e.get("name") not in gone]
    set_env(body, service, place, values, live)
    limits = spec.resources
    set_limits(
        container,
        None if theirs & {"/resources", "/resources/memory"} else limits.memory,
        None if theirs & {"/resources", "/resources/cpu"} else limits.cpu,
    )
    if spec.ports and "/ports" not in theirs:
        container["ports"] = _ports(container.get("ports") or [], spec.ports)


def _ours(value: Mapping[str, Any], pointer: str, theirs: Collection[str]) -> Json:
    """A part of `native` without what `ignoreDifferences` leaves to others."""
    if not theirs or pointer in theirs:
        return {} if pointer in theirs else dict(value)
    found: Json = {}
    for key, item in value.items():
        below = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        if below not in theirs:
            found[key] = _ours(item, below, theirs) if isinstance(item, Mapping) else item
    return found


def edit_annotations(item: Json) -> Json:
    """The annotations of a body or of its template, to be changed."""
    found: Json = item.setdefault("metadata", {}).setdefault("annotations", {})
    return found


def edit_template(body: Json, place: Place) -> Json:
    """The pod template of a body, to be changed."""
    found = body
    for part in place.facts.template:
        found = found.setdefault(part, {})
    return found


def edit_container(body: Json, place: Place, live: Mapping[str, Any] | None) -> Json:
    """The service's container of a body, to be changed."""
    containers: list[Json] = (
        edit_template(body, place).setdefault("spec", {}).setdefault("containers", [])
    )
    if live is None:
        name = place.container or place.name
    else:
        template = template_of(live, place)
        told = (template.get("metadata") or {}).get("annotations") or {}
        name = container_name(template.get("spec") or {}, place, told)
    found = next((c for c in containers if c.get("name") == name), None)
    if found is None:
        found = {"name": name}
        containers.append(found)
    return found


def set_command(
    container: Json, words: tuple[str, ...], live: Mapping[str, Any] | None, place: Place
) -> None:
    """The words are the image's arguments, unless the container has an entrypoint of its own."""
    entry = () if live is None else container_of(template_of(live, place), place).get("command")
    own = tuple(entry or ())
    if own and words[: len(own)] == own:
        container["args"] = list(words[len(own) :])
    elif own:
        container["command"], container["args"] = list(words), []
    else:
        container["args"] = list(words)


def set_env(
    body: Json,
    service: Service,
    place: Place,
    values: Mapping[str, str],
    live: Mapping[str, Any] | None,
) -> None:
    """Set variables; others are kept. Declared secrets are set by reference."""
    container = edit_container(body, place, live)
    shown = _shown(live, place)
    refer = {name for name, value in service.spec.env.items() if isinstance(value, SecretRef)}
    entries = {entry["name"]: entry for entry in container.get("env") or ()}
    for name, value in values.items():
        if name in refer:
            # Entries are merged: somebody's value would stay beside the reference, which the
            # server refuses. An empty one takes its place, or is a conflict with its owner.
            empty = {"value": ""} if name in shown else {}
            entries[name] = {"name": name, **empty, "valueFrom": secrets.reference(place, name)}
        else:
            entries[name] = {"name": name, "value": value}
    if entries:
        container["env"] = list(entries.values())
    hidden = {name: value for name, value in values.items() if name in refer}
    if hidden:
        notes = edit_annotations(edit_template(body, place))
        notes[secrets.FINGERPRINTS] = secrets.fingerprints(place, hidden)


def _shown(live: Mapping[str, Any] | None, place: Place) -> frozenset[str]:
    """Variables whose value stands in the live workload, for all to read."""
    container = {} if live is None else container_of(template_of(live, place), place)
    return frozenset(e["name"] for e in container.get("env") or () if e.get("value"))


def set_limits(container: Json, memory: int | None, cpu: Decimal | None) -> None:
    """Set limits; None keeps a limit as it is, 0 takes it away."""
    limits: Json = dict((container.get("resources") or {}).get("limits") or {})
    given = {
        "memory": None if memory is None else format_memory(memory) if memory else "",
        "cpu": None if cpu is None else format_cpu(cpu) if cpu else "",
    }
    for name, text in given.items():
        if text:
            limits[name] = text
        elif text is not None:
            limits.pop(name, None)
    if limits or "limits" in (container.get("resources") or {}):
        container["resources"] = {**(container.get("resources") or {}), "limits": limits}


def _ports(present: list[Json], wanted: tuple[PortMapping, ...]) -> list[Json]:
    found = {(p.get("containerPort"), p.get("protocol", "TCP")): dict(p) for p in present}
    for port in wanted:
        entry = found.setdefault((port.container, port.protocol.upper()), {})
        entry |= {"containerPort": port.container, "protocol": port.protocol.upper()}
        if port.host is not None:
            entry["hostPort"] = port.host
        if port.host_ip is not None:
            entry["hostIP"] = port.host_ip
    return list(found.values())


def merge(base: Json, over: Mapping[str, Any]) -> Json:
    """`over` laid into `base`, mapping by mapping; other values are replaced."""
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = base.get(key)
            base[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            base[key] = copy.deepcopy(value)
    return base
