"""RunbookPlanner: a plan without a model, by runbooks.yml.

The last in the order of planners: what a person wrote down for a class of incidents.
Deterministic. Neighbours: `flows.plan` asks it, `flows.guard` judges what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flows.comparison.drift import Drift, Incident
from flows.plan import Evidence, Plan, PlannerKind, PlanStep
from infrastructure import templates
from infrastructure.config_models import Runbook, RunbookCondition, Runbooks
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import PermanentError
from infrastructure.operations import OperationCall
from infrastructure.service import Service


class RunbookPlanner:
    """The first runbook whose condition holds, and that can be done there, plans.

    Only drifts of the incident's root count, and only the root is acted on: what depends on
    it is looked at again once the root works. Immutable, safe to use from several threads.
    """

    kind = PlannerKind.RUNBOOK

    def __init__(
        self,
        runbooks: Runbooks,
        services: Mapping[str, Service],
        capabilities: Callable[[str], frozenset[str]],
        refusal: Callable[[OperationCall], str | None] = lambda _: None,
    ) -> None:
        """Make a planner.

        Args:
            runbooks: runbooks.yml.
            services: desired state by target.
            capabilities: operations that an environment can do.
            refusal: why a target can't do what its environment can.
        """
        self._runbooks = runbooks.runbooks
        self._meanings = {pattern.name: pattern.meaning for pattern in runbooks.patterns}
        self._services = services
        self._capabilities = capabilities
        self._refusal = refusal

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | str:
        """A Plan, or the reason why there is none (one line). Never raises."""
        service = self._services.get(incident.root)
        if service is None:
            return f"{incident.root} is not in desired state"
        drifts = [drift for drift in incident.drifts if drift.target == incident.root]
        if not drifts:
            return f"no runbook looks at {incident.root}: the drifts are of other targets"
        able = self._capabilities(incident.environment)
        skipped: list[str] = []
        for runbook in self._runbooks:
            if not condition_holds(runbook.when, drifts, evidence.patterns):
                continue
            lacking = [step.operation for step in runbook.steps if step.operation not in able]
            if lacking:
                what = ", ".join(dict.fromkeys(lacking))
                skipped.append(f"{runbook.name} skipped: {incident.environment} can't do {what}")
                continue
            try:
                steps = _steps(runbook, service, drifts)
            except PermanentError as exc:
                # Another could fit less well: a mistake of this one is a person's to mend.
                return f"runbook {runbook.name} can't be used: {exc}"
            if (refusal := self._refused(steps)) is not None:
                skipped.append(f"{runbook.name} skipped: {refusal}")
                continue
            return self._by(runbook, incident, steps, drifts, evidence=evidence, skipped=skipped)
        kinds = ", ".join(_kinds(drifts))
        return "; ".join((f"no runbook fits {kinds} on {incident.root}", *skipped))

    def _refused(self, steps: Sequence[PlanStep]) -> str | None:
        """Why the target can't do one of the steps."""
        for step in steps:
            call = OperationCall(step.operation, step.target, step.parameters)
            if (reason := self._refusal(call)) is not None:
                return f"{step.target} can't do {step.operation}: {reason}"
        return None

    def _by(
        self,
        runbook: Runbook,
        incident: Incident,
        steps: tuple[PlanStep, ...],
        drifts: Sequence[Drift],
        *,
        evidence: Evidence,
        skipped: Sequence[str],
    ) -> Plan:
        meanings = [
            f"Logs show {name}: {self._meanings[name]}."
            for name in evidence.patterns
            if name in self._meanings
        ]
        reason = f"runbook {runbook.name} fits {', '.join(_kinds(drifts))}"
        return Plan(
            fingerprint=incident.fingerprint,
            planner=self.kind,
            planner_reason="; ".join((reason, *skipped)),
            diagnosis=" ".join((runbook.diagnosis, *meanings)),
            confidence=1.0,
            evidence=tuple(dict.fromkeys((*map(_told, drifts), *meanings))),
            steps=steps,
            runbook=runbook.name,
        )


def condition_holds(
    condition: RunbookCondition, drifts: Sequence[Drift], patterns: Iterable[str]
) -> bool:
    """Whether everything that the condition gives is so; see RunbookCondition."""
    kinds = {drift.kind for drift in drifts}
    fields = {_first_segment(d.field) for d in drifts if d.kind is DriftKind.CONFIG_DRIFT}
    return (
        (not condition.kinds or not kinds.isdisjoint(condition.kinds))
        and kinds >= set(condition.all_kinds)
        and (not condition.only_kinds or kinds <= set(condition.only_kinds))
        and (not condition.fields or not fields.isdisjoint(condition.fields))
        and (not condition.only_fields or fields <= set(condition.only_fields))
        and (condition.pattern is None or condition.pattern in patterns)
    )


def _first_segment(pointer: str) -> str:
    """`/env/LOG_LEVEL` → `env`, by RFC 6901."""
    segment = pointer.removeprefix("/").split("/", 1)[0]
    return segment.replace("~1", "/").replace("~0", "~")


def _steps(runbook: Runbook, service: Service, drifts: Sequence[Drift]) -> tuple[PlanStep, ...]:
    context: dict[str, Any] = {"target": service.target}
    if templates.is_template([step.parameters for step in runbook.steps]):
        context["service"] = templates.service_data(service)
        context["drifts"] = [_drift_data(drift) for drift in drifts]
    return tuple(
        PlanStep(
            operation=step.operation,
            target=service.target,
            parameters=_given(templates.render(step.parameters, context)),
            why=step.why,
        )
        for step in runbook.steps
    )


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that desired state does not speak of."""
    return {name: value for name, value in parameters.items() if value is not None}


def _drift_data(drift: Drift) -> dict[str, Any]:
    return {
        "kind": drift.kind.value,
        "field": drift.field,
        "desired": drift.desired,
        "observed": drift.observed,
        "message": drift.message,
        "instance": drift.instance,
    }


def _kinds(drifts: Iterable[Drift]) -> list[str]:
    return sorted({drift.kind.value for drift in drifts})


def _told(drift: Drift) -> str:
    """A drift as a line of evidence."""
    where = " ".join(part for part in (drift.kind.value, drift.field) if part)
    if drift.message:
        return f"{where}: {drift.message}"
    if drift.desired or drift.observed:
        return (
            f"{where}: desired {drift.desired or 'nothing'}, observed {drift.observed or 'nothing'}"
        )
    return where
