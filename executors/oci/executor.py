"""OCIExecutor: observes an Oracle Cloud region and carries out primitives there.

A primitive call lists, finds the target's objects, has self-exclusion refuse the agent's
own, and only then hands over to the procedure of the service's kind (`machines`,
`containers`, `evidence`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import structlog

from executors import secret_env
from executors.contract import ExecutorContext, Primitive
from executors.deadline import Deadline
from executors.oci import containers, evidence, machines
from executors.oci.answers import Pool, Resource
from executors.oci.errors import REMEDY, STRANGE, not_the_service
from executors.oci.job import Handler, Job, Tools
from executors.oci.membership import native
from executors.oci.observe import Lists, Observer, members_of, strays
from executors.oci.session import Cloud, Request
from executors.oci.settings import (
    AnyBinding,
    Api,
    ComputeInstanceBinding,
    Connection,
    ContainerInstanceBinding,
    InstancePoolBinding,
    binding_of,
    unsupported,
)
from executors.oci.spec import CONTAINER, CONTAINER_INSTANCE, INSTANCE, POOL
from infrastructure.errors import NotFoundError, OutcomeUnknownError, PermanentError
from infrastructure.identity import AgentIdentity, with_runtime
from infrastructure.observed import EngineSnapshot, NativeObject, ObservedService
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service

log = structlog.get_logger("uici")
R = TypeVar("R", bound=Resource)

_GRACE, _NONE = ("grace_seconds",), ()
# name → (mutates, arguments)
_SHAPES: Mapping[str, tuple[bool, tuple[str, ...]]] = {
    "inspect": (False, _NONE),
    "logs": (False, ("lines", "since", "level", "filter", "source")),
    "stats": (False, _NONE),
    "events": (False, ("since",)),
    "wait_healthy": (False, _NONE),
    "start": (True, _NONE),
    "stop": (True, _GRACE),
    "restart": (True, _GRACE),
    "create": (True, _NONE),
    "scale": (True, ("replicas",)),
    "update_resources": (True, ("memory", "cpu")),
    "recreate": (True, ("image", "env")),
    "rollback": (True, _NONE),
    "exec": (True, ("argv", "workdir", "user", "timeout_seconds", "max_output_bytes")),
}
PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {name: Primitive(name, mutates, args) for name, (mutates, args) in _SHAPES.items()}
)
# What a container instance is made from, its environment included; `scale` can do without,
# downwards.
_NEEDING_ENV = frozenset({"create", "recreate", "update_resources", "rollback"})
_READS: Mapping[str, Handler] = {
    "inspect": evidence.inspect,
    "logs": evidence.logs,
    "stats": evidence.stats,
    "events": evidence.events,
}
_HANDLERS: Mapping[type, Mapping[str, Handler]] = {
    ComputeInstanceBinding: {
        **_READS,
        "wait_healthy": machines.wait_healthy,
        "start": machines.start,
        "stop": machines.stop,
        "restart": machines.restart,
        "update_resources": machines.update_resources,
        "exec": evidence.execute,
    },
    InstancePoolBinding: {
        **_READS,
        "wait_healthy": machines.wait_healthy,
        "start": machines.start_pool,
        "stop": machines.stop_pool,
        "restart": machines.restart_pool,
        "create": machines.wait_for_pool,
        "scale": machines.scale_pool,
        "exec": evidence.execute,
    },
    ContainerInstanceBinding: {
        **_READS,
        "wait_healthy": containers.wait_healthy,
        "start": containers.start,
        "stop": containers.stop,
        "restart": containers.restart,
        "create": containers.create,
        "scale": containers.scale,
        "update_resources": containers.update_resources,
        "recreate": containers.recreate,
        "rollback": containers.rollback,
    },
}
# Why a kind does not have a primitive, where that is worth more than "it has not".
_REASONS: Mapping[tuple[str, str], str] = {
    ("ComputeInstance", "create"): "UICI makes no machines: make it, and tag or name it",
    ("ComputeInstance", "scale"): "make the service an InstancePool to scale it",
    ("ComputeInstance", "recreate"): "its image can't be changed in place: make a new instance",
    ("InstancePool", "recreate"): "give the pool another instance configuration",
    ("InstancePool", "update_resources"): "give the pool another instance configuration",
    ("ContainerInstance", "exec"): "Oracle Cloud runs no commands in container instances",
}
# Primitives that give names to new things.
_NAMING = frozenset({"create", "scale"})


class OCIExecutor:
    """One region of Oracle Cloud. See `executors.contract.Executor` for what is promised."""

    def __init__(self, cloud: Cloud, connection: Connection, context: ExecutorContext) -> None:
        self.environment = context.environment
        self._cloud = cloud
        self._context = context
        self._connection = connection
        self._observer = Observer(
            cloud, context.environment, connection.compartments, concurrency=context.concurrency
        )
        self._declared: frozenset[str] | None = None  # not told yet
        self._identity: AgentIdentity | None = None  # with what the credentials say
        self._lock = threading.Lock()

    # ── observation ─────────────────────────────────────────────────────────────

    def declare(self, names: frozenset[str]) -> None:
        """Which services there are. Told before a run looks: the run's budget begins here."""
        self._declared = names
        self._cloud.new_run()

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        """Lists by compartment, and questions about what no list says."""
        try:
            return self._observe(services, Deadline(timeout), all_services=all_services)
        except STRANGE as exc:
            raise not_the_service("observe", self._cloud.address) from exc

    def _observe(
        self, services: Sequence[Service], deadline: Deadline, *, all_services: bool
    ) -> EngineSnapshot:
        asked = [(service, binding_of(service)) for service in services]
        lists = self._observer.lists(
            asked, declared=self._declared, deadline=deadline, whole=all_services
        )
        seen = self._observer.services(asked, lists, deadline)
        names = frozenset(service.metadata.name for service in services)
        if all_services:
            self._observer.forget_all_but(lists)
        return EngineSnapshot(
            environment=self.environment,
            services=seen,
            orphans=strays(lists, names) if all_services else (),
        )

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        """One target, now."""
        snapshot = self.observe((service,), all_services=False, timeout=timeout)
        return snapshot.services[service.target]

    def check(self, *, timeout: float) -> str:
        """One line about the environment; one small list proves key, region and policy."""
        compartment = self._connection.compartments[0]
        request = Request(
            Api.COMPUTE, "list_instances", (compartment,), {"limit": 1}, what="list instances"
        )
        self._cloud.ask(request, Deadline(timeout))
        count = len(self._connection.compartments)
        return f"{self._cloud.address}, {count} compartment{'s' if count > 1 else ''}"

    def known_self(self, *, timeout: float) -> frozenset[str]:
        """OCIDs of the agent: see `executors.contract.SelfAware`."""
        return _ocids(self._who(Deadline(timeout)))

    def close(self) -> None:
        """Release connections. Idempotent."""
        self._cloud.close()

    # ── primitives ──────────────────────────────────────────────────────────────

    def primitives(self) -> Mapping[str, Primitive]:
        """The verbs of Oracle Cloud, of all kinds together."""
        return PRIMITIVES

    def refusal(self, service: Service, primitive: str) -> str | None:
        """Why this kind has no such primitive: see `infrastructure.universal_interface.Choosy`."""
        try:
            binding = binding_of(service)
        except PermanentError as exc:
            return str(exc)
        if (reason := _refusal(binding, primitive)) is not None:
            return reason
        needing = _NEEDING_ENV if isinstance(binding, ContainerInstanceBinding) else ()
        return secret_env.refusal(service, primitive, needing, self._context.resolve_secret)

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """Look up, refuse what is protected, then act."""
        try:
            return self._called(service, call, timeout=timeout)
        except STRANGE as exc:
            what, where = f"{call.primitive} {service.target}", self._cloud.address
            if PRIMITIVES[call.primitive].mutates:
                message = f"{what}: {where} answers, but not as Oracle Cloud does"
                raise OutcomeUnknownError(message, remedy=REMEDY) from exc
            raise not_the_service(what, where) from exc

    def _called(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        primitive = _checked(call)
        binding = binding_of(service)
        deadline = Deadline(timeout)
        job = self._prepare(service, binding, call, deadline)
        settled: list[str] = []
        if primitive.mutates:
            self._refuse_protected(job)
        handler = _handler(service, binding, call)
        if primitive.mutates:
            for message in unsupported(service):
                raise PermanentError(f"{call.primitive} {message}")
            if job.leftovers:
                settled = containers.settle(job)
                job = self._prepare(service, binding, call, deadline)
                self._refuse_protected(job)
                _refuse_leftovers(job)
        result = handler(job)
        if settled:
            result = replace(result, changed=True, native_ids=(*settled, *result.native_ids))
        log.debug(
            "oci_primitive",
            target=service.target,
            primitive=call.primitive,
            changed=result.changed,
        )
        return result

    def _prepare(
        self, service: Service, binding: AnyBinding, call: PrimitiveCall, deadline: Deadline
    ) -> Job:
        lists = self._observer.lists(
            [(service, binding)], declared=self._declared, deadline=deadline
        )
        job = Job(
            service=service,
            binding=binding,
            call=call,
            deadline=deadline,
            lists=lists,
            tools=Tools(
                cloud=self._cloud,
                observer=self._observer,
                resolve_secret=self._context.resolve_secret,
                concurrency=self._context.concurrency,
                interval=self._connection.poll_interval.total_seconds(),
                compartment=self._connection.compartments[0],
            ),
        )
        if isinstance(binding, ContainerInstanceBinding):
            return self._with_containers(job, lists, binding)
        return self._with_machines(job, lists, binding)

    def _with_containers(self, job: Job, lists: Lists, binding: ContainerInstanceBinding) -> Job:
        members = members_of(lists.machines, job.service, binding)
        chosen = _chosen(job, members.visible or members.leftovers)
        boxes = [c for m in members.all for c in lists.containers.get(m.id, ())]
        return replace(
            job,
            found=self._observer.replicas(
                lists, chosen, binding, job.deadline, concurrency=self._context.concurrency
            ),
            leftovers=members.leftovers,
            count=len(members.visible),
            objects=(
                *(native(CONTAINER_INSTANCE, machine) for machine in members.all),
                *(native(CONTAINER, container) for container in boxes),
            ),
        )

    def _with_machines(
        self,
        job: Job,
        lists: Lists,
        binding: ComputeInstanceBinding | InstancePoolBinding,
    ) -> Job:
        if isinstance(binding, ComputeInstanceBinding):
            found = members_of(lists.instances, job.service, binding).visible
            pools: tuple[Pool, ...] = ()
            objects = tuple(native(INSTANCE, instance) for instance in found)
        else:
            pools = members_of(lists.pools, job.service, binding).visible
            members = [self._observer.pool_members(lists, p, job.deadline) for p in pools]
            found = tuple(instance for each in members for instance in each.instances)
            objects = tuple(thing for each in members for thing in each.objects)
        return replace(
            job,
            instances=_chosen(job, found),
            pools=pools,
            count=len(found),
            objects=(*(native(POOL, pool) for pool in pools), *objects),
        )

    # ── self-exclusion, layer 5 ─────────────────────────────────────────────────

    def _refuse_protected(self, job: Job) -> None:
        """For the whole target, before anything changes. A pool is what its instances are."""
        planned: Iterable[str] = ()
        if job.call.primitive in _NAMING and isinstance(job.binding, ContainerInstanceBinding):
            planned = containers.planned_names(job)
        names = (job.service.metadata.name, *planned)
        objects = [*job.objects, *(NativeObject(job.binding.kind, "", name) for name in names)]
        self._who(job.deadline).refuse(objects, action=job.call.primitive)

    def _who(self, deadline: Deadline) -> AgentIdentity:
        """The agent, together with the instance or resource that its credentials are of."""
        with self._lock:
            if self._identity is None:
                own = self._cloud.own_ids(deadline)
                if not own:
                    self._require_configured()
                self._identity = with_runtime(self._context.identity, own)
            return self._identity

    def _require_configured(self) -> None:
        """A principal is something in Oracle Cloud: what it is, somebody has to say."""
        method = self._connection.auth.method
        if method != "configFile" and not _ocids(self._context.identity):
            raise PermanentError(
                f"the credentials ({method}) do not tell what the agent itself is, so it could"
                " change itself: write its OCID to `nativeIds` in agents.yml"
            )
        if not _ocids(self._context.identity):
            log.warning("oci_agent_unknown", environment=self.environment)


def _ocids(identity: AgentIdentity) -> frozenset[str]:
    return frozenset(known for known in identity.native_ids if known.startswith("ocid1."))


def _checked(call: PrimitiveCall) -> Primitive:
    primitive = PRIMITIVES.get(call.primitive)
    if primitive is None:
        raise PermanentError(
            f"oci has no primitive {call.primitive}; it has {', '.join(sorted(PRIMITIVES))}"
        )
    strange = sorted(set(call.arguments) - set(primitive.arguments))
    if strange:
        raise PermanentError(
            f"{call.primitive} takes no {', '.join(strange)}; it takes"
            f" {', '.join(primitive.arguments) or 'nothing'}"
        )
    return primitive


def _refuse_leftovers(job: Job) -> None:
    """Beside an unfinished successor nothing is begun: that would make one more."""
    if job.leftovers:
        names = ", ".join(machine.name for machine in job.leftovers)
        raise OutcomeUnknownError(
            f"{job.what}: an unfinished successor ({names}) was taken away and is still listed",
            remedy="nothing to do by hand: the next run observes and goes on from there",
        )


def _handler(service: Service, binding: AnyBinding, call: PrimitiveCall) -> Handler:
    refusal = _refusal(binding, call.primitive)
    if refusal is not None:
        raise PermanentError(f"{call.primitive} {service.target}: {refusal}")
    return _HANDLERS[type(binding)][call.primitive]


def _refusal(binding: AnyBinding, primitive: str) -> str | None:
    if primitive in _HANDLERS[type(binding)]:
        return None
    reason = _REASONS.get((binding.kind, primitive), "Oracle Cloud has no such thing")
    return f"not for a {binding.kind}: {reason}"


def _chosen(job: Job, found: Sequence[R]) -> tuple[R, ...]:
    """What the call is about: all, or the one that was named."""
    wanted = job.call.instance
    if wanted is None:
        return tuple(found)
    chosen = tuple(entry for entry in found if entry.id == wanted)
    if not chosen:
        raise NotFoundError(f"{job.service.target} has no such instance any more: observe again")
    return chosen
