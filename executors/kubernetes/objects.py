"""Parts that Kubernetes' objects share → universal words. Pure: no SDK, no cluster.

Field names and their meaning are those of the Kubernetes API reference (apps/v1, batch/v1,
core/v1). Objects are plain JSON, of which only what is needed is read: servers differ in the
rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from executors.kubernetes.binding import Json, Place
from executors.kubernetes.secrets import FINGERPRINTS, known_values
from infrastructure.observed import (
    NativeObject,
    ObservedSpec,
    empty,
)

SERVICE_LABEL = "uici.service"
ENVIRONMENT_LABEL = "uici.environment"
TARGET = "uici.target"  # an annotation: a label's value can't hold a slash
DIGEST = "uici.spec-digest"
DECLARED_ENV = "uici.env"  # names of the variables that desired state had when it was laid over
STOPPED_REPLICAS = "uici.replicas-before-stop"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_REASON_LENGTH = 300
_QUANTITY = re.compile(r"^([0-9.]+)([eE][0-9]+|[A-Za-z]*)$")
_UNITS = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


# ── reading parts ───────────────────────────────────────────────────────────────


def meta(item: Mapping[str, Any]) -> Json:
    """An object's metadata."""
    found: Json = item.get("metadata") or {}
    return found


def notes_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    """An object's annotations."""
    return meta(item).get("annotations") or empty()


def template_of(workload: Mapping[str, Any], place: Place) -> Json:
    """The pod template of a workload."""
    found: Any = workload
    for part in place.facts.template:
        found = found.get(part) or {}
    template: Json = found
    return template


_MOST_DIGITS = 30  # an exabyte has 19


@lru_cache(maxsize=4096)
def quantity(text: str | float) -> Decimal:
    """`"500m"`, `"64Mi"`, `"1e3"`, 2 → a number.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None or (match[2] not in _UNITS and match[2][:1] not in "eE"):
        raise ValueError(f"no quantity: {text}")
    made = (
        Decimal(match[1]) * _UNITS[match[2]] if match[2] in _UNITS else Decimal(match[1] + match[2])
    )
    if made and abs(made.adjusted()) > _MOST_DIGITS:  # to write it out would take for ever
        raise ValueError(f"no quantity: {text}")
    return made


def timestamp(text: str | None) -> datetime | None:
    """An RFC 3339 time."""
    return datetime.fromisoformat(text) if text else None


def container_name(pod_spec: Mapping[str, Any], place: Place, defaults: Mapping[str, str]) -> str:
    """The container that the service is about; see `Binding.container`."""
    names = [str(c.get("name")) for c in pod_spec.get("containers") or ()]
    wanted = (place.container, defaults.get(_DEFAULT_CONTAINER), place.name)
    return next((name for name in wanted if name in names and name), names[0] if names else "")


def container_of(item: Mapping[str, Any], place: Place) -> Json:
    """The service's container of a pod or a pod template; empty if there is none."""
    spec: Json = item.get("spec") or {}
    name = container_name(spec, place, notes_of(item))
    return next((c for c in spec.get("containers") or () if c.get("name") == name), {})


# ── specs ───────────────────────────────────────────────────────────────────────


def observed_spec(
    item: Mapping[str, Any], place: Place, secrets: Mapping[str, str] | None = None
) -> ObservedSpec:
    """The universal fields of a pod or a pod template.

    Args:
        item: with `metadata` and `spec`.
        place: of the workload.
        secrets: variable → declared value, for those that desired state takes from secrets.
    """
    container = container_of(item, place)
    limits: Json = (container.get("resources") or {}).get("limits") or {}
    words = (*(container.get("command") or ()), *(container.get("args") or ()))
    env = {
        str(entry["name"]): _env_value(entry, secrets or {}) for entry in container.get("env") or ()
    }
    if secrets:
        env.update(known_values(notes_of(item).get(FINGERPRINTS), place, secrets))
    return ObservedSpec(
        image=container.get("image"),
        command=words or None,
        env=env or empty(),
        memory=int(quantity(limits.get("memory", 0))),
        cpu=quantity(limits.get("cpu", 0)).normalize() if limits.get("cpu") else Decimal(0),
        ports=tuple(_ports(container)),
    )


def _env_value(entry: Json, secrets: Mapping[str, str]) -> str:
    """The value, or where it comes from.

    A secret that somebody else refers to is taken to be the declared one: nobody can tell,
    and what is not known is no drift.
    """
    source: Json = entry.get("valueFrom") or {}
    if not source:
        return str(entry.get("value") or "")
    if entry["name"] in secrets and "secretKeyRef" in source:
        return secrets[entry["name"]]
    kind, reference = next(iter(source.items()))
    named = reference.get("name") or reference.get("fieldPath") or ""
    return f"({kind} {named})"


def _ports(container: Mapping[str, Any]) -> Iterable[str]:
    for port in container.get("ports") or ():
        protocol = str(port.get("protocol", "TCP")).lower()
        text = f"{port['containerPort']}" + ("" if protocol == "tcp" else f"/{protocol}")
        yield text
        if port.get("hostPort"):
            address = f"{port['hostIP']}:" if port.get("hostIP") else ""
            yield f"{address}{port['hostPort']}:{text}"


def native_config(workload: Mapping[str, Any], place: Place) -> Json:
    """What `native` is compared with: the workload's spec, the pod's, and the container's."""
    template = template_of(workload, place)
    return {
        "workload": workload.get("spec") or {},
        "pod": template.get("spec") or {},
        "container": container_of(template, place),
    }


def native_of(item: Mapping[str, Any], kind: str) -> NativeObject:
    """For self-exclusion and audit. The target is told beside the labels, as in other engines."""
    labels = meta(item).get("labels") or empty()
    target = notes_of(item).get(TARGET)
    return NativeObject(
        kind,
        str(meta(item).get("uid", "")),
        str(meta(item).get("name", "")),
        {**labels, TARGET: target} if target else labels,
    )


def one_line(text: str) -> str:
    """Without line breaks, bounded."""
    return " ".join(text.split())[:_REASON_LENGTH]
