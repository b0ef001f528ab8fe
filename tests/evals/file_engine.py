"""An executor whose every answer stands in an incident's file. Nothing can be changed in it.

Reads answer in the form of the real executors. Neighbours: `tests.evals.observation` (what is
seen), `tests.evals.world` (who uses it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from executors.contract import Executor, Primitive
from infrastructure.errors import PermanentError
from infrastructure.observed import (
    EngineSnapshot,
    InstanceState,
    ObservedInstance,
    ObservedService,
)
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.quantities import format_cpu
from infrastructure.service import Service
from infrastructure.universal_interface import Choosy
from tests.evals.incident_file import IncidentFile, Place, RepeatedLine, SeenService
from tests.evals.observation import INSTANCES, NOW


@dataclass
class FileEngine:
    """An executor whose every answer stands in the file. Nothing can be changed in it.

    What verbs there are, and for which service, the real executor of the environment says.
    """

    environment: str
    incident: IncidentFile
    snapshot: EngineSnapshot
    real: Executor
    changes: list[PrimitiveCall] = field(default_factory=list)

    def declare(self, names: frozenset[str]) -> None:
        """Known from the file."""

    def observe(
        self,
        services: Sequence[Service],  # noqa: ARG002 - the executor's signature
        *,
        all_services: bool,  # noqa: ARG002 - see above
        timeout: float,  # noqa: ARG002 - see above
    ) -> EngineSnapshot:
        """What the file says."""
        return self.snapshot

    def look(self, service: Service, *, timeout: float) -> ObservedService:  # noqa: ARG002 - see observe
        """What the file says."""
        return self.snapshot.services[service.target]

    def primitives(self) -> Mapping[str, Primitive]:
        """Those of the real executor."""
        return self.real.primitives()

    def refusal(self, service: Service, primitive: str) -> str | None:
        """What the real executor says."""
        return self.real.refusal(service, primitive) if isinstance(self.real, Choosy) else None

    def call(
        self,
        service: Service,
        call: PrimitiveCall,
        *,
        timeout: float,  # noqa: ARG002 - see observe
    ) -> PrimitiveResult:
        """A read; a change is written down and refused."""
        name = service.metadata.name
        seen = self.snapshot.services[service.target]
        match call.primitive:
            case "inspect":
                return _read({"instances": [_facts(i) for i in seen.instances]})
            case "logs":
                if not seen.instances:
                    raise PermanentError(f"{service.target} has no {INSTANCES[self._place]}")
                return _read("\n".join(_log(self.incident, name, call.arguments)))
            case "stats":
                return _read({"instances": list(_use(self.incident, name, seen))})
            case "events":
                return _read({"events": list(_events(self.incident, name, seen))})
        self.changes.append(call)
        raise PermanentError(f"{call.primitive}: the engine of an evaluation changes nothing")

    @property
    def _place(self) -> Place:
        return self.incident.environment

    def check(self, *, timeout: float) -> str:  # noqa: ARG002 - see observe
        """It is there."""
        return "an engine from a file"

    def close(self) -> None:
        """Nothing is open."""


# ── what reads answer, in the form of the real executors ────────────────────────


def _read(output: Any) -> PrimitiveResult:
    return PrimitiveResult(False, output=output)


def _log(file: IncidentFile, name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Newest last, each with its time, as engines give them."""
    lines: list[str] = []
    for entry in file.logs.get(name, ()):
        if isinstance(entry, RepeatedLine):
            lines += [entry.line.replace("{n}", str(n)) for n in range(1, entry.times + 1)]
        else:
            lines += entry.split("\n")
    wanted = arguments.get("filter")
    if wanted:
        lines = [line for line in lines if wanted in line]
    lines = lines[-int(arguments.get("lines") or 100) :]
    first = NOW - timedelta(seconds=5 + len(lines))
    return [
        f"{(first + timedelta(seconds=number)).isoformat(timespec='milliseconds')} {line}"
        for number, line in enumerate(lines)
    ]


def _use(file: IncidentFile, name: str, seen: ObservedService) -> Iterator[dict[str, Any]]:
    use = file.seen.get(name, SeenService()).use
    for instance in seen.instances:
        if instance.state is not InstanceState.RUNNING or use is None:
            continue
        limit = instance.spec.memory or 0
        yield {
            "instance": instance.native.name,
            "memory_bytes": use.memory,
            "memory_limit_bytes": limit,
            "memory_share": round(use.memory / limit, 3) if limit else None,
            "cpu_cores": float(use.cpu),
            "cpu_limit_cores": format_cpu(instance.spec.cpu or Decimal(0)),
        }


def _events(file: IncidentFile, name: str, seen: ObservedService) -> Iterator[dict[str, Any]]:
    first = seen.instances[0].native.name if seen.instances else name
    for event in sorted(file.events.get(name, ()), key=lambda event: event.ago, reverse=True):
        yield {
            "time": (NOW - event.ago).isoformat(timespec="milliseconds"),
            "action": event.action,
            "instance": event.instance or first,
            **({"message": event.message} if event.message else {}),
        }


def _facts(instance: ObservedInstance) -> dict[str, Any]:
    return {
        "instance": instance.native.name,
        "id": instance.native.id,
        "state": instance.state.value,
        "health": instance.health.value,
        "exit_code": instance.exit_code,
        "oom_killed": instance.oom_killed,
        "restart_count": instance.restart_count,
        "reason": instance.reason,
        "image": instance.spec.image,
        "env_names": sorted(instance.spec.env),
    }
