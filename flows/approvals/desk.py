"""Where people decide: what waits, approve, reject, ask again. `uici` and Prefect call it.

Looks at the remote first, so that what others have decided counts; writes one decision; never
touches a service. Neighbours: `flows.approvals.wiring` (the view), `flows.command_line.approve`,
`flows.prefect_edge.approve_flow`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flows.approvals.decision import MAX_REASON, Answer, Decision, Way
from flows.approvals.request import ApprovalRequest
from flows.approvals.standing import Standing, Stands, told
from flows.approvals.store import ApprovalStore
from flows.approvals.view import Approvals
from flows.repository.contract import Durability
from infrastructure.errors import NotFoundError, PermanentError

_NAMED = 5
_NAME = 200


@dataclass(frozen=True, slots=True)
class Said:
    """A person's word. `by`: who, as well as it is known."""

    answer: Answer
    by: str
    way: Way
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A request and how it stands now."""

    request: ApprovalRequest
    stands: Stands


class Look(Protocol):
    """Gives the newest view, the remote asked."""

    def __call__(self) -> Approvals:
        """Raises UiciError when desired state was never read."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """See the module. `look` asks the remote and gives what is known by now."""

    look: Look
    store: ApprovalStore
    redact: Callable[[str], str]
    now: Callable[[], datetime]

    def all(self) -> tuple[Shown, ...]:
        """What waits first, then what has ended, the newest first."""
        view = self.look()
        shown = [Shown(r, view.stands(r)) for r in view.ledger.requests.values()]
        shown.sort(key=lambda s: s.request.requested_at, reverse=True)
        return tuple(sorted(shown, key=lambda s: s.stands.standing not in _OPEN))

    def one(self, word: str) -> Shown:
        """The request of this id, or of the only id that begins so.

        Raises:
            NotFoundError: there is none, or there are several.
        """
        view = self.look()
        request = _found(view, word)
        return Shown(request, view.stands(request))

    def say(self, word: str, said: Said) -> tuple[ApprovalRequest, str]:
        """Write a decision; the request, and a sentence about what is so now.

        Raises:
            NotFoundError: no such request.
            PermanentError: it can't be decided (any more); nothing was written.
            TemporaryError: it could not be written; nothing is decided.
        """
        view = self.look()
        request = _found(view, word)
        self._check(view, request, said)
        now = self.now()
        decision = Decision(
            request=request.id,
            answer=said.answer,
            plan_digest=request.plan_digest,
            desired_content=request.desired_content,
            expires_at=request.expires_at,
            by=self._plain(said.by)[:_NAME] or "somebody",
            way=said.way,
            reason=self._plain(said.reason)[:MAX_REASON],
            at=now,
        )
        subject = f"{said.answer.value} {request.id}: {request.target}: {told(decision)}"
        done = self.store.decide(decision, f"{subject[:200]}\n", now)
        unpushed = done is not None and done.durability is Durability.LOCAL
        durable = f"; only on this machine so far: {done.error}" if done and unpushed else ""
        return request, f"{request.target}: {told(decision)}{_follows(request, said)}{durable}"

    def _check(self, view: Approvals, request: ApprovalRequest, said: Said) -> None:
        found = view.stands(request)
        first = view.ledger.for_plan(request.target, request.plan_digest)
        twice = first is not None and first.id != request.id
        if first is not None and twice and said.answer is Answer.APPROVE:
            raise PermanentError(f"{request.id} is asked for as {first.id} now: decide about that")
        if found.standing in _MAY[said.answer]:
            return
        if said.answer is Answer.RENEW:
            raise PermanentError(
                f"{request.id} is {found.standing.value}: only what was rejected or has expired"
                " is asked for again"
            )
        again = {
            Standing.EXPIRED: f": uici approve --renew {request.id} asks again",
            Standing.CHANGED: f": {_NEXT[request.by_hand]} asks again",
        }.get(found.standing, "")
        raise PermanentError(
            f"{request.id} can't be decided any more, it is {found.standing.value}:"
            f" {found.reason}{again}"
        )

    def _plain(self, text: str) -> str:
        clean = "".join(c if c.isprintable() else " " for c in self.redact(text))
        return " ".join(clean.split())


_OPEN = frozenset({Standing.WAITING, Standing.APPROVED})
# A no is taken as long as nothing was done; a yes only once.
_MAY = {
    Answer.APPROVE: frozenset({Standing.WAITING}),
    Answer.REJECT: frozenset({Standing.WAITING, Standing.APPROVED, Standing.CHANGED}),
    Answer.RENEW: frozenset({Standing.EXPIRED, Standing.REJECTED}),
}
# No run of the loop does what a person wanted: the person's own command does, with this yes.
_NEXT = {True: "the same uici run command, given again,", False: "the next run"}


def _follows(request: ApprovalRequest, said: Said) -> str:
    """What comes of a decision."""
    match said.answer:
        case Answer.APPROVE:
            return f": {_NEXT[request.by_hand]} does it"
        case Answer.RENEW:
            return f": {_NEXT[request.by_hand]} asks again"
        case Answer.REJECT:
            return ": it is not done"


def _found(view: Approvals, word: str) -> ApprovalRequest:
    known = view.ledger.requests
    found = [request for request in known.values() if word and request.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    waiting = ", ".join(r.id for r in view.ledger.waiting[:_NAMED]) or "nothing"
    if found:
        raise NotFoundError(f"{len(found)} requests begin with {word}: write more of the id")
    raise NotFoundError(f"there is no request {word}: {waiting} waits")
