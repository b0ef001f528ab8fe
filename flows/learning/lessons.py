"""What a run teaches: which plans were carried out, and whether they have helped.

Pure. Only what is certain is a lesson: every operation done and the recovery verified, or
done (or refused by the engine for good) and the service still broken. An unknown outcome, a
temporary error, a plan that was held back or cut off teaches nothing; nor does a recovery to
which the plan added nothing, since the world was as its operations ask already. A success is taken
back when the fault comes back (`flows.learning.relapse`). Neighbours: `flows.reconcile`
(calls), `flows.learning.learn` (what changes by it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from flows.comparison.drift import Incident
from flows.learning.binding import UnboundError, bound
from flows.learning.incident_class import class_name, class_of, patterns_of
from flows.learning.learn import Lesson, Lessons, Relapse, short_run
from flows.learning.relapse import RelapseWindow, by_itself
from flows.plan import Evidence, Plan, PlannerKind
from flows.reporting.status import PastIncident, Step, TargetStatus
from flows.reporting.text import changing
from flows.reporting.values import IncidentReport, IncidentResult
from flows.verify import VerificationResult
from infrastructure.config_models import LearningSettings
from infrastructure.knowledge import ClassConditions, Trial
from infrastructure.observed import empty
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OutcomeStatus
from infrastructure.service import Service

_log = structlog.get_logger("uici")

_TAUGHT_BY = frozenset({PlannerKind.LEARNED, PlannerKind.LLM, PlannerKind.RUNBOOK})


@dataclass(frozen=True, slots=True)
class Teacher:
    """What makes lessons of reports.

    `executors`: type of each environment's executor; `statuses`: as the run found them.
    """

    settings: LearningSettings
    registry: OperationRegistry
    services: Mapping[str, Service]
    executors: Mapping[str, str]
    run_id: str
    started: datetime
    statuses: Mapping[str, TargetStatus] = field(default_factory=empty)

    def lessons(self, reports: Iterable[IncidentReport], now: datetime) -> Lessons:
        """The lessons of a run that ends now."""
        reports = tuple(reports)
        found = (self._lesson(report, now) for report in reports)
        return Lessons(
            tuple(lesson for lesson in found if lesson is not None),
            self.settings.classes,
            tuple(relapse for report in reports for relapse in self._relapses(report)),
            {name: self.registry.defaults(name) for name in self.registry.names() if reports},
        )

    def _relapses(self, report: IncidentReport) -> Iterator[Relapse]:
        root = report.incident.root
        status, service = self.statuses.get(root), self.services.get(root)
        if status is None or service is None or not by_itself(report.incident):
            return
        when = self._class(report.incident, report.evidence)
        window = RelapseWindow(self.settings.relapse_within, self.started)
        for past in window.of(
            status.history, incident_class=class_name(when), spec_digest=service.spec_digest
        ):
            yield Relapse(when, past.run_id, root)

    def _lesson(self, report: IncidentReport, now: datetime) -> Lesson | None:
        worked = helped(report)
        service = self.services.get(report.incident.root)
        when = self._class(report.incident, report.evidence)
        taught = report.plan.planner in _TAUGHT_BY and (worked or did_not_help(report))
        if service is None or not when.kinds or not taught:
            return None
        try:
            steps = bound(report.plan.steps, service, self.registry)
        except UnboundError as exc:
            _log.info(
                "resolution_not_learned", incident=report.incident.fingerprint, reason=str(exc)
            )
            return None
        trial = Trial(
            run=short_run(self.run_id),
            target=service.target,
            at=_moment(now),
            helped=worked,
            seconds=self._seconds(report) if worked else None,
        )
        return Lesson(when, steps, report.plan.planner.value, trial)

    def past(
        self, incident: Incident, evidence: Evidence, plan: Plan, now: datetime
    ) -> PastIncident:
        """An incident that is about to be worked on: until its outcome it was cut off."""
        when = self._class(incident, evidence)
        return PastIncident(
            at=_moment(now),
            run_id=self.run_id,
            spec_digest=self.services[incident.root].spec_digest,
            incident_class=class_name(when),
            kinds=tuple(kind.value for kind in when.kinds),
            fields=when.fields,
            patterns=patterns_of(incident, evidence.matches),
            planner=plan.planner.value,
            steps=steps_of(plan, incident.root),
            # From the intent on, until the outcome takes its place.
            result=IncidentResult.INTERRUPTED.value,
            by_itself=by_itself(incident),
        )

    def worked_on(self, report: IncidentReport, now: datetime) -> PastIncident | None:
        """An incident with its outcome; None: nothing was done about it."""
        if not changing(report) or report.incident.root not in self.services:
            return None
        past = self.past(report.incident, report.evidence, report.plan, now)
        idle = not any(outcome.changed for outcome in changing(report))
        seconds = self._seconds(report) if report.result is IncidentResult.RECOVERED else None
        approval = next((v.approval for v in report.verdicts if v.approval), None)
        news = {
            "result": report.result.value,
            "seconds": seconds,
            "approval": approval.request if approval else None,
            "approved_by": approval.by if approval else "",
            "idle": idle,
        }
        return past.model_copy(update=news)

    def remembered(
        self, history: tuple[PastIncident, ...], past: PastIncident
    ) -> tuple[PastIncident, ...]:
        """The history with this incident; this run's entry is replaced. Bounded."""
        others = [p for p in history if p.run_id != past.run_id]
        return tuple([*others, past][-self.settings.history :])

    def _class(self, incident: Incident, evidence: Evidence) -> ClassConditions:
        return class_of(incident, evidence, self.executors.get(incident.environment, "unknown"))

    def _seconds(self, report: IncidentReport) -> float | None:
        """From the run's start to the verified recovery."""
        if report.execution is None or report.verification is None:
            return None
        acted = report.execution.outcomes[-1].finished_at
        seconds = (acted - self.started).total_seconds() + report.verification.seconds
        return round(max(0.0, seconds), 3)


def helped(report: IncidentReport) -> bool:
    """Whether every step was done, something was changed, and the service verified to be well."""
    return (
        report.result is IncidentResult.RECOVERED
        and any(outcome.changed for outcome in changing(report))
        and report.execution is not None
        and report.execution.succeeded
    )


def did_not_help(report: IncidentReport) -> bool:
    """Whether the plan was carried out, or refused by the engine for good, in vain."""
    execution, verification = report.execution, report.verification
    if report.result is not IncidentResult.FAILED or execution is None or verification is None:
        return False
    wrong = next((o for o in execution.outcomes if o.status is not OutcomeStatus.SUCCEEDED), None)
    certain = wrong is None or (wrong.status is OutcomeStatus.FAILED and wrong.permanent)
    seen = verification.result is VerificationResult.NOT_RECOVERED
    return certain and seen and bool(changing(report))


def ended_open(report: IncidentReport) -> bool:
    """Whether the plan was begun, and it is not known what it is worth: it teaches nothing."""
    recovered = report.result is IncidentResult.RECOVERED
    return bool(changing(report)) and not recovered and not did_not_help(report)


def steps_of(plan: Plan, root: str) -> tuple[Step, ...]:
    """A plan's steps as they are remembered of an incident with this root."""
    return tuple(
        Step(
            operation=step.operation,
            parameters=dict(step.parameters),
            target=None if step.target == root else step.target,
        )
        for step in plan.steps
    )


def _moment(now: datetime) -> datetime:
    """To a millisecond: nobody needs more, and Git keeps every digit of every one for ever."""
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
