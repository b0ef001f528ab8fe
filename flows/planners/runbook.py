"""RunbookPlanner: a plan without a model, by runbooks.yml.

The last in the order of planners: what a person wrote down for a class of incidents. What
the root itself says (error patterns of its log and its engine) chooses the runbook beside
the drifts, and is the cause where drifts tell a symptom only. Deterministic. Neighbours:
`flows.plan` asks it, `flows.guard` judges what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.comparison.drift import Drift, Incident
from flows.plan import (
    Declined,
    Evidence,
    GitChange,
    Hindered,
    News,
    PatternMatch,
    Phase,
    PhaseRecord,
    Plan,
    PlannerKind,
    PlanStep,
    RootCause,
)
from flows.planners.tried import NOTHING_TRIED, TriedPlans, told
from infrastructure import templates
from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models import Runbook, RunbookCondition, Runbooks
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import PermanentError
from infrastructure.operations import OperationCall
from infrastructure.service import Service

# A line is told to people in an alert beside other words; the alert has its bound.
_MAX_LINE = 200
_MAX_MEANING = 150


@dataclass(frozen=True, slots=True)
class _Known:
    """What is held to be wrong: the cause, a sentence about it, and the log's own words."""

    cause: RootCause
    diagnosis: str
    matches: Sequence[PatternMatch]


class RunbookPlanner:
    """The first runbook whose condition holds, and that can be done there, plans.

    One that was carried out in vain is passed over: the next that fits is what an on-call
    engineer would try next. Only drifts of the incident's root count, and only the root is
    acted on: what depends on it is looked at again once the root works. Immutable, safe to
    use from several threads.
    """

    kind = PlannerKind.RUNBOOK

    def __init__(
        self,
        runbooks: Runbooks,
        services: Mapping[str, Service],
        capabilities: Callable[[str], frozenset[str]],
        refusal: Callable[[OperationCall], str | None] = lambda _: None,
        *,
        tried: TriedPlans = NOTHING_TRIED,
    ) -> None:
        """Make a planner.

        Args:
            runbooks: runbooks.yml.
            services: desired state by target.
            capabilities: operations that an environment can do.
            refusal: why a target can't do what its environment can.
            tried: plans that did not help.
        """
        self._runbooks = runbooks.runbooks
        self._services = services
        self._capabilities = capabilities
        self._refusal = refusal
        self._tried = tried

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | Declined:
        """A Plan, or why there is none. Never raises."""
        return self._plan(incident, evidence)

    def sufficing(self, incident: Incident, evidence: Evidence) -> Plan | None:
        """The plan to which a model could add nothing; None: it may know better.

        The runbook that fits says so itself, and names every drift kind of the root.
        """
        made = self._plan(incident, evidence)
        if not isinstance(made, Plan):
            return None
        for runbook in self._runbooks:
            if runbook.name == made.runbook:
                kinds = {d.kind for d in incident.drifts if d.target == incident.root}
                when = runbook.when
                named = {*when.kinds, *when.all_kinds, *when.only_kinds}
                return made if runbook.suffices and kinds <= named else None
        return None

    def _plan(self, incident: Incident, evidence: Evidence) -> Plan | Declined:
        service = self._services.get(incident.root)
        if service is None:
            return Declined(self.kind, f"{incident.root} is not in desired state")
        drifts = [drift for drift in incident.drifts if drift.target == incident.root]
        if not drifts:
            elsewhere = "the drifts are of other targets"
            return Declined(self.kind, f"no runbook looks at {incident.root}: {elsewhere}")
        able = self._capabilities(incident.environment)
        # What another target logs is about itself.
        matches = [match for match in evidence.matches if match.target == incident.root]
        found = frozenset(match.name for match in matches)
        probed = service.spec.health.http is not None
        only_secrets = _only_secrets(service, drifts)
        tried = self._tried.about(incident, evidence)
        skipped: list[str] = []
        hindered: list[Hindered] = []
        for runbook in self._runbooks:
            if not condition_holds(
                runbook.when, drifts, found, probed=probed, only_secrets=only_secrets
            ):
                continue
            lacking = [step.operation for step in runbook.steps if step.operation not in able]
            if lacking:
                what = ", ".join(dict.fromkeys(lacking))
                skipped.append(f"{runbook.name} skipped: {incident.environment} can't do {what}")
                continue
            telling = _telling(runbook, matches)
            try:
                steps = _steps(runbook, service, drifts, telling)
            except PermanentError as exc:
                # Another could fit less well: a mistake of this one is a person's to mend.
                return Declined(self.kind, f"runbook {runbook.name} can't be used: {exc}")
            cause = _cause(runbook, incident, service, telling, evidence.git_change)
            if (refusal := self._refused(steps)) is not None:
                name, why = refusal
                skipped.append(f"{runbook.name} skipped: {service.target} can't do {name}: {why}")
                hindered.append(Hindered(f"{name} can't be done now: {why}", cause))
                continue
            known = _Known(cause, _diagnosis(runbook, telling, evidence), matches)
            plan = self._by(runbook, incident, steps, drifts, known=known, skipped=skipped)
            if (past := tried.same(incident.root, plan)) is None:
                return plan
            skipped.append(f"{runbook.name} skipped: {told(past)} did not help")
        kinds = ", ".join(_kinds(drifts))
        none = f"no runbook fits {kinds} on {incident.root}"
        reason = "; ".join((none, *skipped))
        return Declined(self.kind, reason, hindered=next(iter(hindered), None))

    def _refused(self, steps: Sequence[PlanStep]) -> tuple[str, str] | None:
        """The operation that the target can't do, and why."""
        for step in steps:
            call = OperationCall(step.operation, step.target, step.parameters)
            if (reason := self._refusal(call)) is not None:
                return step.operation, reason
        return None

    def _by(
        self,
        runbook: Runbook,
        incident: Incident,
        steps: tuple[PlanStep, ...],
        drifts: Sequence[Drift],
        *,
        known: _Known,
        skipped: Sequence[str],
    ) -> Plan:
        meanings = [f"Logs show {match.name}: {match.meaning}." for match in known.matches]
        diagnosis = " ".join((known.diagnosis, *meanings))
        reason = f"runbook {runbook.name} fits {', '.join(_kinds(drifts))}"
        return Plan(
            fingerprint=incident.fingerprint,
            planner=self.kind,
            planner_reason="; ".join((reason, *skipped)),
            diagnosis=diagnosis,
            confidence=1.0,
            evidence=tuple(dict.fromkeys((*map(_told, drifts), *meanings))),
            steps=steps,
            runbook=runbook.name,
            cause=known.cause,
            phases=(
                PhaseRecord(
                    Phase.ROOT_CAUSE,
                    "rules",
                    f"{known.cause.kind} at {known.cause.target}: {diagnosis}",
                ),
                PhaseRecord(Phase.RESOLUTION, "rules", reason),
            ),
        )


