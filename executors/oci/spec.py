"""Oracle Cloud ↔ universal words. Pure.

Units: a core is a vCPU, a GB of the API is 2**30 bytes. The limits of a container are those
of its `resourceConfig`; without them it may use all that its machine has, which universal
words call unlimited.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from executors.oci.answers import (
    Container,
    ContainerInstance,
    Instance,
    InstanceConfiguration,
    Json,
    Pool,
    Resource,
    ShapeConfig,
    parse,
)
from executors.oci.membership import (
    DIGEST_TAG,
    ENV_TAG,
    SERVICE_TAG,
    STARTED_TAG,
    TARGET_TAG,
    env_tags,
    managed_env,
    native,
)
from executors.oci.session import without_nothing
from executors.oci.settings import ContainerInstanceBinding
from infrastructure.errors import PermanentError
from infrastructure.observed import (
    EngineHealth,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedSpec,
    Workload,
    empty,
)
from infrastructure.service import Service

GIB = 2**30
INSTANCE, POOL, CONTAINER_INSTANCE, CONTAINER = (
    "compute_instance",
    "instance_pool",
    "container_instance",
    "container",
)
# What counts as gone: it is on its way out, and nothing stops that.
GONE = frozenset({"TERMINATING", "TERMINATED", "DELETING", "DELETED"})

_INSTANCE_STATES: Mapping[str, InstanceState] = {
    "PROVISIONING": InstanceState.PENDING,
    "STARTING": InstanceState.PENDING,
    "RUNNING": InstanceState.RUNNING,
    "CREATING_IMAGE": InstanceState.RUNNING,
    "STOPPING": InstanceState.STOPPED,
    "STOPPED": InstanceState.STOPPED,
}
_NO_REASON = frozenset({InstanceState.RUNNING, InstanceState.PENDING})
# State of a pool → what is wrong with it. Every other one passes by itself.
_SETTLED_POOL: Mapping[str, str] = {
    "RUNNING": "",
    "STOPPED": "STOPPED",
    "TERMINATED": "TERMINATED",
}
_CONTAINER_STATES: Mapping[str, InstanceState] = {
    "CREATING": InstanceState.PENDING,
    "UPDATING": InstanceState.PENDING,
    "ACTIVE": InstanceState.RUNNING,
    "INACTIVE": InstanceState.STOPPED,
    "FAILED": InstanceState.STOPPED,
}
_HEALTH: Mapping[str, EngineHealth] = {
    "HEALTHY": EngineHealth.HEALTHY,
    "UNHEALTHY": EngineHealth.UNHEALTHY,
    "UNKNOWN": EngineHealth.STARTING,
}
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
class Replica:
    """One container instance with its containers; `main` is the one that is the service."""

    instance: ContainerInstance
    containers: tuple[Container, ...]
    main: Container | None

    @property
    def objects(self) -> tuple[NativeObject, ...]:
        """For self-exclusion: the agent may be any of them."""
        return (
            native(CONTAINER_INSTANCE, self.instance),
            *(native(CONTAINER, container) for container in self.containers),
        )

    @property
    def state(self) -> InstanceState:
        """Life: the machine's, and the container's once the machine is up."""
        of_machine = _CONTAINER_STATES.get(self.instance.lifecycle_state, InstanceState.UNKNOWN)
        if of_machine is not InstanceState.RUNNING:
            return of_machine
        if self.main is None:
            return InstanceState.UNKNOWN
        return _CONTAINER_STATES.get(self.main.lifecycle_state, InstanceState.UNKNOWN)


# ── upwards ─────────────────────────────────────────────────────────────────────


def observed_machine(
    instance: Instance, *, address: str | None, keep_native: bool
) -> ObservedInstance:
    """A compute instance. Its image is an OCID; of what runs on it the service knows nothing."""
    state = _INSTANCE_STATES.get(instance.lifecycle_state, InstanceState.UNKNOWN)
    memory, cpu = machine_size(instance.shape_config)
    return ObservedInstance(
        native=native(INSTANCE, instance),
        state=state,
        started_at=_started_at(instance) if state is InstanceState.RUNNING else None,
        # "Provisioning" is no reason why it is not up, only another word for it.
        reason=instance.lifecycle_state if state not in _NO_REASON else "",
        spec=ObservedSpec(image=instance.image, memory=memory, cpu=cpu),
        native_config=instance.raw if keep_native else empty(),
        address=address,
    )


def observed_pool(pool: Pool, configuration: InstanceConfiguration | None) -> Workload:
    """An instance pool: what it is asked to keep, and from what."""
    launch = ((configuration.instance_details if configuration else None) or {}).get(
        "launchDetails"
    ) or {}
    shape = launch.get("shapeConfig") or {}
    memory, cpu = machine_size(
        parse(ShapeConfig, shape, what="the pool's instance configuration", keep_raw=False)
    )
    return Workload(
        native=native(POOL, pool),
        replicas=pool.size,
        spec=ObservedSpec(
            image=(launch.get("sourceDetails") or {}).get("imageId"), memory=memory, cpu=cpu
        ),
        native_config=pool.raw,
        settled=pool.lifecycle_state in _SETTLED_POOL,
        reason=_SETTLED_POOL.get(pool.lifecycle_state, ""),
    )


def observed_replica(
    replica: Replica, service: Service, *, address: str | None
) -> ObservedInstance:
    """A container instance as one replica."""
    instance, main = replica.instance, replica.main
    state = replica.state
    stopped = state is InstanceState.STOPPED
    return ObservedInstance(
        native=native(CONTAINER_INSTANCE, instance),
        state=state,
        health=health_of(main) if main and state is InstanceState.RUNNING else EngineHealth.NONE,
        exit_code=main.exit_code if main and stopped else None,
        restart_count=(main.container_restart_attempt_count or 0) if main else 0,
        started_at=_started_at(instance) if state is InstanceState.RUNNING else None,
        finished_at=main.time_terminated if main and stopped else None,
        reason=_reason(replica, state),
        spec=container_spec(main, service) if main else ObservedSpec(),
        native_config=(
            {**instance.raw, "container": main.raw if main else {}}
            if service.spec.native
            else empty()
        ),
        address=address,
    )


def container_spec(container: Container, service: Service) -> ObservedSpec:
    """The universal fields of a container.

    Every port of a container answers at its instance's own address, under its own number:
    so those that are declared are there.
    """
    limits = container.resource_config
    memory = limits.memory_limit_in_gbs if limits else None
    cpu = limits.vcpus_limit if limits else None
    return ObservedSpec(
        image=container.image_url,
        command=container.arguments,
        env=container.environment_variables or empty(),
        memory=round((memory or 0) * GIB),
        cpu=Decimal(str(cpu or 0)).normalize(),
        ports=tuple(str(p) for p in service.spec.ports if p.host in (None, p.container)),
        managed_env=managed_env(container.freeform_tags),
    )


def machine_size(shape: ShapeConfig | None) -> tuple[int | None, Decimal | None]:
    """Memory in bytes and vCPUs of a machine; None where the answer does not say."""
    if shape is None:
        return None, None
    memory = round(shape.memory_in_gbs * GIB) if shape.memory_in_gbs is not None else None
    cpus = shape.vcpus
    return memory, Decimal(str(cpus)).normalize() if cpus is not None else None


def health_of(container: Container) -> EngineHealth:
    """The worst of its health checks."""
    found = {
        _HEALTH.get(str(check.get("status") or "UNKNOWN"), EngineHealth.STARTING)
        for check in container.health_checks or ()
    }
    for worst in (EngineHealth.UNHEALTHY, EngineHealth.STARTING, EngineHealth.HEALTHY):
        if worst in found:
            return worst
    return EngineHealth.NONE


def _reason(replica: Replica, state: InstanceState) -> str:
    parts = [replica.main.lifecycle_details if replica.main else None]
    parts.append(replica.instance.lifecycle_details)
    told = next((" ".join(part.split())[:300] for part in parts if part), "")
    if replica.main is None and replica.containers:
        return "it holds several containers: name the service's own in `binding.container`"
    return told if state is not InstanceState.RUNNING else ""


def _started_at(resource: Resource) -> datetime | None:
    """When it was last started: as UICI noted, else when it was made (no API tells)."""
    noted = (resource.freeform_tags or {}).get(STARTED_TAG)
    if noted:
        try:
            found = datetime.fromisoformat(noted)
        except ValueError:
            return resource.time_created
        return found if found.tzinfo else resource.time_created
    return resource.time_created


# ── downwards ───────────────────────────────────────────────────────────────────


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
    gone = managed_env(tags) - wanted.keys() - native_env.keys()
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
