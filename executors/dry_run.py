"""A dry run is an executor that wraps another: it looks, and never changes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from executors.contract import Executor, Primitive
from infrastructure.errors import PermanentError
from infrastructure.identity import AgentIdentity
from infrastructure.observed import EngineSnapshot, ObservedService
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service


class DryRunExecutor:
    """Reads pass through; a mutating primitive says what would be called.

    Args:
        inner: the executor that would do it.
        identity: with it, what `inner` would refuse as the agent's own is refused here,
            too, so that a dry run does not promise what a real run denies.
    """

    def __init__(self, inner: Executor, *, identity: AgentIdentity | None = None) -> None:
        self.environment = inner.environment
        self._inner = inner
        self._identity = identity

    def declare(self, names: frozenset[str]) -> None:
        """Passed through."""
        self._inner.declare(names)

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        """Passed through."""
        return self._inner.observe(services, all_services=all_services, timeout=timeout)

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        """Passed through."""
        return self._inner.look(service, timeout=timeout)

    def primitives(self) -> Mapping[str, Primitive]:
        """Passed through."""
        return self._inner.primitives()

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """Reads pass through; of a change only the announcement comes back.

        Returns:
            `changed` True, the ids of the instances it would be about, and as output
            `{"would_call": …, "arguments": …, "instances": [names]}`.
        """
        primitive = self._inner.primitives().get(call.primitive)
        if primitive is None:
            raise PermanentError(f"{self.environment} has no primitive {call.primitive}")
        if not primitive.mutates:
            return self._inner.call(service, call, timeout=timeout)
        seen = self._inner.look(service, timeout=timeout)
        natives = [instance.native for instance in seen.instances]
        if self._identity is not None:
            keepers = [seen.workload.native] if seen.workload is not None else []
            self._identity.refuse((*natives, *keepers), action=call.primitive)
        chosen = [n for n in natives if call.instance in (None, n.id)]
        return PrimitiveResult(
            changed=True,
            native_ids=tuple(native.id for native in chosen),
            output={
                "would_call": call.primitive,
                "arguments": dict(call.arguments),
                "instances": [native.name for native in chosen],
            },
        )

    def check(self, *, timeout: float) -> str:
        """Passed through."""
        return self._inner.check(timeout=timeout)

    def close(self) -> None:
        """Passed through."""
        self._inner.close()
