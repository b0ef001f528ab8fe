"""Looking: lists by compartment, sorted by target; single questions only for what no list says.

A run costs as many requests as the lists have pages. What a list leaves out of a container
(environment, arguments, health checks) and of an address is asked once and remembered for
as long as the thing does not change: containers, network interfaces and instance
configurations are replaced rather than changed.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from executors.deadline import Deadline
from executors.oci.answers import (
    Container,
    ContainerInstance,
    Instance,
    InstanceConfiguration,
    Pool,
    PoolMember,
    PrivateIp,
    Resource,
    Vnic,
    VnicAttachment,
)
from executors.oci.membership import Members, Roster, native
from executors.oci.session import Cloud, Request, fetch, pages, read_each
from executors.oci.settings import (
    AnyBinding,
    Api,
    ComputeInstanceBinding,
    ContainerInstanceBinding,
    InstancePoolBinding,
)
from executors.oci.spec import (
    GONE,
    INSTANCE,
    Replica,
    observed_machine,
    observed_pool,
    observed_replica,
)
from infrastructure.errors import NotFoundError
from infrastructure.observed import NativeObject, ObservedInstance, ObservedService
from infrastructure.service import Service

log = structlog.get_logger("uici")
R = TypeVar("R", bound=Resource)
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Lists:
    """What the lists said, sorted by target; a kind that nobody asked about is empty."""

    instances: Roster[Instance]
    pools: Roster[Pool]
    machines: Roster[ContainerInstance]
    containers: dict[str, list[Container]] = field(default_factory=dict)  # by instance

    @property
    def names(self) -> frozenset[str]:
        """Display names of container instances that are in use."""
        return self.machines.names


@dataclass(frozen=True, slots=True)
class PoolMembers:
    """Who is in a pool, and of whom everything is known that can be."""

    listed: tuple[PoolMember, ...]
    instances: tuple[Instance, ...]

    @property
    def objects(self) -> tuple[NativeObject, ...]:
        """For self-exclusion: every member, also one that the agent can't look at."""
        known = {instance.id for instance in self.instances}
        return (
            *(native(INSTANCE, instance) for instance in self.instances),
            *(NativeObject(INSTANCE, m.id, m.name) for m in self.listed if m.id not in known),
        )


