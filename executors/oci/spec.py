"""Oracle Cloud → universal words. Pure; the way down is `bodies`.

Units: a core is a vCPU, a GB of the API is 2**30 bytes. The limits of a container are those
of its `resourceConfig`; without them it may use all that its machine has, which universal
words call unlimited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from executors.env_note import managed_in, secret_in
from executors.oci.answers import (
    Container,
    ContainerInstance,
    Instance,
    InstanceConfiguration,
    Pool,
    Resource,
    ShapeConfig,
    parse,
)
from executors.oci.membership import (
    STARTED_TAG,
    native,
    noted_env,
)
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
        managed_env=managed_in(noted_env(container.freeform_tags)),
        secret_env=secret_in(noted_env(container.freeform_tags)),
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
