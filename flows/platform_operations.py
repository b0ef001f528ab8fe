"""The `platform` primitives: what UICI itself does, the same in every environment.

Probing a health endpoint, asking Prometheus, telling dependencies from desired state,
telling people through Alertmanager. How each of them is reached is handed in, so that
this module knows no protocol. Neighbours: `infrastructure.universal_interface` calls it;
`monitoring` has the functions that it is made from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executors.contract import Primitive
from executors.log_lines import after_time, matching_lines
from infrastructure.errors import DeadlineExceededError, PermanentError
from infrastructure.observed import ObservedService, ProbeReading, Reading
from infrastructure.operations import ESCALATION_ALERT, PrimitiveCall, PrimitiveResult
from infrastructure.quantities import parse_duration
from infrastructure.service import Service

if TYPE_CHECKING:  # its models are made when stored logs are asked for, not by each command
    from monitoring.loki import LogLine, LogQuery

# What a filter by level may have to read through to find `lines` lines of that level.
_MANY_LINES = 5000
# Arguments without which a primitive does what it does by itself.
_OPTIONAL = {"stored_logs": frozenset({"lines", "since", "level", "filter", "source"})}


@dataclass(frozen=True, slots=True)
class Escalation:
    """An alert for people: its labels tell it from others, so a repetition is the same one."""

    environment: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the platform's primitives are made from. The last argument is always seconds.

    All of them raise errors of `infrastructure.errors` only, and keep to their time.

    Attributes:
        look: the target's instances now.
        probe: one reading for each instance, by `spec.health.http`, which is declared.
        query: (environment, PromQL) → JSON-able data.
        post_alert: hands an escalation to the environment's Alertmanagers.
        redact: cuts secrets out of a text that leaves the process.
        stored_logs: (environment, query, seconds) → lines, oldest first, of where logs are kept.
    """

    look: Callable[[Service, float], ObservedService]
    probe: Callable[[Service, ObservedService, float], Sequence[ProbeReading]]
    query: Callable[[str, str, float], Any]
    post_alert: Callable[[Escalation, float], None]
    redact: Callable[[str], str]
    stored_logs: Callable[[str, LogQuery, float], Sequence[LogLine]]


class PlatformOperations:
    """A PrimitiveProvider. As safe to use from several threads as its collaborators are."""

    def __init__(self, collaborators: Collaborators, services: Mapping[str, Service]) -> None:
        """Call nothing yet. `services` is desired state by target."""
        self._with = collaborators
        self._services = services
        self._handlers: Mapping[str, Callable[[Service, PrimitiveCall, float], PrimitiveResult]] = {
            "http_probe": self._http_probe,
            "query_metrics": self._query_metrics,
            "describe_dependencies": self._describe_dependencies,
            "escalate": self._escalate,
            "stored_logs": self._stored_logs,
        }

    @staticmethod
    def primitives() -> Mapping[str, Primitive]:
        """The verbs by name, for checking translations."""
        verbs = (
            Primitive("http_probe", mutates=False, arguments=()),
            Primitive("query_metrics", mutates=False, arguments=("query",)),
            Primitive("describe_dependencies", mutates=False, arguments=()),
            Primitive("escalate", mutates=False, arguments=("summary", "severity")),
            Primitive(
                "stored_logs",
                mutates=False,
                arguments=("lines", "since", "level", "filter", "source"),
            ),
        )
        return {verb.name: verb for verb in verbs}

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """Carry out one primitive for one target, within `timeout` seconds.

        Raises:
            PermanentError: no such primitive, or a missing or unknown argument.
            UiciError: what the collaborators raise.
        """
        primitive = self.primitives().get(call.primitive)
        if primitive is None:
            raise PermanentError(f"the platform has no primitive {call.primitive}")
        needed = set(primitive.arguments) - _OPTIONAL.get(call.primitive, frozenset())
        if not needed <= set(call.arguments) <= set(primitive.arguments):
            takes = ", ".join(primitive.arguments) or "no arguments"
            raise PermanentError(f"primitive {call.primitive} takes {takes}")
        return self._handlers[call.primitive](service, call, timeout)

    def _http_probe(self, service: Service, _: PrimitiveCall, timeout: float) -> PrimitiveResult:
        if service.spec.health.http is None:
            raise PermanentError(f"{service.target} declares no health.http; nothing to probe")
        end = time.monotonic() + timeout
        observed = self._with.look(service, timeout)
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"{service.target}: no time was left to probe it")
        readings = self._with.probe(service, observed, left)
        output = {
            "reading": _together(readings).value,
            "probes": [
                {"instance": one.instance, "reading": one.reading.value, "detail": one.detail}
                for one in readings
            ],
        }
        return PrimitiveResult(changed=False, output=output)

    def _query_metrics(
        self, service: Service, call: PrimitiveCall, timeout: float
    ) -> PrimitiveResult:
        query = str(call.arguments["query"])
        data = self._with.query(service.metadata.environment, query, timeout)
        return PrimitiveResult(changed=False, output=data)

    def _describe_dependencies(
        self, service: Service, _: PrimitiveCall, __: float
    ) -> PrimitiveResult:
        needed_by = [
            other.target
            for other in self._services.values()
            if service.target in other.dependencies
        ]
        output = {"needs": list(service.dependencies), "needed_by": sorted(needed_by)}
        return PrimitiveResult(changed=False, output=output)

    def _stored_logs(
        self, service: Service, call: PrimitiveCall, timeout: float
    ) -> PrimitiveResult:
        """What `get_logs` answers, out of Loki: each line with its time and instance."""
        from monitoring.loki import LogQuery  # noqa: PLC0415 - see above

        asked = call.arguments
        lines, level = int(asked.get("lines", 100)), asked.get("level")
        since, source = asked.get("since"), asked.get("source", "all")
        query = LogQuery(
            service=service.metadata.name,
            lines=_MANY_LINES if level else lines,
            since=parse_duration(since) if since is not None else None,
            contains=asked.get("filter"),
            stream=None if source == "all" else source,
        )
        found = self._with.stored_logs(service.metadata.environment, query, timeout)
        instances = {line.instance for line in found}
        kept: list[tuple[str, str]] = []
        for instance in sorted(instances):  # a level carries over to the lines of one instance only
            prefix = f"[{instance}] " if len(instances) > 1 else ""
            written = [f"{line.moment} {line.text}" for line in found if line.instance == instance]
            for line in matching_lines(written, level=level, wanted=None, said=after_time):
                moment, _, text = line.partition(" ")
                kept.append((moment, f"{moment} {prefix}{text}"))
        kept.sort(key=lambda item: item[0])
        return PrimitiveResult(changed=False, output="\n".join(line for _, line in kept[-lines:]))

    def _escalate(self, service: Service, call: PrimitiveCall, timeout: float) -> PrimitiveResult:
        summary = " ".join(self._with.redact(str(call.arguments["summary"])).split())
        labels = {
            "alertname": ESCALATION_ALERT,
            "service": service.metadata.name,
            "environment": service.metadata.environment,
            "target": service.target,
            "severity": str(call.arguments["severity"]),
        }
        escalation = Escalation(service.metadata.environment, labels, {"summary": summary})
        self._with.post_alert(escalation, timeout)
        return PrimitiveResult(changed=True, output={"alert": ESCALATION_ALERT, "labels": labels})


def _together(readings: Sequence[ProbeReading]) -> Reading:
    """One reading for the service: a failure outweighs what is unknown."""
    found = {reading.reading for reading in readings}
    if Reading.FAILED in found:
        return Reading.FAILED
    return Reading.PASSED if found == {Reading.PASSED} else Reading.UNKNOWN
