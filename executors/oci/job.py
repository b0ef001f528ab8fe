"""One primitive call with everything that was looked up for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from executors import secret_env
from executors.deadline import Deadline
from executors.oci.answers import ContainerInstance, Instance, Pool
from executors.oci.observe import Lists, Observer
from executors.oci.session import Cloud, read_each
from executors.oci.settings import AnyBinding, ContainerInstanceBinding, LogSource
from executors.oci.spec import Replica
from executors.oci.work_requests import Before, Waiting
from infrastructure.errors import NotFoundError, PermanentError
from infrastructure.observed import NativeObject
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.quantities import parse_cpu, parse_memory
from infrastructure.service import Service

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Tools:
    """What does not change from call to call. `interval`: seconds between two looks."""

    cloud: Cloud
    observer: Observer
    resolve_secret: Callable[[str], str]
    concurrency: int
    interval: float
    compartment: str  # where new things are made


@dataclass(frozen=True, slots=True)
class Job:
    """One primitive call.

    `instances`, `pools` and `replicas_found` are what it is about; only those of the
    service's own kind are filled. `leftovers` are successors whose making broke off.
    `objects` are all native objects of the target, for self-exclusion.
    """

    service: Service
    binding: AnyBinding
    call: PrimitiveCall
    deadline: Deadline
    tools: Tools
    lists: Lists
    instances: tuple[Instance, ...] = ()
    pools: tuple[Pool, ...] = ()
    found: tuple[Replica, ...] = ()
    leftovers: tuple[ContainerInstance, ...] = ()
    objects: tuple[NativeObject, ...] = ()
    count: int = 0  # instances of the whole target, whichever the call is about

    @property
    def what(self) -> str:
        """The action and its object, for messages."""
        return f"{self.call.primitive} {self.service.target}"

    @property
    def cloud(self) -> Cloud:
        """Oracle Cloud."""
        return self.tools.cloud

    @property
    def waiting(self) -> Waiting:
        """Waiting within this call's time for what a change leads to."""
        return Waiting(self.tools.cloud, self.deadline, self.tools.interval)

    @property
    def watching(self) -> Waiting:
        """The same where nothing was changed."""
        return Waiting(self.tools.cloud, self.deadline, self.tools.interval, Before.NOTHING)

    @property
    def containers_binding(self) -> ContainerInstanceBinding:
        """The binding, in the procedures of container instances."""
        if not isinstance(self.binding, ContainerInstanceBinding):
            raise PermanentError(f"{self.what}: it is no container instance")
        return self.binding

    @property
    def compartment(self) -> str:
        """Where this service's new things are made."""
        return self.binding.compartment or self.tools.compartment

    @property
    def log_source(self) -> LogSource | None:
        """Where the Logging service has its lines."""
        return self.binding.logs

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument, with None read as "not given"."""
        value = self.call.arguments.get(name)
        return default if value is None else value

    def require(self, items: Sequence[T]) -> Sequence[T]:
        """The things that a call is about.

        Raises:
            PermanentError: there is none, with the way out.
            NotFoundError: the one that was named is gone.
        """
        if items:
            return items
        if self.call.instance is not None:
            raise NotFoundError(f"{self.what}: that instance is gone: observe again")
        raise PermanentError(f"{self.what}: it has no {self.binding.kind}; create it first")

    def read_each(self, items: Sequence[T], act: Callable[[T], R]) -> list[R]:
        """Side by side; the first failure is raised."""
        return read_each(items, act, concurrency=self.tools.concurrency)

    def replicas(self) -> int:
        """The argument `replicas`."""
        value = self.argument("replicas")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise PermanentError(f"{self.what}: `replicas` has to be a number from 0")
        return value

    def limits(self) -> tuple[int | None, Decimal | None]:
        """The arguments `memory` (bytes) and `cpu` (cores); None: kept as it is."""
        memory, cpu = self.argument("memory"), self.argument("cpu")
        try:
            return (
                None if memory is None else parse_memory(memory),
                None if cpu is None else parse_cpu(cpu),
            )
        except ValueError as exc:
            raise PermanentError(f"{self.what}: {exc}") from exc

    def desired_env(self) -> dict[str, str]:
        """The declared environment with secrets resolved."""
        return secret_env.resolved(self.service, self.tools.resolve_secret)


Handler = Callable[[Job], PrimitiveResult]
