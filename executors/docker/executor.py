"""DockerExecutor: observes a Docker Engine and carries out primitives on it.

Observation is one list and bounded concurrent inspects. A primitive call looks up the
target's containers, has self-exclusion refuse the agent's own, and only then hands over to
the procedure (`lifecycle`, `capacity`, `replace_container`, `evidence`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from executors import secret_env
from executors.contract import ExecutorContext, Primitive
from executors.deadline import Deadline
from executors.docker import capacity, evidence, lifecycle, replace_container, shape
from executors.docker.membership import Listed, Members, Roster, compose_project, listed
from executors.docker.remembered import RememberedInstances
from executors.docker.session import DockerSession, Handler, Job, Json, Toolbox
from executors.docker.spec import Container, Reach, joined_containers, observed_instance
from infrastructure.errors import (
    DeadlineExceededError,
    NotFoundError,
    PermanentError,
)
from infrastructure.observed import EngineSnapshot, NativeObject, ObservedInstance, ObservedService
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service

log = structlog.get_logger("uici")

_GRACE, _NONE = ("grace_seconds",), ()
# name → (procedure, mutates, arguments)
_TABLE: Mapping[str, tuple[Handler, bool, tuple[str, ...]]] = MappingProxyType(
    {
        "inspect": (evidence.inspect, False, _NONE),
        "logs": (
            evidence.logs,
            False,
            ("lines", "since", "level", "filter", "source"),
        ),
        "stats": (evidence.stats, False, _NONE),
        "events": (evidence.events, False, ("since",)),
        "wait_healthy": (lifecycle.wait_healthy, False, ("stable_seconds",)),
        "start": (lifecycle.start, True, _NONE),
        "stop": (lifecycle.stop, True, _GRACE),
        "restart": (lifecycle.restart, True, _GRACE),
        "pause": (lifecycle.pause, True, _NONE),
        "resume": (lifecycle.resume, True, _NONE),
        "create": (capacity.create, True, _NONE),
        "scale": (capacity.scale, True, ("replicas",)),
        "remove": (capacity.remove, True, ("grace_seconds",)),
        "update_resources": (capacity.update_resources, True, ("memory", "cpu")),
        "recreate": (replace_container.recreate, True, ("image", "env", "beside")),
        "rollback": (replace_container.rollback, True, _NONE),
        "exec": (
            evidence.execute,
            True,
            ("argv", "workdir", "user", "timeout_seconds", "max_output_bytes"),
        ),
    }
)
PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {name: Primitive(name, mutates, args) for name, (_, mutates, args) in _TABLE.items()}
)
# Primitives that can't do without the declared environment; `scale` can, downwards.
_NEEDING_ENV = frozenset({"create", "recreate", "rollback"})
# Primitives that give names to new containers.
_NAMING = frozenset({"create", "scale"})
_INSPECT = "inspect a container"


class Engine(Protocol):
    """The engine behind an executor; `executors.docker.SdkEngine` is the one."""

    address: str

    def fetch(self, path: str, *, what: str, timeout: float) -> bytes:
        """A GET: the answer as it came."""
        ...

    def open(
        self, deadline: Deadline, names: dict[str, str]
    ) -> AbstractContextManager[DockerSession]:
        """A conversation for changes."""
        ...

    def version(self, timeout: float) -> Json:
        """What the engine says about itself."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class DockerExecutor:
    """One Docker Engine. See `executors.contract.Executor` for what is promised."""

    def __init__(
        self, engine: Engine, context: ExecutorContext, *, reach: Reach, pull: bool
    ) -> None:
        self.environment = context.environment
        self._engine = engine
        self._context = context
        self._reach = reach
        self._pull = pull
        self._declared: frozenset[str] | None = None  # not told yet
        self._remembered = RememberedInstances()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    # ── observation ─────────────────────────────────────────────────────────────

    def declare(self, names: frozenset[str]) -> None:
        """One assignment of an immutable value; each call below reads it once."""
        self._declared = names

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        """One list, then inspects of the asked targets' containers only."""
        deadline = Deadline(timeout)
        names = frozenset(service.metadata.name for service in services)
        roster = self._roster(deadline, self._declared, names)
        members = {service.target: self._members(roster, service) for service in services}
        wanted = {
            entry.id: service.spec.native
            for service in services
            for entry in members[service.target].visible
        }
        seen = self._inspect_all(wanted, deadline)
        if all_services:
            self._remembered.keep(wanted)
        return EngineSnapshot(
            environment=self.environment,
            services={
                target: ObservedService(
                    target, tuple(seen[entry.id] for entry in found.visible if entry.id in seen)
                )
                for target, found in members.items()
            },
            orphans=roster.orphans(names) if all_services else (),
        )

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        """One target, now."""
        snapshot = self.observe((service,), all_services=False, timeout=timeout)
        return snapshot.services[service.target]

    def check(self, *, timeout: float) -> str:
        """One line about the engine."""
        found = self._engine.version(timeout)
        return (
            f"Docker Engine {found.get('Version', '?')} (API {found['ApiVersion']})"
            f" at {self._engine.address}"
        )

    def close(self) -> None:
        """Release threads and connections. Idempotent."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        self._engine.close()

    def _roster(
        self, deadline: Deadline, declared: frozenset[str] | None, asked: frozenset[str]
    ) -> Roster:
        what = "list containers"
        body = self._engine.fetch(
            "/containers/json?all=1", what=what, timeout=deadline.require(what)
        )
        answer = shape.decoded(body, what=what, engine=self._engine.address)
        entries = shape.container_list(answer, what=what, engine=self._engine.address)
        found = [listed(entry) for entry in entries]
        return Roster(self.environment, found, declared=declared, asked=asked)

    def _members(self, roster: Roster, service: Service) -> Members:
        return roster.members(
            service.metadata.name, project=compose_project(service.metadata.labels)
        )

    def _ask(self, container_id: str, deadline: Deadline) -> bytes:
        """The engine's answer as it came. NotFoundError: it vanished meanwhile."""
        return self._engine.fetch(
            f"/containers/{quote(container_id, safe='')}/json",
            what=_INSPECT,
            timeout=deadline.require(_INSPECT),
        )

    def _inspect(self, container_id: str, deadline: Deadline) -> Json | None:
        """As `_ask`, checked; None: it vanished since it was listed."""
        try:
            return self._checked(self._ask(container_id, deadline))
        except NotFoundError:
            return None

    def _checked(self, body: bytes) -> Json:
        answer = shape.decoded(body, what=_INSPECT, engine=self._engine.address)
        return shape.container(answer, what=_INSPECT, engine=self._engine.address)

    def _instance(self, answer: bytes, native: Mapping[str, Any]) -> ObservedInstance:
        inspect = self._checked(answer)
        try:
            return observed_instance(inspect, self._reach, keep_native=bool(native), native=native)
        except ValueError as exc:  # a time or a port number that is none
            raise shape.not_an_engine(_INSPECT, self._engine.address) from exc

    def _inspect_all(
        self, wanted: Mapping[str, Mapping[str, Any]], deadline: Deadline
    ) -> dict[str, ObservedInstance]:
        """Inspect with bounded concurrency; id → instance, without those that vanished."""
        seen: dict[str, ObservedInstance] = {}
        waiting = deque(wanted.items())

        def work() -> None:
            while True:
                try:
                    container_id, native = waiting.popleft()
                except IndexError:
                    return
                try:
                    answer = self._ask(container_id, deadline)
                except NotFoundError:
                    continue
                make = partial(self._instance, answer, native)
                seen[container_id] = self._remembered.instance(container_id, answer, native, make)

        self._side_by_side(work, len(wanted), deadline, give_up=waiting.clear)
        return seen

    def _side_by_side(
        self,
        work: Callable[[], None],
        size: int,
        deadline: Deadline,
        *,
        give_up: Callable[[], None],
    ) -> None:
        """Run `work` on as many threads as there is work for; raise what the first one did."""
        workers = min(self._context.concurrency, size)
        if workers <= 1:
            work()
            return
        pool = self._threads()
        futures: list[Future[None]] = [pool.submit(work) for _ in range(workers)]
        finished, unfinished = wait(futures, timeout=deadline.left + 0.5)
        failed = next((f for f in finished if f.exception() is not None), None)
        if failed is not None or unfinished:
            give_up()
            for future in unfinished:
                future.cancel()
        if failed is not None:
            failed.result()
        if unfinished:
            raise DeadlineExceededError(
                f"inspect containers: {self._engine.address} did not answer in time"
            )

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._context.concurrency, thread_name_prefix="uici-docker"
                )
            return self._pool

    # ── primitives ──────────────────────────────────────────────────────────────

    def primitives(self) -> Mapping[str, Primitive]:
        """The verbs of Docker."""
        return PRIMITIVES

    def refusal(self, service: Service, primitive: str) -> str | None:
        """For want of a secret: see `infrastructure.universal_interface.Choosy`."""
        return secret_env.refusal(service, primitive, _NEEDING_ENV, self._context.resolve_secret)

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """Look up, refuse what is protected, then act."""
        handler, mutates, arguments = _lookup(call)
        strange = sorted(set(call.arguments) - set(arguments))
        if strange:
            raise PermanentError(
                f"{call.primitive} takes no {', '.join(strange)}; it takes"
                f" {', '.join(arguments) or 'nothing'}"
            )
        deadline = Deadline(timeout)
        job = self._prepare(service, call, deadline)
        settled: tuple[str, ...] = ()
        if mutates:
            self._refuse_protected(job)
            if job.leftovers:
                settled = replace_container.settle(job)
                job = self._prepare(service, call, deadline)
                self._refuse_protected(job)
        result = handler(job)
        if settled:
            result = replace(result, changed=True, native_ids=settled + result.native_ids)
        log.debug(
            "docker_primitive",
            target=service.target,
            primitive=call.primitive,
            changed=result.changed,
        )
        return result

    def _prepare(self, service: Service, call: PrimitiveCall, deadline: Deadline) -> Job:
        declared = self._declared
        roster = self._roster(deadline, declared, frozenset({service.metadata.name}))
        members = self._members(roster, service)
        names = {entry.id: entry.name for entry in members.all}
        return Job(
            service=service,
            call=call,
            mutates=PRIMITIVES[call.primitive].mutates,
            members=members,
            containers=self._containers(_chosen(service, members, call.instance), deadline),
            leftovers=self._containers(members.leftovers, deadline),
            names=roster.names,
            owns=partial(self._owns, service, declared),
            deadline=deadline,
            # Not told what is declared: then anything may be.
            declared=declared is None or service.metadata.name in declared,
            tools=Toolbox(
                open=lambda within: self._engine.open(within, names),
                resolve_secret=self._context.resolve_secret,
                concurrency=self._context.concurrency,
                pull=self._pull,
            ),
        )

    def _containers(self, entries: Iterable[Listed], deadline: Deadline) -> tuple[Container, ...]:
        found = (self._inspect(entry.id, deadline) for entry in entries)
        return tuple(Container(inspect) for inspect in found if inspect is not None)

    def _owns(self, service: Service, declared: frozenset[str] | None, entry: Listed) -> bool:
        asked = (service.metadata.name,)
        roster = Roster(self.environment, (entry,), declared=declared, asked=asked)
        return bool(self._members(roster, service).all)

    def _refuse_protected(self, job: Job) -> None:
        """Layer 5 of self-exclusion, for the whole target, before anything changes."""
        name = job.service.metadata.name
        objects = [entry.native for entry in job.members.all]
        # What was inspected may have been renamed since it was listed.
        objects += [container.native for container in (*job.containers, *job.leftovers)]
        planned = capacity.planned_names(job) if job.call.primitive in _NAMING else ()
        objects += [NativeObject("container", "", new) for new in (name, *planned)]
        if job.call.primitive in _NAMING:
            objects += self._joined(job)
        self._context.identity.refuse(objects, action=job.call.primitive)

    def _joined(self, job: Job) -> Iterator[NativeObject]:
        """Containers whose namespaces or volumes the new one would share: it could reach them."""
        for reference in joined_containers(job.service.spec.native):
            yield NativeObject("container", "", reference)
            found = self._inspect(reference, job.deadline)
            if found is not None:
                yield Container(found).native


def _lookup(call: PrimitiveCall) -> tuple[Handler, bool, tuple[str, ...]]:
    try:
        return _TABLE[call.primitive]
    except KeyError:
        raise PermanentError(
            f"docker has no primitive {call.primitive}; it has {', '.join(sorted(_TABLE))}"
        ) from None


def _chosen(service: Service, members: Members, instance: str | None) -> tuple[Listed, ...]:
    """The containers that a call is about."""
    if instance is None:
        return members.visible
    found = tuple(entry for entry in members.all if entry.id == instance)
    if not found:
        raise NotFoundError(f"{service.target} has no such container any more: observe again")
    return found
