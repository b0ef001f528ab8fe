"""Whether a decision counts now: bound to its plan, its revision, its expiry, and used once.

Pure, and deny by default: one rule after the other can only make it a no, and only what is
left at the end is a yes. Neighbours: `flows.approvals.ledger` (what was said),
`flows.approvals.view` (asks for a run), `flows.approvals.desk` (asks for a person).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from flows.approvals.decision import Answer, Decision, Way
from flows.approvals.ledger import Ledger
from flows.approvals.request import ApprovalRequest, RequestState
from infrastructure.observed import empty


class Standing(StrEnum):
    """How a request stands at a moment."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CHANGED = "changed"  # desired state says something else than when it was asked
    USED = "used"
    ENDED = "ended"  # superseded, or over


@dataclass(frozen=True, slots=True)
class Stands:
    """How a request stands, why, and by whose word. `renewed`: a person wants it anew."""

    standing: Standing
    reason: str
    by: str = ""
    way: Way | None = None
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """The file of a request was merged into desired state. `intact`: just as it was written."""

    by: str
    intact: bool


@dataclass(frozen=True, slots=True)
class Given:
    """What the rules rest on beside the request.

    `content`: digest over what desired state says now; empty: not known for certain, and
    then nothing is approved. `expire_after`: what a request may have at most.
    """

    ledger: Ledger
    content: str
    now: datetime
    expire_after: timedelta
    merged: Mapping[str, Merged] = field(default_factory=empty)


def stands(request: ApprovalRequest, given: Given) -> Stands:
    """How a request stands now. The first rule that has an answer gives it."""
    renewed = any(d.answer is Answer.RENEW for d in given.ledger.decisions.get(request.id, ()))
    answers = (rule(request, given) for rule in _RULES)
    found = next((each for each in answers if each is not None), None)
    return replace(found or _approved(request, given), renewed=renewed)


Rule = Callable[[ApprovalRequest, Given], Stands | None]


def _used(request: ApprovalRequest, given: Given) -> Stands | None:
    """An approval is spent by the first run that takes it, whatever comes of it."""
    if request.state is RequestState.USED or given.ledger.uses.get(request.id):
        return Stands(Standing.USED, request.told or "its approval was used")
    return None


def _ended(request: ApprovalRequest, _: Given) -> Stands | None:
    kinds = {
        RequestState.REJECTED: Standing.REJECTED,
        RequestState.EXPIRED: Standing.EXPIRED,
        RequestState.SUPERSEDED: Standing.ENDED,
        RequestState.OVER: Standing.ENDED,
    }
    kind = kinds.get(request.state)
    return None if kind is None else Stands(kind, request.told or request.state.value)


def _rejected(request: ApprovalRequest, given: Given) -> Stands | None:
    """A no is a no, and outweighs every yes; it need not be bound to anything more."""
    said = given.ledger.decisions.get(request.id, ())
    no = next((d for d in said if d.answer is Answer.REJECT), None)
    return None if no is None else Stands(Standing.REJECTED, told(no), no.by, no.way)


def _expired(request: ApprovalRequest, given: Given) -> Stands | None:
    if given.now < request.expires_at:
        return None
    at = request.expires_at.isoformat(timespec="seconds")
    return Stands(Standing.EXPIRED, f"nobody approved it until {at}")


def _changed(request: ApprovalRequest, given: Given) -> Stands | None:
    if not given.content or given.content == request.desired_content:
        return None
    reason = f"desired state has changed since {short_revision(request.desired_revision)}"
    return Stands(Standing.CHANGED, reason)


def _not_certain(request: ApprovalRequest, given: Given) -> Stands | None:
    """What Git says now is not known, or the clock went back behind the request."""
    if not given.content:
        return Stands(Standing.WAITING, "what desired state says now can't be read")
    if request.id in given.ledger.unread:
        return Stands(Standing.WAITING, "a decision about it can't be read: it may be a no")
    if request.expires_at - given.now > given.expire_after:
        return Stands(Standing.WAITING, "it expires later than approvals.expireAfter allows")
    return None


_RULES: tuple[Rule, ...] = (_used, _ended, _rejected, _expired, _changed, _not_certain)


def _approved(request: ApprovalRequest, given: Given) -> Stands:
    said = [d for d in given.ledger.said(request) if _counts(d, given)]
    if said:
        first = said[0]
        return Stands(Standing.APPROVED, told(first), first.by, first.way)
    merged = given.merged.get(request.id)
    if merged is not None and merged.intact:
        reason = f"approved by {merged.by}, who merged its file"
        return Stands(Standing.APPROVED, reason, merged.by, Way.MERGE)
    if merged is not None:
        return Stands(Standing.WAITING, "its file was merged with changes, which approves nothing")
    others = [d for d in given.ledger.decisions.get(request.id, ()) if not d.is_about(request)]
    if others:
        return Stands(Standing.WAITING, "a decision about it is bound to something else")
    return Stands(Standing.WAITING, "a person has to approve it")


def _counts(decision: Decision, given: Given) -> bool:
    """Whether it is a yes of the time before the request expired; not one of the future."""
    late = decision.at >= decision.expires_at
    ahead = decision.at > given.now + given.expire_after
    return decision.answer is Answer.APPROVE and not late and not ahead


def told(decision: Decision) -> str:
    """`approved by ann (command): the pool is drained`."""
    word = {
        Answer.APPROVE: "approved",
        Answer.REJECT: "rejected",
        Answer.RENEW: "asked for again",
    }[decision.answer]
    reason = f": {decision.reason}" if decision.reason else ""
    return f"{word} by {decision.by} ({decision.way.value}){reason}"


def short_revision(revision: str) -> str:
    """`main@sha1:0123456789…` → `main@0123456`."""
    branch, _, sha = revision.partition("@")
    return f"{branch}@{sha.removeprefix('sha1:')[:7]}"
