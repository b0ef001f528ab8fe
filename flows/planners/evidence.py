"""What is known about an incident before anybody plans: collected, cleaned, redacted.

Deterministic: the same incident in the same world gives the same evidence. A read that
fails is a fact of its own and stops nothing. Everything here came from outside, so it
is data: control characters are gone, secrets are cut out, lengths are bounded.
Neighbours: `flows.observe` saw most of it already; `flows.plan` and the report use it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from flows.comparison.drift import Incident
from flows.observe import EnvironmentObservation, Observation
from flows.plan import Evidence
from infrastructure.config_models import ErrorPattern, EvidenceSettings
from infrastructure.observed import (
    Alert,
    AlertState,
    EngineHealth,
    InstanceState,
    ObservedInstance,
    ObservedService,
    Reading,
    Workload,
)
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.quantities import format_cpu, format_memory
from infrastructure.redaction import Redactor
from infrastructure.service import Service

RunRead = Callable[[OperationCall], OperationOutcome]

# What is looked at of a log before it is cut to `max_chars`: redaction and patterns take
# time that grows with the text, and the text's length is in the service's hands.
_RAW_FACTOR = 16
# Of a log that is too long, this share of what is kept is its beginning; errors end logs.
_HEAD_SHARE = 0.25
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC and other strings: titles, links
    r"|\x1b(?:[ -/]*[0-~])?"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")


def collect_evidence(
    incident: Incident,
    *,
    services: Mapping[str, Service],
    observation: Observation,
    run_read: RunRead,
    patterns: Sequence[ErrorPattern],
    redactor: Redactor,
    limits: EvidenceSettings,
) -> Evidence:
    """Logs of the root and some dependents, and facts about them, within the limits.

    Args:
        incident: what happened.
        services: desired state by target.
        observation: what this run saw; nothing is observed again.
        run_read: runs a read-only operation; a failure is in its outcome.
        patterns: error patterns, looked for in the logs.
        redactor: cuts secrets out.
        limits: how much.

    Returns:
        Evidence; its patterns are in the order of `patterns`.
    """
    collecting = _Collecting(incident, services, observation, run_read, redactor, limits)
    logs, log_facts = collecting.logs()
    found = tuple(
        pattern.name
        for pattern in patterns
        if any(re.search(pattern.regex, text, re.MULTILINE) for text in logs.values())
    )
    facts = tuple(
        dict.fromkeys(collecting.fact(line) for line in (*log_facts, *collecting.facts()))
    )
    if len(facts) > limits.facts:
        kept = limits.facts - 1
        facts = (*facts[:kept], f"{len(facts) - kept} more facts are left out")
    cut = {target: cut_middle(text, limits.max_chars) for target, text in logs.items()}
    return Evidence(logs=cut, patterns=found, facts=facts)


def clean(text: str) -> str:
    """Text without ANSI sequences, control and invisible characters; lines end with a newline."""
    text = _LINE_ENDS.sub("\n", _ANSI.sub("", text))
    if text.isascii():
        return _ASCII_UNSEEN.sub("", text)
    return "".join(
        char for char in text if char in "\n\t" or unicodedata.category(char) not in _UNSEEN
    )


_ASCII_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
# Control, format (zero width, direction marks), surrogate, private use.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co"})


def cut_middle(text: str, limit: int) -> str:
    """At most about `limit` characters: the beginning, a note of what was cut, the end."""
    if len(text) <= limit:
        return text
    head = text[: int(limit * _HEAD_SHARE)]
    tail = text[len(text) - (limit - len(head)) :]
    # Whole lines where there are lines: half a line can say the opposite.
    head = head[: head.rfind("\n") + 1] or head
    tail = tail[tail.find("\n") + 1 :] or tail
    gone = len(text) - len(head) - len(tail)
    return f"{head.rstrip()}\n[… {gone} characters cut …]\n{tail}"


@dataclass(frozen=True, slots=True)
class _Collecting:
    """One collection under way."""

    incident: Incident
    services: Mapping[str, Service]
    observation: Observation
    run_read: RunRead
    redactor: Redactor
    limits: EvidenceSettings

    def fact(self, line: str) -> str:
        """One line, cleaned, redacted, then cut: half a secret would not be recognised."""
        text = self.redactor.text(" ".join(clean(line).split()))
        return text if len(text) <= self.limits.fact_chars else text[: self.limits.fact_chars] + "…"

    def logs(self) -> tuple[dict[str, str], list[str]]:
        """Logs by target, not yet cut to size, and why some are missing."""
        logs: dict[str, str] = {}
        facts: list[str] = []
        for target in self._targets():
            observed = self._observed(target)
            if observed is None or not observed.instances:
                continue  # the facts about its engine say why
            parameters = {"lines": self.limits.log_lines}
            outcome = self.run_read(OperationCall("get_logs", target, parameters))
            if outcome.status is not OutcomeStatus.SUCCEEDED:
                reason = outcome.error or outcome.status.value
                facts.append(f"{target}: logs: not available: {reason}")
            elif text := self._log_text(outcome.output):
                logs[target] = text
            else:
                facts.append(f"{target}: logs: empty")
        return logs, facts

    def facts(self) -> Iterator[str]:
        """All that was observed and matters, the root first."""
        seen = self.observation.environments.get(self.incident.environment)
        if seen is None:
            yield f"environment {self.incident.environment} was not observed"
            return
        for failure in seen.failures:
            yield f"{failure.source} of {failure.environment} can't be read: {failure.error}"
        for target in self._targets():
            service = self.services.get(target)
            if service is not None:
                yield from _target_facts(service, seen)
        root = self.services.get(self.incident.root)
        for dependency in root.dependencies if root else ():
            yield f"{self.incident.root} needs {dependency}: {_summary(_of(seen, dependency))}"

    def _targets(self) -> tuple[str, ...]:
        """Root first, each once."""
        ordered = dict.fromkeys((self.incident.root, *self.incident.targets))
        return tuple(islice(ordered, self.limits.targets))

    def _observed(self, target: str) -> ObservedService | None:
        seen = self.observation.environments.get(self.incident.environment)
        return None if seen is None else _of(seen, target)

    def _log_text(self, output: Any) -> str:
        raw = "\n".join(_lines(output))
        longest = self.limits.max_chars * _RAW_FACTOR
        if len(raw) > longest:
            raw = raw[-longest:]
            # The first line is torn: half of a secret would not be known as one.
            raw = raw.partition("\n")[2]
        return self.redactor.text(clean(raw)).strip()


def _lines(output: Any) -> Iterator[str]:
    """Log lines, whatever form an executor gives: text, lines, records, by instance."""
    match output:
        case None:
            return
        case str():
            yield from output.splitlines()
        case {"message": str(message)} | {"line": str(message)}:
            yield message
        case Mapping():
            for name, inner in output.items():
                yield f"== {name} =="
                yield from _lines(inner)
        case list() | tuple():
            for inner in output:
                yield from _lines(inner)
        case _:
            yield str(output)


def _of(seen: EnvironmentObservation, target: str) -> ObservedService | None:
    return None if seen.engine is None else seen.engine.services.get(target)


def _target_facts(service: Service, seen: EnvironmentObservation) -> Iterator[str]:
    target = service.target
    for fact in _engine_facts(service, _of(seen, target)):
        yield f"{target}: {fact}"
    for alert in seen.alerts or ():
        if any(
            selector.matchers.items() <= alert.labels.items() for selector in service.spec.alerts
        ):
            yield f"{target}: {_alert(alert)}"
    for probe in seen.probes:
        if probe.target == target and probe.reading is not Reading.PASSED:
            yield f"{target}: probe of {probe.instance} {probe.reading.value}: {probe.detail}"
    for metric in seen.metrics:
        if metric.target == target and metric.reading is not Reading.PASSED:
            value = "" if metric.value is None else f", value {metric.value:g}"
            yield f"{target}: metric {metric.check} {metric.reading.value}{value}: {metric.detail}"


def _engine_facts(service: Service, observed: ObservedService | None) -> Iterator[str]:
    if observed is None:
        yield "the engine did not tell its state"
        return
    workload, instances = observed.workload, observed.instances
    if not instances:
        yield "no instance exists"
    if workload is not None:
        yield _workload(workload, len(instances))
    for text, names in _alike(instances).items():
        yield f"{', '.join(names)}: {text}"
    if instances:
        yield _limits(service, instances[0])


def _workload(workload: Workload, found: int) -> str:
    """What keeps the instances: what it was asked for, what is there, and its own reason."""
    parts = [f"{workload.native.kind} {workload.native.name}"]
    if workload.replicas is not None:
        parts.append(f"asked to keep {workload.replicas} instances, {found} exist")
    parts.append("settled" if workload.settled else "not settled")
    if workload.reason:
        parts.append(f"reason: {workload.reason}")
    return ", ".join(parts)


def _alike(instances: Sequence[ObservedInstance]) -> dict[str, list[str]]:
    """Instances by what there is to say of them; those that don't just run come first."""
    alike: dict[str, list[str]] = {}
    for instance in sorted(instances, key=_works):
        alike.setdefault(_instance(instance), []).append(instance.native.name)
    return alike


