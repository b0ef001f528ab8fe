"""Bodies of create requests: desired state laid over what was somebody's decision. Pure.

The way back, from answers to universal words, is `spec`. A container can't be changed, so
every change of one is a body that has all of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from executors.env_note import managed_in
from executors.oci.answers import Container, Json
from executors.oci.membership import (
    DIGEST_TAG,
    ENV_TAG,
    SERVICE_TAG,
    STARTED_TAG,
    TARGET_TAG,
    env_tags,
    noted_env,
)
from executors.oci.session import without_nothing
from executors.oci.settings import ContainerInstanceBinding
from executors.oci.spec import GIB, Replica
from infrastructure.errors import PermanentError
from infrastructure.service import Service

_KEPT_OF_INSTANCE = [
    "compartmentId",
    "availabilityDomain",
    "faultDomain",
    "shape",
    "containerRestartPolicy",
    "gracefulShutdownTimeoutInSeconds",
    "dnsConfig",
    "freeformTags",
    "definedTags",
    "securityContext",
]
_KEPT_OF_CONTAINER = [
    "displayName",
    "imageUrl",
    "command",
    "arguments",
    "workingDirectory",
    "environmentVariables",
    "volumeMounts",
    "isResourcePrincipalDisabled",
    "securityContext",
    "freeformTags",
    "definedTags",
]
_KEPT_OF_CHECK = [
    "name",
    "healthCheckType",
    "initialDelayInSeconds",
    "intervalInSeconds",
    "failureThreshold",
    "successThreshold",
    "timeoutInSeconds",
    "failureAction",
    "path",
    "port",
    "headers",
    "command",
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new container instance shall be, beside desired state.

    Attributes:
        name: display name.
        env: the environment, secrets resolved.
        image, memory, cpu: instead of what desired state says.
        tags: free-form tags of this replacement alone.
    """

    name: str
    env: Mapping[str, str]
    image: str | None = None
    memory: int | None = None
    cpu: Decimal | None = None
    tags: Mapping[str, str] | None = None


def new_body(
    service: Service, binding: ContainerInstanceBinding, wanted: Wanted, *, compartment: str
) -> Json:
    """The body of a create request, from desired state alone.

    Raises:
        PermanentError: the binding does not say enough to make one.
    """
    missing = [
        name
        for name, value in (
            ("availabilityDomain", binding.availability_domain),
            ("shape", binding.shape),
            ("subnet", binding.subnet),
        )
        if value is None
    ]
    if missing or binding.shape is None:
        raise PermanentError(
            f"create {service.target}: its binding lacks {', '.join(missing)}, without which no"
            " container instance can be made"
        )
    base: Json = {
        "compartmentId": compartment,
        "availabilityDomain": binding.availability_domain,
        "shape": binding.shape.name,
        "shapeConfig": {
            "ocpus": binding.shape.ocpus,
            "memoryInGBs": binding.shape.memory_in_gbs,
        },
        "vnics": [_vnic(binding)],
    }
    return _overlay(base, {"displayName": service.metadata.name}, [], service, wanted)


def replacement_body(
    service: Service, binding: ContainerInstanceBinding, wanted: Wanted, old: Replica, vnic: Json
) -> Json:
    """The body of what replaces `old`: desired state over what was somebody's decision.

    Args:
        service: desired state.
        binding: its binding.
        wanted: the rest.
        old: asked for one by one, so that nothing is left out.
        vnic: the network interface that the old one has.

    Raises:
        PermanentError: it has something that the API takes but never tells.
    """
    raw = old.instance.raw
    if old.main is None:
        raise PermanentError(f"recreate {service.target}: its own container can't be told")
    base = {key: raw[key] for key in _KEPT_OF_INSTANCE if raw.get(key) is not None}
    base["volumes"] = raw.get("volumes") or None
    shape = raw.get("shapeConfig") or {}
    base["shapeConfig"] = {key: shape[key] for key in ("ocpus", "memoryInGBs") if key in shape}
    base["vnics"] = [{**vnic, **_vnic(binding)}]
    base["imagePullSecrets"] = _pull_secrets(service, raw.get("imagePullSecrets") or ())
    tags = dict(base.get("freeformTags") or {})
    tags.pop(STARTED_TAG, None)
    base["freeformTags"] = tags
    others = [_kept_container(c) for c in old.containers if c.id != old.main.id]
    return _overlay(base, _kept_container(old.main), others, service, wanted)


