"""Defaulting and validation, as far as the executor meets them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from executors.kubernetes.objects import quantity
from infrastructure.quantities import format_cpu, format_memory

Json = dict[str, Any]
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


class InvalidError(Exception):
    """422, with what is wrong."""


def admit(item: Json, before: Json | None) -> None:
    """Default and check an object in place.

    Raises:
        InvalidError: it is not accepted.
    """
    kind, spec = item["kind"], item.get("spec") or {}
    if kind == "Pod":
        _pod_spec(spec)
    elif kind == "Job":
        _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
        if before is None:
            _job_selector(item, spec)
        if before is not None and before["spec"]["template"] != spec["template"]:
            raise InvalidError("spec.template: field is immutable")
    elif kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
        _selector(spec, before)
        _numbers(kind, spec)


def _job_selector(item: Json, spec: Json) -> None:
    """The server's own for each Job, unless somebody says that theirs is meant."""
    own = {"batch.kubernetes.io/controller-uid": item["metadata"]["uid"]}
    if spec.get("manualSelector"):
        return
    if spec.get("selector"):
        raise InvalidError("spec.selector: Invalid value: `selector` not auto-generated")
    spec["selector"] = {"matchLabels": own}
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    if "batch.kubernetes.io/controller-uid" in labels:
        raise InvalidError("spec.template.metadata.labels: Invalid value: controller-uid")
    labels |= {**own, "batch.kubernetes.io/job-name": item["metadata"]["name"]}


def _selector(spec: Json, before: Json | None) -> None:
    selector = (spec.get("selector") or {}).get("matchLabels")
    if not selector:
        raise InvalidError("spec.selector: Required value")
    if before is not None and before["spec"]["selector"] != spec["selector"]:
        raise InvalidError("spec.selector: Invalid value: field is immutable")
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if any(labels.get(k) != v for k, v in selector.items()):
        raise InvalidError(
            "spec.template.metadata.labels: `selector` does not match template `labels`"
        )


def _numbers(kind: str, spec: Json) -> None:
    if kind != "DaemonSet":
        spec.setdefault("replicas", 1)
        if spec["replicas"] < 0:
            raise InvalidError("spec.replicas: must be greater than or equal to 0")
    if kind == "Deployment":
        rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
        spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
        spec.setdefault("progressDeadlineSeconds", 600)
        spec.setdefault("revisionHistoryLimit", 10)


def _pod_spec(spec: Json) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if not spec.get("containers"):
        raise InvalidError("spec.template.spec.containers: Required value")
    for number, container in enumerate(spec["containers"]):
        where = f"spec.template.spec.containers[{number}]"
        for problem in (*_container(container), *_amounts(container)):
            raise InvalidError(f"{where}.{problem}")


def _container(container: Json) -> Iterator[str]:
    if not container.get("image"):
        yield "image: Required value"
    container.setdefault("imagePullPolicy", "IfNotPresent")
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for entry in container.get("env") or ():
        if entry.get("value") == "" and "valueFrom" in entry:
            del entry["value"]  # how Go writes an empty text
        if entry.get("value") and entry.get("valueFrom"):
            yield "env.valueFrom: may not be specified when `value` is not empty"
    for probe in ("readinessProbe", "livenessProbe"):
        if probe in container:
            container[probe] = {**_PROBE, **container[probe]}


def _amounts(container: Json) -> Iterator[str]:
    limits = container["resources"].get("limits") or {}
    requests = container["resources"].get("requests") or {}
    for values in (limits, requests):
        for name, text in values.items():
            try:
                values[name] = canonical(name, quantity(text))
            except ValueError:
                yield f"resources: {name}: Invalid value"
    for name, text in requests.items():
        if name in limits and quantity(text) > quantity(limits[name]):
            yield f"resources.requests: must be less than or equal to {name} limit"


def canonical(name: str, value: Decimal) -> str:
    """One spelling for one amount."""
    if name == "memory":
        return format_memory(int(value))
    milli = value * 1000
    return format_cpu(value) if milli % 1000 == 0 else f"{milli:f}".rstrip("0").rstrip(".") + "m"