def _works(instance: ObservedInstance) -> bool:
    healthy = instance.health in {EngineHealth.NONE, EngineHealth.HEALTHY}
    return instance.state is InstanceState.RUNNING and healthy


def _instance(instance: ObservedInstance) -> str:
    parts = [instance.state.value]
    if instance.health is not EngineHealth.NONE:
        parts.append(f"engine health {instance.health.value}")
    if instance.exit_code is not None and instance.state is not InstanceState.RUNNING:
        parts.append(f"exit code {instance.exit_code}")
    if instance.oom_killed:
        parts.append("killed for want of memory (OOM)")
    if instance.restart_count:
        parts.append(f"restarted {instance.restart_count} times")
    if instance.reason:
        parts.append(f"reason: {instance.reason}")
    if instance.state is InstanceState.RUNNING:
        parts += _moment("started", instance.started_at)
    else:
        parts += _moment("ended", instance.finished_at)
    return ", ".join(parts)


def _moment(word: str, at: datetime | None) -> list[str]:
    return [] if at is None else [f"{word} {at.isoformat(timespec='seconds')}"]


def _limits(service: Service, instance: ObservedInstance) -> str:
    """Limits as they are, and as declared where that is another thing."""
    memory, cpu = instance.spec.memory, instance.spec.cpu
    now = (
        _limit(memory, None if memory is None else format_memory(memory)),
        _limit(cpu, None if cpu is None else format_cpu(cpu)),
    )
    wanted = service.spec.resources
    declared = (
        "" if wanted.memory is None else f" (declared {format_memory(wanted.memory)})",
        "" if wanted.cpu is None else f" (declared {format_cpu(wanted.cpu)})",
    )
    return f"limits: memory {now[0]}{declared[0]}, cpu {now[1]}{declared[1]}"


def _limit(value: Any, text: str | None) -> str:
    if text is None:
        return "unknown"
    return text if value else "unlimited"


def _alert(alert: Alert) -> str:
    state = "firing" if alert.state is AlertState.ACTIVE else alert.state.value
    texts = "; ".join(f"{key}: {alert.annotations[key]}" for key in sorted(alert.annotations))
    since = alert.starts_at.isoformat(timespec="seconds")
    return f"alert {alert.name} {state} since {since}" + (f": {texts}" if texts else "")


def _summary(observed: ObservedService | None) -> str:
    """State of a dependency in a few words."""
    if observed is None:
        return "unknown"
    workload = observed.workload
    if not observed.instances and workload is None:
        return "missing"
    working = sum(map(_works, observed.instances))
    kept = None if workload is None else workload.replicas
    told = f"{working} of {len(observed.instances) if kept is None else kept} instances work"
    return f"{told}; {workload.reason}" if workload is not None and workload.reason else told