def _overlay(
    base: Json, container: Json, others: Iterable[Json], service: Service, wanted: Wanted
) -> Json:
    """First `native`, then the universal words."""
    over = dict(service.spec.native)
    container = merged(container, over.pop("container", None) or {})
    body = merged(base, over)
    spec = service.spec
    container["imageUrl"] = wanted.image or spec.image
    if spec.command is not None:
        container["arguments"] = list(spec.command)
    _overlay_env(container, service, wanted.env)
    memory = spec.resources.memory if wanted.memory is None else wanted.memory
    cpu = spec.resources.cpu if wanted.cpu is None else wanted.cpu
    limits = dict(container.get("resourceConfig") or {})
    if memory is not None:
        limits["memoryLimitInGBs"] = memory / GIB
    if cpu is not None:
        limits["vcpusLimit"] = float(cpu)
    # No limit is said by leaving it out.
    container["resourceConfig"] = {k: v for k, v in limits.items() if v} or None
    body["displayName"] = wanted.name
    body["containers"] = [without_nothing(container), *others]
    body["freeformTags"] = {
        **(body.get("freeformTags") or {}),
        TARGET_TAG: service.target,
        SERVICE_TAG: service.metadata.name,
        DIGEST_TAG: service.spec_digest,
        **(wanted.tags or {}),
    }
    return without_nothing(body)


def _overlay_env(container: Json, service: Service, wanted: Mapping[str, str]) -> None:
    """What UICI had set and Git no longer names goes; what people or `native` set stays."""
    tags: dict[str, str] = container.get("freeformTags") or {}
    native_env = (service.spec.native.get("container") or {}).get("environmentVariables") or {}
    gone = managed_in(noted_env(tags)) - wanted.keys() - native_env.keys()
    kept = container.get("environmentVariables") or {}
    env = {**{k: v for k, v in kept.items() if k not in gone}, **wanted}
    container["environmentVariables"] = env or None
    others = {key: value for key, value in tags.items() if not key.startswith(ENV_TAG)}
    container["freeformTags"] = {**others, **env_tags(service.spec.env)} or None


def _vnic(binding: ContainerInstanceBinding) -> Json:
    return without_nothing(
        {
            "subnetId": binding.subnet,
            "isPublicIpAssigned": binding.assign_public_ip,
            "nsgIds": list(binding.network_security_groups) or None,
        }
    )


def _kept_container(container: Container) -> Json:
    raw = container.raw
    body = {key: raw[key] for key in _KEPT_OF_CONTAINER if raw.get(key) is not None}
    limits = raw.get("resourceConfig") or {}
    body["resourceConfig"] = {k: v for k, v in limits.items() if v} or None
    checks = [
        {key: check[key] for key in _KEPT_OF_CHECK if check.get(key) is not None}
        for check in raw.get("healthChecks") or ()
    ]
    body["healthChecks"] = checks or None
    return without_nothing(body)


def _pull_secrets(service: Service, secrets: Iterable[Json]) -> list[Json] | None:
    if "imagePullSecrets" in service.spec.native:
        return None  # `native` says them
    kept = []
    for secret in secrets:
        if secret.get("secretType") != "VAULT":
            raise PermanentError(
                f"recreate {service.target}: it pulls its image with a password that Oracle Cloud"
                " does not tell: keep it in a vault, or give `native.imagePullSecrets`"
            )
        kept.append({k: v for k, v in secret.items() if v is not None})
    return kept or None


def merged(base: Json, over: Mapping[str, Any]) -> Json:
    """`over` laid over `base`, mapping by mapping; other values are replaced."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping):
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
