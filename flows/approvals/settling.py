"""The end of a run: what is asked of people now, and which requests are over.

Pure. Nothing is decided here: a request ends because its approval was used, a person refused
it, its time passed and people were told, another took its place, or nothing is wrong any
more. Neighbours: `flows.reconcile` (calls), `flows.approvals.view` (how a request stands).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from flows.approvals.asking import Asker, is_shown
from flows.approvals.decision import folder
from flows.approvals.ledger import Ledger
from flows.approvals.news import ApprovalNews
from flows.approvals.request import ApprovalRequest, RequestState, request_path
from flows.approvals.standing import Standing
from flows.approvals.view import Approvals
from flows.comparison.drift import HealthStatus, Incident, Sync, TargetState
from flows.guard import Decision
from flows.plan import PlannerKind
from flows.reporting.values import AskedPeople, IncidentReport, IncidentResult
from infrastructure.service import Service

_End = tuple[RequestState, str]  # of a request, and why


@dataclass(frozen=True, slots=True)
class Settling:
    """What a run has seen and done. `states` and `incidents` are of its selected targets.

    `used`: requests whose approval this run's intent has taken, whatever came of it.
    """

    reports: Sequence[IncidentReport]
    incidents: Sequence[Incident]
    states: Mapping[str, TargetState]
    services: Mapping[str, Service]
    now: datetime
    used: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Work:
    """The result as it grows."""

    asked: list[ApprovalRequest] = field(default_factory=list)
    ended: dict[str, ApprovalRequest] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    def end(self, request: ApprovalRequest, state: RequestState, told: str, now: datetime) -> None:
        if request.state is RequestState.WAITING:
            self.ended[request.id] = request.settled(state, now, told[:500])


def settle(
    view: Approvals, asker: Asker, ending: Settling
) -> tuple[tuple[IncidentReport, ...], ApprovalNews]:
    """The run's reports, with what a person can do in their summaries, and the news."""
    work = _Work()
    reports = tuple(_reported(view, asker, report, ending, work) for report in ending.reports)
    handled = {request.id for request in work.asked} | set(work.ended)
    for request in view.ledger.waiting:
        if request.id not in handled:
            _look(view, request, ending, work)
    forgotten = _forgotten(view.ledger, ending.now - view.settings.keep_for)
    return reports, ApprovalNews(
        asked=tuple(work.asked),
        ended=tuple(work.ended.values()),
        forgotten=tuple(forgotten),
        waiting=work.waiting,
    )


def _reported(
    view: Approvals, asker: Asker, report: IncidentReport, ending: Settling, work: _Work
) -> IncidentReport:
    used = next((v.approval.request for v in report.verdicts if v.approval), "")
    if used and (request := view.ledger.requests.get(used)) is not None:
        if report.execution is not None or used in ending.used:
            told = f"used by run {asker.run_id}: {report.result.value}: {report.summary}"
            work.end(request, RequestState.USED, told, ending.now)
        return report
    if not _needs_person(report) or not asker.content():
        return report  # what Git says is not certain now: it is asked when it is
    request = _asked(view, asker, report, ending, work)
    until = request.expires_at.isoformat(timespec="minutes")
    sentence = f"uici approve {request.id}, until {until}"
    work.waiting[report.incident.fingerprint] = sentence
    asked = AskedPeople(request.id, request.expires_at)
    return replace(report, summary=f"{report.summary}: {sentence}", asked=asked)


def _needs_person(report: IncidentReport) -> bool:
    asks = any(v.decision is Decision.NEEDS_APPROVAL for v in report.verdicts)
    return report.result is IncidentResult.WAITING and asks


def _asked(
    view: Approvals, asker: Asker, report: IncidentReport, ending: Settling, work: _Work
) -> ApprovalRequest:
    """The request that stands for this plan, or a new one."""
    by_hand = report.plan.planner is PlannerKind.PERSON
    known = (
        view.ledger.for_plan(report.incident.root, report.plan.digest)
        if by_hand
        else view.of(report.incident)
    )
    renews = ""
    if known is not None:
        found = view.stands(known)
        alive = found.standing in {Standing.WAITING, Standing.APPROVED} and not found.renewed
        if alive and is_shown(report.plan, known, view.redact):
            return known
        renews = known.id if found.renewed else ""
    made = asker.ask(
        report.incident,
        report.plan,
        report.verdicts,
        evidence=report.evidence,
        spec_digest=ending.services[report.incident.root].spec_digest,
        now=ending.now,
        renews=renews,
    )
    work.asked.append(made)
    if known is not None:
        work.end(known, *_replaced(view, known, made), ending.now)
    return made


def _replaced(view: Approvals, known: ApprovalRequest, made: ApprovalRequest) -> _End:
    found = view.stands(known)
    again = f"{found.reason}; asked again as {made.id}"
    used = found.standing is Standing.USED
    return (RequestState.USED if used else RequestState.SUPERSEDED), again


def _look(view: Approvals, request: ApprovalRequest, ending: Settling, work: _Work) -> None:
    """A request that no incident of this run has asked for."""
    for rule in _ENDS:
        found = rule(view, request, ending)
        if found is not None:
            work.end(request, *found, ending.now)
            return


def _decided(view: Approvals, request: ApprovalRequest, _: Settling) -> _End | None:
    found = view.stands(request)
    kinds = {Standing.USED: RequestState.USED, Standing.REJECTED: RequestState.REJECTED}
    kind = kinds.get(found.standing)
    return None if kind is None else (kind, found.reason)


def _told_late(view: Approvals, request: ApprovalRequest, ending: Settling) -> _End | None:
    """Expired, and a person has just been told so."""
    found = view.stands(request)
    told = request.by_hand or any(
        report.incident.fingerprint == request.fingerprint
        and report.incident.root == request.target
        and report.result is IncidentResult.ESCALATED
        for report in ending.reports
    )
    return (
        (RequestState.EXPIRED, found.reason)
        if found.standing is Standing.EXPIRED and told
        else None
    )


def _twice(view: Approvals, request: ApprovalRequest, _: Settling) -> _End | None:
    """Two agents asked at the same moment: the first one's stands."""
    if request.by_hand:
        return None
    first = view.ledger.newest(request.target, request.fingerprint)
    if first is None or first.id == request.id:
        return None
    return RequestState.SUPERSEDED, f"the same is asked for as {first.id}"


def _over(_: Approvals, request: ApprovalRequest, ending: Settling) -> _End | None:
    if request.target not in ending.services and not request.by_hand:
        return RequestState.OVER, "its target is no longer in desired state"
    state = ending.states.get(request.target)
    if state is None or request.by_hand:
        return None  # not looked at in this run; or a person's own wish, whatever is wrong
    own = [i for i in ending.incidents if i.root == request.target]
    if own and all(i.fingerprint != request.fingerprint for i in own):
        return RequestState.OVER, "something else is wrong by now"
    if state.health is HealthStatus.HEALTHY and state.sync is Sync.SYNCED and not own:
        return RequestState.OVER, "nothing is wrong any more"
    return None


_ENDS: tuple[Callable[[Approvals, ApprovalRequest, Settling], _End | None], ...] = (
    _decided,
    _told_late,
    _twice,
    _over,
)


def _forgotten(ledger: Ledger, before: datetime) -> list[str]:
    """Files of requests that ended long ago. Their approvals have expired long before."""
    paths: list[str] = []
    for request in ledger.requests.values():
        ended = request.settled_at
        if ended is not None and max(ended, request.expires_at) < before:
            paths.append(request_path(request.id))
            paths += [path for path in ledger.paths if path.startswith(f"{folder(request.id)}/")]
    return paths