class Observer:
    """Reads; remembers what can't change. Safe to use from several threads."""

    def __init__(
        self, cloud: Cloud, environment: str, compartments: Sequence[str], *, concurrency: int
    ) -> None:
        self._cloud = cloud
        self._environment = environment
        self._compartments = tuple(compartments)
        self._concurrency = concurrency
        self._memory: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    # ── lists ───────────────────────────────────────────────────────────────────

    def lists(
        self,
        asked: Sequence[tuple[Service, AnyBinding]],
        *,
        declared: frozenset[str] | None,
        deadline: Deadline,
        whole: bool = False,
    ) -> Lists:
        """The lists that these services need.

        `whole`: also those that only strays can be in: of the kind that UICI makes itself,
        which may be declared no more.
        """
        kinds = {type(binding) for _, binding in asked}
        names = frozenset(service.metadata.name for service, _ in asked)
        more = (b.compartment for _, b in asked if b.compartment is not None)
        compartments = tuple(dict.fromkeys((*self._compartments, *more)))

        raw = any(service.spec.native for service, _ in asked)

        def listed(model: type[R], api: Api, operation: str, *, needed: bool) -> list[R]:
            what = operation.replace("_", " ")
            requests = (Request(api, operation, (c,), what=what) for c in compartments)
            return [
                entry
                for request in (requests if needed else ())
                for entry in pages(self._cloud, request, model, deadline, keep_raw=raw)
                if entry.lifecycle_state not in GONE
            ]

        pools = InstancePoolBinding in kinds
        boxes = ContainerInstanceBinding in kinds
        instances = listed(
            Instance,
            Api.COMPUTE,
            "list_instances",
            needed=pools or ComputeInstanceBinding in kinds,
        )
        containers: dict[str, list[Container]] = defaultdict(list)
        for container in listed(Container, Api.CONTAINERS, "list_containers", needed=boxes):
            containers[container.container_instance_id].append(container)

        def roster(entries: list[R]) -> Roster[R]:
            return Roster(self._environment, entries, declared=declared, asked=names)

        machines: list[ContainerInstance] = []
        try:
            machines = listed(
                ContainerInstance,
                Api.CONTAINERS,
                "list_container_instances",
                needed=boxes or whole,
            )
        except NotFoundError:
            if boxes:
                raise
            # Nothing is declared of this kind, so the agent may well have no right to it.
            log.info("oci_strays_not_listed", environment=self._environment)
        return Lists(
            instances=roster(instances),
            pools=roster(listed(Pool, Api.POOLS, "list_instance_pools", needed=pools)),
            machines=roster(machines),
            containers=dict(containers),
        )

    # ── members ─────────────────────────────────────────────────────────────────

    def pool_members(self, lists: Lists, pool: Pool, deadline: Deadline) -> PoolMembers:
        """Who is in a pool. What is in none of the listed compartments is asked for by itself."""
        members = self._members(pool, deadline)
        listed = {entry.id: entry for entry in lists.instances.entries}

        def find(member: PoolMember) -> Instance | None:
            if member.id in listed:
                return listed[member.id]
            request = Request(
                Api.COMPUTE, "get_instance", (member.id,), what=f"look at {member.name}"
            )
            try:
                return fetch(self._cloud, request, Instance, deadline, keep_raw=False)
            except NotFoundError:  # gone since, or nothing that the agent may see
                return None

        found = read_each(members, find, concurrency=self._concurrency)
        return PoolMembers(
            tuple(members),
            tuple(i for i in found if i is not None and i.lifecycle_state not in GONE),
        )

    def member_states(self, pool: Pool, deadline: Deadline) -> dict[str, str]:
        """Id → lifecycle state of a pool's instances, from one list."""
        return {m.id: m.lifecycle_state for m in self._members(pool, deadline)}

    def _members(self, pool: Pool, deadline: Deadline) -> list[PoolMember]:
        request = Request(
            Api.POOLS,
            "list_instance_pool_instances",
            (pool.compartment_id, pool.id),
            what=f"list the instances of {pool.name}",
        )
        members = pages(self._cloud, request, PoolMember, deadline)
        return [m for m in members if m.lifecycle_state not in GONE]

    def replicas(
        self,
        lists: Lists,
        machines: Sequence[ContainerInstance],
        binding: ContainerInstanceBinding,
        deadline: Deadline,
        *,
        concurrency: int,
        keep_raw: bool = False,
    ) -> tuple[Replica, ...]:
        """Container instances with their containers, and all there is to know of the main one."""

        def complete(machine: ContainerInstance) -> Replica:
            found = tuple(lists.containers.get(machine.id, ()))
            main = _main(found, binding)
            detail = self._detail(main, deadline, keep_raw=keep_raw) if main else None
            return Replica(machine, found, detail)

        return tuple(read_each(machines, complete, concurrency=concurrency))

    def _detail(self, container: Container, deadline: Deadline, *, keep_raw: bool) -> Container:
        """What the list leaves out. Health changes by itself, so it is asked for each time."""
        request = Request(
            Api.CONTAINERS, "get_container", (container.id,), what=f"look at {container.name}"
        )
        stamp = (container.time_updated, container.lifecycle_state, keep_raw)
        try:
            return self._remembered(
                ("container", container.id),
                lambda: fetch(self._cloud, request, Container, deadline, keep_raw=keep_raw),
                stamp=stamp,
                keep=lambda found: not found.health_checks,
            )
        except NotFoundError:  # gone since the list
            return container

    # ── upwards ─────────────────────────────────────────────────────────────────

    def services(
        self,
        asked: Sequence[tuple[Service, AnyBinding]],
        lists: Lists,
        deadline: Deadline,
    ) -> dict[str, ObservedService]:
        """Each service in universal words."""
        addresses = self._addresses(asked, lists, deadline)

        def one(item: tuple[Service, AnyBinding]) -> ObservedService:
            service, binding = item
            if isinstance(binding, ContainerInstanceBinding):
                return self._containers(service, binding, lists, deadline)
            if isinstance(binding, InstancePoolBinding):
                return self._pool(service, binding, lists, addresses, deadline)
            found = members_of(lists.instances, service, binding)
            return ObservedService(service.target, _machines(found.visible, service, addresses))

        found = read_each(list(asked), one, concurrency=self._concurrency)
        return {seen.target: seen for seen in found}

    def _pool(
        self,
        service: Service,
        binding: InstancePoolBinding,
        lists: Lists,
        addresses: dict[str, str],
        deadline: Deadline,
    ) -> ObservedService:
        pools = members_of(lists.pools, service, binding).visible
        if not pools:
            return ObservedService(service.target)
        pool = pools[0]
        members = self.pool_members(lists, pool, deadline).instances
        workload = observed_pool(pool, self._configuration(pool, deadline))
        return ObservedService(
            service.target, _machines(members, service, addresses), workload=workload
        )

    def _configuration(self, pool: Pool, deadline: Deadline) -> InstanceConfiguration | None:
        if pool.instance_configuration_id is None:
            return None
        request = Request(
            Api.POOLS,
            "get_instance_configuration",
            (pool.instance_configuration_id,),
            what=f"look at the instance configuration of {pool.name}",
        )
        try:
            return self._remembered(
                ("configuration", pool.instance_configuration_id),
                lambda: fetch(self._cloud, request, InstanceConfiguration, deadline),
            )
        except NotFoundError:  # may be deleted while its pool lives
            return None

    def _containers(
        self,
        service: Service,
        binding: ContainerInstanceBinding,
        lists: Lists,
        deadline: Deadline,
    ) -> ObservedService:
        members = members_of(lists.machines, service, binding)
        machines = members.visible or members.leftovers
        # Services are looked at side by side already.
        keep_raw = bool(service.spec.native)
        replicas = self.replicas(
            lists, machines, binding, deadline, concurrency=1, keep_raw=keep_raw
        )
        probed = service.spec.health.http is not None
        return ObservedService(
            service.target,
            tuple(
                observed_replica(
                    replica,
                    service,
                    address=self._address(replica.instance, deadline) if probed else None,
                )
                for replica in replicas
            ),
        )

    # ── addresses ───────────────────────────────────────────────────────────────

    def _addresses(
        self,
        asked: Sequence[tuple[Service, AnyBinding]],
        lists: Lists,
        deadline: Deadline,
    ) -> dict[str, str]:
        """Private address by compute instance: lists by compartment and subnet, no single ones."""
        if not any(
            service.spec.health.http is not None
            and not isinstance(binding, ContainerInstanceBinding)
            for service, binding in asked
        ):
            return {}
        compartments = sorted({entry.compartment_id for entry in lists.instances.entries})
        attached: list[VnicAttachment] = []
        for compartment in compartments:
            request = Request(
                Api.COMPUTE, "list_vnic_attachments", (compartment,), what="list vnic attachments"
            )
            attached += pages(self._cloud, request, VnicAttachment, deadline)
        by_vnic: dict[str, str] = {}
        for subnet in sorted({a.subnet_id for a in attached if a.subnet_id}):
            request = Request(
                Api.NETWORK,
                "list_private_ips",
                options={"subnet_id": subnet},
                what="list private addresses",
            )
            for ip in pages(self._cloud, request, PrivateIp, deadline):
                if ip.is_primary and ip.vnic_id and ip.ip_address:
                    by_vnic[ip.vnic_id] = ip.ip_address
        found: dict[str, str] = {}
        for attachment in attached:
            if attachment.lifecycle_state == "ATTACHED" and attachment.vnic_id in by_vnic:
                found.setdefault(attachment.instance_id, by_vnic[attachment.vnic_id])
        return found

    def _address(self, machine: ContainerInstance, deadline: Deadline) -> str | None:
        vnic = self.vnic(machine, deadline)
        return vnic.private_ip if vnic else None

    def vnic(self, machine: ContainerInstance, deadline: Deadline) -> Vnic | None:
        """The network interface of a container instance; None: it has none (any more)."""
        request = Request(
            Api.CONTAINERS,
            "get_container_instance",
            (machine.id,),
            what=f"look at {machine.name}",
        )
        try:
            whole = self._remembered(
                ("machine", machine.id),
                lambda: fetch(self._cloud, request, ContainerInstance, deadline, keep_raw=False),
                keep=lambda found: bool(found.vnics),
            )
            ids = [vnic.get("vnicId") for vnic in whole.vnics or ()]
            if not ids or not isinstance(ids[0], str):
                return None
            wanted = Request(
                Api.NETWORK, "get_vnic", (ids[0],), what=f"look at the network of {machine.name}"
            )
            return self._remembered(
                ("vnic", ids[0]), lambda: fetch(self._cloud, wanted, Vnic, deadline, keep_raw=False)
            )
        except NotFoundError:
            return None

    # ── memory ──────────────────────────────────────────────────────────────────

    def _remembered(
        self,
        key: tuple[str, str],
        ask: Callable[[], M],
        *,
        stamp: Any = None,
        keep: Callable[[M], bool] = lambda _: True,
    ) -> M:
        with self._lock:
            known = self._memory.get(key)
        if known is not None and known[0] == stamp:
            found: M = known[1]
            return found
        found = ask()
        if keep(found):
            with self._lock:
                self._memory[key] = (stamp, found)
        return found

    def forget_all_but(self, lists: Lists) -> None:
        """Drop what is remembered of things that are no longer listed. After a whole look."""
        alive = {c.id for found in lists.containers.values() for c in found}
        alive |= lists.machines.ids
        with self._lock:
            for kind, ocid in list(self._memory):
                if kind in ("container", "machine") and ocid not in alive:
                    del self._memory[kind, ocid]


def members_of(roster: Roster[R], service: Service, binding: AnyBinding) -> Members[R]:
    """The objects of a service by its binding."""
    return roster.members(
        service.metadata.name, select=binding.select, compartment=binding.compartment
    )


def strays(lists: Lists, declared: frozenset[str]) -> tuple[NativeObject, ...]:
    """Objects with this environment's tag that no declared service owns."""
    return (
        *lists.instances.orphans("compute_instance", declared),
        *lists.pools.orphans("instance_pool", declared),
        *lists.machines.orphans("container_instance", declared),
    )


def _main(containers: Sequence[Container], binding: ContainerInstanceBinding) -> Container | None:
    """The container that is the service: the named one, else the only one."""
    if binding.container is not None:
        return next((c for c in containers if c.display_name == binding.container), None)
    return containers[0] if len(containers) == 1 else None


def _machines(
    instances: Iterable[Instance], service: Service, addresses: dict[str, str]
) -> tuple[ObservedInstance, ...]:
    return tuple(
        observed_machine(
            instance,
            address=addresses.get(instance.id),
            keep_native=bool(service.spec.native),
        )
        for instance in instances
    )
