"""An incident as a timeline: what happened when, from the fault to the last word about it.

Pure. Neighbours: `flows.reporting.markdown` (the report's page) and `flows.prefect_edge`
(the run's page) lay the rows out; the facts are those of `flows.reporting.values`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from flows.comparison.drift import Drift
from flows.guard import Decision, Verdict
from flows.plan import PlannerKind
from flows.reporting.sentences import TELL, outcome_words, planner
from flows.reporting.text import begun, plain, root_drifts
from flows.reporting.values import IncidentReport, IncidentResult, RunReport, Stage
from flows.reporting.wrong import by_hand, wrong
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationOutcome, OutcomeStatus

_STARTS = 4  # beginnings of a fault that are told one by one
_WORDS = 300
_SHA = 12
_STAGES = (Stage.READ, Stage.LOOK, Stage.DECIDE, Stage.INTENT)


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One thing that happened. `at` None: after the row before it, nobody noted when.

    `words` is one line as it came, neither redacted nor escaped: who shows it does both.
    """

    at: datetime | None
    words: str


def timeline(report: RunReport, incident: IncidentReport) -> tuple[TimelineRow, ...]:
    """The rows of one incident of a run, the oldest first.

    Args:
        report: the run.
        incident: one of its incidents.
    """
    return tuple(_in_order([*_faults(incident), *_decided(report, incident), *_acted(incident)]))


def _in_order(rows: list[TimelineRow]) -> list[TimelineRow]:
    """By time; a row without one stays behind the row that it was written after."""
    known: list[datetime | None] = []
    for row in rows:
        known.append(row.at or (known[-1] if known else None))
    first = next((at for at in known if at is not None), None)
    if first is None:
        return rows
    order = sorted(range(len(rows)), key=lambda i: known[i] or first)
    return [rows[i] for i in order]


def _faults(incident: IncidentReport) -> Iterator[TimelineRow]:
    """When the fault began, as the engine, its events and the alerts tell it, each once, by time.

    What somebody did stands before what came of it.
    """
    dated = sorted(
        ((d.since, d) for d in root_drifts(incident) if d.since is not None),
        key=lambda pair: pair[0],
    )
    told: dict[tuple[datetime, str], None] = dict.fromkeys(
        (since, _beginning(drift)) for since, drift in dated
    )
    rows = [TimelineRow(since, words) for since, words in list(told)[:_STARTS]]
    if (deed := incident.evidence.ended_by) is not None:
        ours = ", not by UICI" if deed.not_ours else ""
        later = sum(1 for row in rows if row.at is not None and row.at < deed.at)
        rows.insert(later, TimelineRow(deed.at, plain(deed.words, _WORDS) + ours))
    yield from rows


def _beginning(drift: Drift) -> str:
    if drift.kind is DriftKind.ALERT_FIRING:
        return f"alert {plain(drift.field or drift.observed)} began"
    observed = plain(drift.observed or drift.message)
    return f"fault began: {drift.kind.value}" + (f", {observed}" if observed else "")


def _decided(report: RunReport, incident: IncidentReport) -> Iterator[TimelineRow]:
    """What the run saw, planned, judged and wrote down before it did anything."""
    ends = _stage_ends(report)
    if by_hand(incident):
        yield TimelineRow(report.started_at, "asked for by a person")
    else:
        seen = f"seen by the run: {plain(wrong(incident, str), _WORDS)}"
        yield TimelineRow(ends.get(Stage.LOOK), seen)
    plan, decided = incident.plan, ends.get(Stage.DECIDE)
    steps = ", ".join(dict.fromkeys(step.operation for step in plan.steps))
    if plan.planner is PlannerKind.NONE:
        yield TimelineRow(decided, "no plan")
    elif not by_hand(incident):
        yield TimelineRow(decided, f"planned by {planner(plan)}: {steps or 'nothing to do'}")
    if incident.verdicts:
        yield TimelineRow(decided, _judged(incident.verdicts))
    if report.intent_commit and incident.execution is not None:
        intent = f"intent committed: {report.intent_commit[:_SHA]}"
        yield TimelineRow(ends.get(Stage.INTENT), intent)


def _judged(verdicts: tuple[Verdict, ...]) -> str:
    """The guard's word on all steps; the strictest first."""
    words = []
    for decision in (Decision.DENIED, Decision.NEEDS_APPROVAL, Decision.ALLOWED):
        named = dict.fromkeys(v.step.operation for v in verdicts if v.decision is decision)
        if named:
            words.append(f"{decision.value.replace('_', ' ')}: {', '.join(named)}")
    return f"judged, {'; '.join(words)}"


def _stage_ends(report: RunReport) -> dict[Stage, datetime]:
    """When the run's stages ended, as far as it kept their times."""
    took = report.stage_seconds
    if not all(stage in took for stage in _STAGES):
        return {}
    ends = accumulate(took[stage] for stage in _STAGES)
    return {
        stage: report.started_at + timedelta(seconds=end)
        for stage, end in zip(_STAGES, ends, strict=True)
    }


def _acted(incident: IncidentReport) -> Iterator[TimelineRow]:
    """Operations, what they came to, and how it ended. Why stands beside their results."""
    outcomes = begun(incident)
    for outcome in outcomes:
        yield from _operation(outcome, incident.not_sent)
    verification = incident.verification
    if verification is not None and outcomes:
        # What tells people follows on the verification; it is no part of what was verified.
        worked = [o for o in outcomes if o.call.operation != TELL] or list(outcomes)
        end = max(o.finished_at for o in worked) + timedelta(seconds=verification.seconds)
        yield TimelineRow(end, f"verified: {verification.result.value.replace('_', ' ')}")
    for outcome in incident.undone:
        yield from _operation(outcome, "", taken_back=True)
    sent = incident.result is IncidentResult.ESCALATED and not incident.not_sent
    if (verification is None or not outcomes) and not (sent and outcomes):
        yield TimelineRow(None, outcome_words(incident))


def _operation(
    outcome: OperationOutcome, not_sent: str, *, taken_back: bool = False
) -> Iterator[TimelineRow]:
    name = outcome.call.operation
    ended = outcome.status.value.replace("_", " ")
    if name == TELL:
        yield TimelineRow(outcome.finished_at, _told(outcome, not_sent))
        return
    yield TimelineRow(outcome.started_at, f"{name} begun{' to take back' if taken_back else ''}")
    yield TimelineRow(outcome.finished_at, f"{name} {ended}")


def _told(outcome: OperationOutcome, not_sent: str) -> str:
    match outcome.status:
        case OutcomeStatus.SUCCEEDED if not_sent:
            return f"nobody was alerted ({not_sent})"
        case OutcomeStatus.SUCCEEDED:
            return f"people told ({TELL} succeeded)"
        case OutcomeStatus.UNKNOWN:
            return f"people may have been told ({TELL}: its outcome is not known)"
        case other:
            return f"people could not be told: {other.value.replace('_', ' ')}"
