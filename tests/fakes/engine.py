"""An engine in memory: an Executor held to the same contract suite as the real ones.

Tests bring drift about by changing `containers` (or with `kill`, `remove` …) and look at
`containers` afterwards. `calls` has every mutating primitive that self-exclusion let pass.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from executors import secret_env
from executors.contract import Primitive
from executors.docker.executor import PRIMITIVES
from executors.docker.membership import (
    ENV_LABEL,
    SERVICE_LABEL,
    TARGET_LABEL,
    Listed,
    Members,
    Roster,
    names_for,
    replica_index,
)
from executors.docker.spec import noted_env
from executors.env_note import env_words, managed_in, secret_in
from infrastructure.errors import (
    DeadlineExceededError,
    NotFoundError,
    PermanentError,
    UiciError,
)
from infrastructure.identity import AgentIdentity
from infrastructure.observed import (
    EngineHealth,
    EngineSnapshot,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ObservedSpec,
)
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import Service

NOBODY = AgentIdentity(agent="nobody", names=frozenset({"nobody-agent"}))
# A container with this command can't be started, as with a program that does not exist.
BROKEN_COMMAND = ("/no/such/program",)
_PREVIOUS = "uici.previous-image"


@dataclass
class FakeContainer:
    """One container. Tests change it as they like."""

    id: str
    name: str
    image: str
    labels: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    memory: int = 0
    cpu: Decimal = Decimal(0)
    ports: tuple[str, ...] = ()
    native: dict[str, Any] = field(default_factory=dict)
    state: InstanceState = InstanceState.RUNNING
    health: EngineHealth = EngineHealth.NONE
    exit_code: int | None = None
    oom_killed: bool = False
    restart_count: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = ""
    address: str | None = None
    published: dict[int, tuple[str, int]] = field(default_factory=dict)
    logs: str = ""

    def run(self) -> None:
        """Start, if its program exists."""
        if self.command == BROKEN_COMMAND:
            raise PermanentError(f"start {self.name}: no such program")
        if self.state is not InstanceState.RUNNING:
            self.started_at = datetime.now(UTC)
        self.state, self.exit_code = InstanceState.RUNNING, None

    def end(self, exit_code: int = 0) -> None:
        """End."""
        self.state, self.exit_code = InstanceState.STOPPED, exit_code
        self.finished_at = datetime.now(UTC)

    @property
    def listed(self) -> Listed:
        return Listed(self.id, self.name, dict(self.labels))

    @property
    def native_object(self) -> NativeObject:
        return self.listed.native


@dataclass
class _Task:
    service: Service
    call: PrimitiveCall
    members: Members
    containers: list[FakeContainer]

    def argument(self, name: str, default: Any = None) -> Any:
        value = self.call.arguments.get(name)
        return default if value is None else value


class FakeEngine:
    """An executor over `containers`.

    Attributes:
        images: references that can be run; None: any.
        failures: primitive → error that is raised instead of doing it.
        broken: an error that everything raises, observation included.
        hangs: nothing answers: every call lasts its whole time-out.
    """

    def __init__(
        self,
        environment: str = "local-docker",
        *,
        identity: AgentIdentity = NOBODY,
        resolve_secret: Callable[[str], str] = lambda reference: f"value of {reference}",
    ) -> None:
        self.environment = environment
        self.identity = identity
        self.resolve_secret = resolve_secret
        self.containers: dict[str, FakeContainer] = {}
        self.images: set[str] | None = None
        self.failures: dict[str, UiciError] = {}
        self.broken: UiciError | None = None
        self.hangs = False
        self.calls: list[tuple[str, PrimitiveCall]] = []
        self.closed = False
        self._next_id = 0
        self._lock = threading.RLock()
        self._declared: frozenset[str] | None = None

    # ── what tests do to it ─────────────────────────────────────────────────────

    def run(self, service: Service) -> tuple[FakeContainer, ...]:
        """The service's instances as declared, running."""
        names = names_for(
            service.metadata.name,
            replicas=service.spec.replicas,
            count=service.spec.replicas,
            taken={c.name for c in self.containers.values()},
        )
        return tuple(self._make(service, name) for name in names)

    def add(self, name: str, *, image: str = "foreign:1", **values: Any) -> FakeContainer:
        """A container that somebody else made."""
        with self._lock:
            self._next_id += 1
            container = FakeContainer(
                f"{self._next_id:064x}", name, image, started_at=datetime.now(UTC), **values
            )
            self.containers[container.id] = container
            return container

    def named(self, name: str) -> FakeContainer:
        return next(c for c in self.containers.values() if c.name == name)

    def kill(self, name: str) -> None:
        self.named(name).end(137)

    def remove(self, name: str) -> None:
        del self.containers[self.named(name).id]

    # ── Executor ────────────────────────────────────────────────────────────────

    def declare(self, names: frozenset[str]) -> None:
        with self._lock:
            self._declared = names

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        with self._lock:
            self._answer(timeout)
            names = frozenset(s.metadata.name for s in services)
            roster = self._roster(names)
            return EngineSnapshot(
                self.environment,
                {
                    s.target: ObservedService(
                        s.target,
                        tuple(
                            _observed(self.containers[e.id], keep_native=bool(s.spec.native))
                            for e in roster.members(s.metadata.name).visible
                        ),
                    )
                    for s in services
                },
                roster.orphans(names) if all_services else (),
            )

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        seen = self.observe((service,), all_services=False, timeout=timeout)
        return seen.services[service.target]

    def primitives(self) -> Mapping[str, Primitive]:
        return PRIMITIVES

    def refusal(self, service: Service, primitive: str) -> str | None:
        return secret_env.refusal(service, primitive, {"create", "recreate"}, self.resolve_secret)

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        primitive = PRIMITIVES.get(call.primitive)
        if primitive is None:
            raise PermanentError(f"fake has no primitive {call.primitive}")
        strange = set(call.arguments) - set(primitive.arguments)
        if strange:
            raise PermanentError(f"{call.primitive} takes no {', '.join(sorted(strange))}")
        with self._lock:
            self._answer(timeout)
            task = self._task(service, call)
            if primitive.mutates:
                self._refuse_protected(task)
                self.calls.append((service.target, call))
            if call.primitive in self.failures:
                raise self.failures[call.primitive]
            handler: Callable[[_Task], PrimitiveResult] = getattr(self, f"_{call.primitive}")
            return handler(task)

    def check(self, *, timeout: float) -> str:
        self._answer(timeout)
        return "an engine in memory"

    def close(self) -> None:
        self.closed = True

    # ── how ─────────────────────────────────────────────────────────────────────

    def _answer(self, timeout: float) -> None:
        if self.hangs:
            time.sleep(timeout)
            raise DeadlineExceededError("the fake engine does not answer")
        if self.broken is not None:
            raise self.broken

    def _roster(self, asked: frozenset[str]) -> Roster:
        entries = [c.listed for c in self.containers.values()]
        return Roster(self.environment, entries, declared=self._declared, asked=asked)

    def _task(self, service: Service, call: PrimitiveCall) -> _Task:
        name = service.metadata.name
        members = self._roster(frozenset({name})).members(name)
        chosen = [e for e in members.visible if call.instance in (None, e.id)]
        if call.instance is not None and not chosen:
            raise NotFoundError(f"{service.target} has no such container any more")
        return _Task(service, call, members, [self.containers[e.id] for e in chosen])

    def _refuse_protected(self, task: _Task) -> None:
        objects = [e.native for e in task.members.all]
        objects.append(NativeObject("container", "", task.service.metadata.name))
        self.identity.refuse(objects, action=task.call.primitive)

    def _make(
        self, service: Service, name: str, *, image: str | None = None, **extra: str
    ) -> FakeContainer:
        spec = service.spec
        env = secret_env.resolved(service, self.resolve_secret)
        container = self.add(
            name,
            image=image or spec.image,
            labels={
                TARGET_LABEL: service.target,
                SERVICE_LABEL: service.metadata.name,
                ENV_LABEL: " ".join(env_words(spec.env)),
            },
            command=spec.command,
            env={**env, **extra},
            memory=spec.resources.memory or 0,
            cpu=spec.resources.cpu or Decimal(0),
            ports=tuple(str(port) for port in spec.ports),
            native=dict(spec.native),
            state=InstanceState.PENDING,
        )
        try:
            container.run()
        except PermanentError:
            del self.containers[container.id]
            raise
        return container

    def _require_image(self, task: _Task, image: str) -> None:
        if self.images is not None and image not in self.images:
            raise PermanentError(f"{task.call.primitive} {task.service.target}: no image {image}")

    @staticmethod
    def _require_some(task: _Task) -> list[FakeContainer]:
        if not task.containers:
            raise PermanentError(f"{task.call.primitive} {task.service.target}: no container")
        return task.containers

    # ── primitives ──────────────────────────────────────────────────────────────

    def _inspect(self, task: _Task) -> PrimitiveResult:
        facts = [{"instance": c.name, "state": c.state.value} for c in task.containers]
        return PrimitiveResult(False, _ids(task.containers), {"instances": facts})

    def _logs(self, task: _Task) -> PrimitiveResult:
        text = "\n".join(c.logs for c in self._require_some(task) if c.logs)
        return PrimitiveResult(False, _ids(task.containers), text)

    def _stats(self, task: _Task) -> PrimitiveResult:
        facts = [{"instance": c.name, "memory_limit_bytes": c.memory} for c in task.containers]
        return PrimitiveResult(False, _ids(task.containers), {"instances": facts})

    def _events(self, task: _Task) -> PrimitiveResult:
        return PrimitiveResult(False, _ids(task.containers), {"events": []})

    def _wait_healthy(self, task: _Task) -> PrimitiveResult:
        for container in self._require_some(task):
            if container.state is not InstanceState.RUNNING:
                raise PermanentError(f"{container.name} ended by itself")
            if container.health in (EngineHealth.UNHEALTHY, EngineHealth.STARTING):
                raise DeadlineExceededError(f"{container.name} is not up in time")
        return PrimitiveResult(False, _ids(task.containers))

    def _remove(self, task: _Task) -> PrimitiveResult:
        target, name = task.service.target, task.service.metadata.name
        if self._declared is None or name in self._declared:
            raise PermanentError(f"remove {target}: desired state has it")
        if any(c.labels.get(TARGET_LABEL) != target for c in task.containers):
            raise PermanentError(f"remove {target}: UICI did not make all of it")
        for container in task.containers:
            del self.containers[container.id]
        return PrimitiveResult(bool(task.containers), _ids(task.containers))

    def _start(self, task: _Task) -> PrimitiveResult:
        wanted = [c for c in self._require_some(task) if c.state is not InstanceState.RUNNING]
        for container in wanted:
            container.run()
        return _done(wanted)

    def _stop(self, task: _Task) -> PrimitiveResult:
        asleep = (InstanceState.STOPPED, InstanceState.PENDING)
        wanted = [c for c in self._require_some(task) if c.state not in asleep]
        for container in wanted:
            container.end()
        return _done(wanted)

    def _restart(self, task: _Task) -> PrimitiveResult:
        for container in self._require_some(task):
            container.end()
            container.run()
            container.health = EngineHealth.NONE
        return _done(task.containers)

    def _pause(self, task: _Task) -> PrimitiveResult:
        wanted = [c for c in self._require_some(task) if c.state is InstanceState.RUNNING]
        if not wanted and all(c.state is not InstanceState.PAUSED for c in task.containers):
            raise PermanentError(f"pause {task.service.target}: none of its containers runs")
        for container in wanted:
            container.state = InstanceState.PAUSED
        return _done(wanted)

    def _resume(self, task: _Task) -> PrimitiveResult:
        wanted = [c for c in self._require_some(task) if c.state is InstanceState.PAUSED]
        for container in wanted:
            container.state = InstanceState.RUNNING
        return _done(wanted)

    def _create(self, task: _Task) -> PrimitiveResult:
        return self._add_up_to(task, task.service.spec.replicas)

    def _scale(self, task: _Task) -> PrimitiveResult:
        replicas = task.argument("replicas")
        if not isinstance(replicas, int) or replicas < 0:
            raise PermanentError("scale: `replicas` has to be a number from 0")
        surplus = len(task.containers) - replicas
        if surplus <= 0:
            return self._add_up_to(task, replicas)
        order = sorted(
            task.containers, key=lambda c: (TARGET_LABEL not in c.labels, -replica_index(c.name))
        )
        for container in order[:surplus]:
            del self.containers[container.id]
        return _done(order[:surplus])

    def _add_up_to(self, task: _Task, replicas: int) -> PrimitiveResult:
        names = names_for(
            task.service.metadata.name,
            replicas=replicas,
            count=max(0, replicas - len(task.members.instances)),
            taken={c.name for c in self.containers.values()},
        )
        if names:
            self._require_image(task, task.service.spec.image)
        return _done([self._make(task.service, name) for name in names])

    def _update_resources(self, task: _Task) -> PrimitiveResult:
        memory, cpu = task.argument("memory"), task.argument("cpu")
        wanted = []
        for container in self._require_some(task):
            new = replace(
                container,
                memory=container.memory if memory is None else parse_memory(memory),
                cpu=container.cpu if cpu is None else parse_cpu(cpu),
            )
            if (new.memory, new.cpu) != (container.memory, container.cpu):
                self.containers[container.id] = new
                wanted.append(new)
        return _done(wanted)

    def _recreate(self, task: _Task) -> PrimitiveResult:
        image, env = task.argument("image"), task.argument("env", {})
        self._require_some(task)
        self._require_image(task, image or task.service.spec.image)
        wanted = task.containers
        if image or env:
            wanted = [
                c
                for c in wanted
                if c.state is not InstanceState.RUNNING
                or (image and c.image != image)
                or any(c.env.get(k) != str(v) for k, v in env.items())
            ]
        touched: list[FakeContainer] = []
        for old in wanted:
            touched += [old, self._put_in_place(task, old, image, env)]
        return _done(touched)

    def _rollback(self, task: _Task) -> PrimitiveResult:
        wanted = [c for c in self._require_some(task) if _PREVIOUS in c.labels]
        if not wanted:
            raise PermanentError(f"rollback {task.service.target}: no earlier image is known")
        touched: list[FakeContainer] = []
        for old in wanted:
            new = self._put_in_place(task, old, old.labels[_PREVIOUS], {})
            new.labels.pop(_PREVIOUS, None)
            touched += [old, new]
        return _done(touched)

    def _put_in_place(
        self, task: _Task, old: FakeContainer, image: str | None, env: Mapping[str, Any]
    ) -> FakeContainer:
        try:
            new = self._make(task.service, old.name, image=image)
        except PermanentError as exc:
            raise PermanentError(f"{exc}; {old.name} is as it was before") from exc
        gone = managed_in(noted_env(old.labels)) - managed_in(noted_env(new.labels))
        kept = {key: value for key, value in old.env.items() if key not in gone}
        new.env = {**kept, **new.env, **{k: str(v) for k, v in env.items()}}
        new.labels = {**old.labels, **new.labels}
        if new.image != old.image:
            new.labels[_PREVIOUS] = old.image
        del self.containers[old.id]
        return new

    def _exec(self, task: _Task) -> PrimitiveResult:
        running = [c for c in self._require_some(task) if c.state is InstanceState.RUNNING]
        if not running:
            raise PermanentError(f"exec {task.service.target}: none of its containers runs")
        argv = task.argument("argv", [])
        if not isinstance(argv, list | tuple) or not argv:
            raise PermanentError("exec: `argv` has to be a list of words")
        text = " ".join(argv[1:]) if argv[0] == "echo" else ""
        limit = task.argument("max_output_bytes", 1 << 20)
        output = {
            "instance": running[0].name,
            "exit_code": 0,
            "stdout": (text + "\n")[:limit],
            "stderr": "",
            "truncated": len(text) + 1 > limit,
        }
        return PrimitiveResult(True, (running[0].id,), output)


def _ids(containers: Sequence[FakeContainer]) -> tuple[str, ...]:
    return tuple(c.id for c in containers)


def _done(touched: Sequence[FakeContainer]) -> PrimitiveResult:
    return PrimitiveResult(changed=bool(touched), native_ids=_ids(touched))


def _observed(container: FakeContainer, *, keep_native: bool) -> ObservedInstance:
    return ObservedInstance(
        native=container.native_object,
        state=container.state,
        health=container.health,
        exit_code=container.exit_code,
        oom_killed=container.oom_killed,
        restart_count=container.restart_count,
        started_at=container.started_at,
        finished_at=container.finished_at,
        reason=container.reason,
        spec=ObservedSpec(
            image=container.image,
            command=container.command,
            env=dict(container.env),
            memory=container.memory,
            cpu=container.cpu,
            ports=container.ports,
            managed_env=managed_in(noted_env(container.labels)),
            secret_env=secret_in(noted_env(container.labels)),
        ),
        native_config=container.native if keep_native else {},
        address=container.address,
        published=dict(container.published),
    )
