"""What one run knows of approvals: made at its start, asked wherever a person's word counts.

Values and rules only; the state repository is behind two functions that are called when
there is something to look up, so that a run without a request costs nothing. Neighbours:
`flows.cases` (plans and verdicts), `flows.approvals.settling` (what is written at the end).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from flows.approvals.asking import is_shown, plan_of
from flows.approvals.ledger import Ledger
from flows.approvals.request import ApprovalRequest, RequestState
from flows.approvals.standing import Given, Merged, Standing, Stands, stands
from flows.comparison.drift import Incident
from flows.guarding.verdict import Approval
from flows.plan import Plan
from flows.reporting.status import LastIncident
from infrastructure.config_models import ApprovalSettings

_WAITING = "waiting"  # `flows.reporting.values.IncidentResult`


def _unknown() -> str:
    return ""


def _none_merged() -> Mapping[str, Merged]:
    return {}


@dataclass(frozen=True)
class Approvals:
    """See the module.

    `read_content`: digest over what desired state says now; `read_merged`: files that were
    merged. Each is called at most once.
    """

    settings: ApprovalSettings
    now: Callable[[], datetime]
    redact: Callable[[Mapping[str, object]], object]
    ledger: Ledger = field(default_factory=Ledger)
    read_content: Callable[[], str] = _unknown
    read_merged: Callable[[], Mapping[str, Merged]] = _none_merged

    @cached_property
    def content(self) -> str:
        """Digest over what desired state says; empty: not known for certain."""
        return self.read_content()

    @cached_property
    def merged(self) -> Mapping[str, Merged]:
        """Requests whose file was merged."""
        return self.read_merged() if self.ledger.waiting else {}

    def stands(self, request: ApprovalRequest) -> Stands:
        """How a request stands at this moment."""
        given = Given(
            ledger=self.ledger,
            content=self.content,
            now=self.now(),
            expire_after=self.settings.expire_after,
            merged=self.merged,
        )
        return stands(request, given)

    def of(self, incident: Incident) -> ApprovalRequest | None:
        """The newest request about an incident."""
        return self.ledger.newest(incident.root, incident.fingerprint)

    def rejected(self, incident: Incident) -> str | None:
        """Who refused what would be done about an incident, and why; until asked anew."""
        request = self.of(incident)
        if request is None:
            return None
        found = self.stands(request)
        if found.standing is not Standing.REJECTED or found.renewed:
            return None
        return f"{found.reason}; uici approve --renew {request.id} asks again"

    def calls(self, incident: Incident, last: LastIncident) -> bool:
        """Whether something is to be done about an incident that has not changed since.

        Somebody has decided, wants it asked again, or what was asked no longer holds.
        """
        request = self.of(incident)
        if request is None:
            return last.result == _WAITING  # asked by an earlier UICI, or its file is gone
        found = self.stands(request)
        if found.renewed and found.standing is not Standing.ENDED:
            return found.standing is not Standing.WAITING
        if found.standing is Standing.EXPIRED:
            return request.state is RequestState.WAITING  # people were not told yet
        silent = {Standing.WAITING, Standing.REJECTED}
        return found.standing not in silent and last.result == _WAITING

    def expired(self, incident: Incident) -> str | None:
        """Why a person has to be told, once, that nobody has decided."""
        request = self.of(incident)
        if request is None or request.state is not RequestState.WAITING:
            return None
        found = self.stands(request)
        if found.standing is not Standing.EXPIRED or found.renewed:
            return None
        return (
            f"approval {request.id}: {found.reason}; uici approve --renew {request.id} asks again"
        )

    def kept_plan(self, incident: Incident, last: LastIncident | None) -> Plan | None:
        """The plan that was shown to people, while it may still be carried out."""
        request = self.of(incident)
        if request is None:
            return None
        found = self.stands(request)
        cut_off = last is not None and last.result == _WAITING  # its run never told how it ended
        alive = found.standing in {Standing.WAITING, Standing.APPROVED, Standing.CHANGED}
        if alive or found.renewed or (found.standing is Standing.USED and cut_off):
            return plan_of(request)
        return None

    def asks(self, plan: Plan, incident: Incident) -> bool:
        """Whether people are asked about this very plan, or have allowed it."""
        request = self.ledger.for_plan(incident.root, plan.digest)
        if request is None:
            return False
        return self.stands(request).standing in {Standing.WAITING, Standing.APPROVED}

    def of_plan(self, plan: Plan, incident: Incident) -> dict[str, Approval]:
        """The approval of exactly this plan, by its digest; empty: there is none."""
        request = self.ledger.for_plan(incident.root, plan.digest)
        if request is None or not is_shown(plan, request, self.redact):
            return {}
        found = self.stands(request)
        if found.standing is not Standing.APPROVED or found.way is None:
            return {}
        approval = Approval(request.id, found.by, found.way.value, request.expires_at)
        return {plan.digest: approval}
