"""Escalations that last as long as their cause: renewed while it is there, ended with it.

An alert that people were told by ends by itself after `escalation.lasts`; a target that is
still stalled is told again in every run, by the same labels, so that nobody is notified
twice. One that recovered is resolved at once. What was told stands in the statuses in Git:
a restart of the agent forgets nothing. Pure; `flows.reconcile` posts what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flows.compare import Comparison
from flows.comparison.drift import HealthStatus
from flows.escalation import USUAL_SEVERITY
from flows.observe import Observation
from flows.reporting.sentences import TELL
from flows.reporting.status import AGENT_FOLDER, LastIncident, TargetStatus
from flows.reporting.values import IncidentReport, IncidentResult
from infrastructure.operations import ESCALATION_ALERT, OutcomeStatus

_SEVERITY = "critical"  # of those that an older UICI has told of


@dataclass(frozen=True, slots=True)
class PeopleAlert:
    """An alert that people were told by. `labels` tell it from every other."""

    environment: str
    labels: Mapping[str, str]
    summary: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What was told before this run: what still holds, and what is over."""

    lasting: tuple[PeopleAlert, ...] = field(default=())
    over: tuple[PeopleAlert, ...] = field(default=())


def standing(
    before: Mapping[str, TargetStatus],
    after: Mapping[str, TargetStatus],
    declared: Iterable[str],
    reports: Iterable[IncidentReport],
) -> Standing:
    """What to renew, and what to end.

    Args:
        before: statuses as last written.
        after: those that this run has something to say of.
        declared: targets of desired state; of another one nobody is told any more.
        reports: of this run, which may have raised an alert and then helped.
    """
    known = set(declared)
    lasting: dict[tuple[str, ...], PeopleAlert] = {}
    over: dict[tuple[str, ...], PeopleAlert] = {}
    for target, status in before.items():
        told = _told(target, status.last_incident)
        if told is None:
            continue
        now = _told(target, after.get(target, status).last_incident) if target in known else None
        if now is not None and now.labels == told.labels:
            lasting[_key(told)] = told
        else:
            over[_key(told)] = told
    for report in reports:
        if report.result is IncidentResult.RECOVERED:
            over |= {_key(told): told for told in _raised(report)}
    return Standing(tuple(lasting.values()), tuple(over.values()))


def outlived(seen: Observation, comparison: Comparison, agent: str) -> tuple[PeopleAlert, ...]:
    """Alerts about a whole environment or the agent itself that are there without their cause.

    No status tells of these, so Alertmanager is what remembers them. Only for a look at all of
    desired state. Where anything is unknown, nothing is over.

    Args:
        seen: the look.
        comparison: what it meant.
        agent: name of the agent that may have told of itself.
    """
    blind = {
        state.target.partition("/")[0]
        for state in comparison.states.values()
        if state.health is HealthStatus.UNKNOWN
    }
    blind |= {name for name, place in seen.environments.items() if place.failures}
    gone = {name for name in seen.environments if name not in blind | comparison.breaker.keys()}
    if not comparison.own_alerts and not any(p.failures for p in seen.environments.values()):
        gone.add(f"{AGENT_FOLDER}/{agent}")
    return tuple(
        PeopleAlert(name, alert.labels, alert.annotations.get("summary", ""))
        for name, place in seen.environments.items()
        for alert in place.alerts or ()
        if alert.name == ESCALATION_ALERT
        and alert.labels.get("environment") == name
        and alert.labels.get("target") in gone
    )


def _key(told: PeopleAlert) -> tuple[str, ...]:
    return (told.environment, *(f"{k}={v}" for k, v in sorted(told.labels.items())))


def _told(target: str, last: LastIncident | None) -> PeopleAlert | None:
    if last is None or not last.escalated or target.startswith(f"{AGENT_FOLDER}/"):
        return None
    summary = last.told or last.summary or last.diagnosis or target
    return _alert(target, last.severity or _SEVERITY, summary)


def _raised(report: IncidentReport) -> list[PeopleAlert]:
    outcomes = report.execution.outcomes if report.execution is not None else ()
    return [
        _alert(
            o.call.target, str(o.call.parameters.get("severity", USUAL_SEVERITY)), report.summary
        )
        for o in outcomes
        if o.call.operation == TELL and o.status is OutcomeStatus.SUCCEEDED
    ]


def _alert(target: str, severity: str, summary: str) -> PeopleAlert:
    """The labels are those of `flows.platform_operations`: it is the same alert."""
    environment, _, name = target.partition("/")
    labels = {
        "alertname": ESCALATION_ALERT,
        "service": name,
        "environment": environment,
        "target": target,
        "severity": severity,
    }
    return PeopleAlert(environment, labels, summary)