def condition_holds(
    condition: RunbookCondition,
    drifts: Sequence[Drift],
    patterns: frozenset[str],
    *,
    probed: bool = False,
    only_secrets: bool = False,
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
        and (not condition.patterns or not patterns.isdisjoint(condition.patterns))
        and condition.probed in (None, probed)
        and condition.only_secrets in (None, only_secrets)
    )


def _only_secrets(service: Service, drifts: Iterable[Drift]) -> bool:
    """Whether its configuration differs in values of secrets alone."""
    fields = {drift.field for drift in drifts if drift.kind is DriftKind.CONFIG_DRIFT}
    return bool(fields) and fields <= {f"/env/{name}" for name in service.secrets}


def _telling(runbook: Runbook, matches: Sequence[PatternMatch]) -> PatternMatch | None:
    """The match that the runbook goes by: the first, in the order of the patterns."""
    wanted = runbook.when.patterns
    return next((match for match in matches if not wanted or match.name in wanted), None)


def _by_git(runbook: Runbook, telling: PatternMatch | None, change: GitChange | None) -> bool:
    """Whether a change of Git is the cause: unless an error pattern tells another."""
    if change is None or change.news is News.LATER or (telling and not runbook.suffices):
        return False
    return change.news is News.BROKE or bool(runbook.after_git_change)


def _diagnosis(runbook: Runbook, telling: PatternMatch | None, evidence: Evidence) -> str:
    change, deed = evidence.git_change, evidence.ended_by
    if change is not None and change.news is not News.AHEAD:
        return f"{runbook.diagnosis} {_timing(change)}"
    if change is not None and _by_git(runbook, telling, change):
        if not change.commit:
            return runbook.after_git_change
        return f"{runbook.after_git_change.removesuffix('.')} ({change.told})."
    if deed is not None and runbook.after_deed:
        return f"{runbook.after_deed} It was {deed.told}."
    return runbook.diagnosis


def _timing(change: GitChange) -> str:
    """What the order of things tells, which is no proof."""
    subject = f' ("{change.subject}")' if change.subject else ""
    subject += change.in_force_with
    if change.news is News.BROKE:
        return f"All was well until {change.by}{subject}, which is probably the cause."
    return f"It is the first fault of its own since {change.by}{subject}, which may be the cause."


def _cause(
    runbook: Runbook,
    incident: Incident,
    service: Service,
    telling: PatternMatch | None,
    change: GitChange | None,
) -> RootCause:
    """What the drifts tell where that suffices, else what the pattern tells.

    Where the runbook knows a change of Git as the cause, and there is one, it is that.

    A dependency that the line names is where the cause lies if it has drifts of its own.
    """
    if _by_git(runbook, telling, change):
        return RootCause(CauseKind.CHANGED_IN_GIT, incident.root)
    if telling is None or runbook.suffices:
        return RootCause(runbook.cause, incident.root)
    named = telling.subject.split(":", 1)[0]
    down = {drift.target for drift in incident.drifts} & set(service.dependencies)
    where = next((target for target in down if target.rpartition("/")[2] == named), incident.root)
    return RootCause(telling.cause, where)


def _first_segment(pointer: str) -> str:
    """`/env/LOG_LEVEL` → `env`, by RFC 6901."""
    segment = pointer.removeprefix("/").split("/", 1)[0]
    return segment.replace("~1", "/").replace("~0", "~")


def _steps(
    runbook: Runbook, service: Service, drifts: Sequence[Drift], telling: PatternMatch | None
) -> tuple[PlanStep, ...]:
    context: dict[str, Any] = {"target": service.target}
    if templates.is_template([step.parameters for step in runbook.steps]):
        context["service"] = templates.service_data(service)
        context["drifts"] = [_drift_data(drift) for drift in drifts]
        if runbook.when.patterns and telling is not None:
            context["match"] = _match_data(telling)
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


def _match_data(match: PatternMatch) -> dict[str, Any]:
    return {
        "name": match.name,
        "meaning": match.meaning[:_MAX_MEANING],
        "subject": match.subject,
        "line": match.line[:_MAX_LINE],
        "count": match.count,
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
