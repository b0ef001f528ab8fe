"""An engine in memory that remembers what it was asked to do, and can be made to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from infrastructure.errors import UiciError
from infrastructure.observed import (
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ObservedSpec,
)
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service


@dataclass
class RecordedEngine:
    """Every primitive succeeds, unless `failures` has an error for it.

    `done` is the state of this little world: what was carried out, in order. `spend` is
    called before each primitive, for tests about time.
    """

    instances: tuple[ObservedInstance, ...] = ()
    results: Mapping[str, PrimitiveResult] = field(default_factory=dict)
    failures: dict[tuple[str, str | None], UiciError] = field(default_factory=dict)
    spend: Callable[[], None] = lambda: None
    done: list[PrimitiveCall] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        self.timeouts.append(timeout)
        return ObservedService(service.target, self.instances)

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        self.timeouts.append(timeout)
        self.spend()
        error = self.failures.get((call.primitive, call.instance))
        if error is not None:
            raise error
        self.done.append(call)
        ids = (call.instance or f"{service.metadata.name}-all",)
        return self.results.get(call.primitive, PrimitiveResult(changed=True, native_ids=ids))


def instance(name: str, **fields: object) -> ObservedInstance:
    """A running instance of `shop:1`; keywords are fields of ObservedInstance."""
    spec = ObservedSpec(
        image="shop:1", env={"LOG_LEVEL": "info"}, memory=256 * 1024**2, cpu=Decimal("0.5")
    )
    native = NativeObject("container", f"id-of-{name}", name)
    defaults: dict[str, object] = {"state": InstanceState.RUNNING, "spec": spec}
    return ObservedInstance(native, **(defaults | fields))  # type: ignore[arg-type]  # keywords of a test
