"""The executor contract: what every environment promises to the loop.

An executor is the only thing that talks to an engine. It knows nothing of incidents,
plans or policies; it observes, and it carries out primitives. Neighbours: the
translator (makes primitive calls from universal operations) and
`infrastructure.universal_interface` (drives both).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel

from infrastructure.errors import PermanentError
from infrastructure.observed import EngineSnapshot, ObservedService
from infrastructure.operations import PrimitiveCall, PrimitiveResult

if TYPE_CHECKING:
    from infrastructure.identity import AgentIdentity
    from infrastructure.service import Service


@dataclass(frozen=True, slots=True)
class Primitive:
    """One verb of an engine. `mutates` False: calling it never changes the world."""

    name: str
    mutates: bool
    arguments: tuple[str, ...]  # names it takes; the translator refuses others


class Executor(Protocol):
    """One environment's engine.

    Promises:

    * Observing never changes anything.
    * `call` with a mutating primitive first resolves the native objects it would touch
      and raises `ProtectedObjectError` if one is the agent or what it lives on. Nothing
      is changed then, not even the other objects of the target.
    * Calls are idempotent where the engine allows: asked for what already is, a
      primitive returns `changed=False`.
    * Errors are those of `infrastructure.errors`, and nothing of the SDK's gets out:
      `TemporaryError` (nothing changed, may be tried again), `PermanentError` (nothing
      changed, no use trying; its `TakenBackError`: as before again, after a while of being
      otherwise), `OutcomeUnknownError` (sent, result never seen).
    * Every call returns or raises within `timeout` seconds, plus one second.
    * Safe to use from several threads.
    """

    environment: str

    def declare(self, names: frozenset[str]) -> None:
        """Tell which services there are, so that each finds its own containers and no others.

        Told before a run looks. What `observe`, `look` and `call` were asked about is never
        taken for it: a run on one target must see the same as a run on all. Until it was
        told, a container that UICI did not make is nobody's replica because of a number at
        the end of its name: it may be a service of that name. The last call counts.

        Args:
            names: the names of all services that desired state declares in this
                environment, whichever of them the run is about.
        """
        ...

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        """List once, inspect with bounded concurrency.

        Args:
            services: the targets to look at, all of this environment.
            all_services: whether these are all that desired state declares here; only
                then can strays be told from targets that were not asked for.
            timeout: seconds.
        """
        ...

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        """One target, now: for verification and for what a primitive is about to touch."""
        ...

    def primitives(self) -> Mapping[str, Primitive]:
        """The verbs of this executor by name."""
        ...

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """Carry out one primitive on one target."""
        ...

    def check(self, *, timeout: float) -> str:
        """For `uici doctor`: one line about the engine. Raises if it can't be reached."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@runtime_checkable
class Authorised(Protocol):
    """An executor whose engine can be asked what the agent may do, without doing it."""

    def missing_rights(
        self, primitives: Collection[str], services: Sequence[Service] = (), *, timeout: float
    ) -> tuple[str, ...]:
        """What the agent may not do of all that observing and these primitives take.

        Args:
            primitives: names of those that enabled operations call.
            services: what desired state has here: what they are bound to takes rights.
            timeout: seconds.

        Returns:
            One short text a right, in the engine's words.
        """
        ...


@runtime_checkable
class Selective(Protocol):
    """An executor whose engines differ in the kinds of object that they have."""

    def unserved(self, services: Sequence[Service], *, timeout: float) -> tuple[str, ...]:
        """Kinds that this engine lacks, of all that the environment is about.

        Args:
            services: what desired state has here.
            timeout: seconds.

        Returns:
            One sentence each.
        """
        ...


@runtime_checkable
class SelfAware(Protocol):
    """An executor that can find out what the agent itself is to its engine."""

    def known_self(self, *, timeout: float) -> frozenset[str]:
        """Ids of this engine that are known to be the agent's. Empty: only its names are.

        Args:
            timeout: seconds.
        """
        ...


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """What an executor is made from.

    `resolve_secret` turns a reference of desired state (`env:X`) into its value, or
    raises PermanentError.
    """

    environment: str
    concurrency: int
    identity: AgentIdentity
    resolve_secret: Callable[[str], str]


class ExecutorModule(Protocol):
    """What a module `executors.<name>` has to have; nothing else registers it."""

    Connection: type[BaseModel]  # validates `connection` of environments.yml
    Binding: type[BaseModel]  # validates `spec.binding` of the services of desired state

    @staticmethod
    def connect(connection: Any, context: ExecutorContext) -> Executor:
        """Make an executor. Talks to nothing yet; imports the SDK only here."""
        ...


class Misfits(Protocol):
    """What a module `executors.<name>` may have beside, under the name `misfits`.

    For what a `Binding` alone can't tell: words of desired state that have no meaning for
    what the service is bound to.
    """

    def __call__(self, service: Service) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Each with its place below `spec` and one sentence. `spec.binding` is right."""
        ...


def load_misfits(name: str) -> Misfits | None:
    """The function of an environment's `executor`; None: it has none.

    Raises:
        PermanentError: there is no such executor.
    """
    found: Misfits | None = getattr(load_executor_module(name), "misfits", None)
    return found


class Claims(Protocol):
    """What a module `executors.<name>` may have beside, under the name `claims`.

    Two services of an environment that claim one object would undo each other's work. Where
    a service is always what it is called, there is nothing to claim.
    """

    def __call__(self, service: Service, connection: Any) -> Sequence[str]:
        """The native objects that a service is bound to, as people call them.

        Args:
            service: its binding has been validated.
            connection: of the environment, as the module's `Connection`.

        Raises:
            PermanentError: its binding does not fit the connection.
        """
        ...


def load_claims(name: str) -> Claims | None:
    """The function of an environment's `executor`; None: it has none.

    Raises:
        PermanentError: there is no such executor.
    """
    found: Claims | None = getattr(load_executor_module(name), "claims", None)
    return found


def load_executor_module(name: str) -> ExecutorModule:
    """The module of an environment's `executor`, imported now.

    Raises:
        PermanentError: there is no such executor.
    """
    path = f"executors.{name}"
    if importlib.util.find_spec(path) is None:
        raise PermanentError(f"no executor named {name}: expected a module {path}")
    module = importlib.import_module(path)
    missing = [n for n in ("Connection", "Binding", "connect") if not hasattr(module, n)]
    if missing:
        raise PermanentError(f"{path} is not an executor: it lacks {', '.join(missing)}")
    return module  # type: ignore[return-value]  # a module satisfies the protocol by its names
