"""Proposals that are there already: still open, moot, or refused by a person.

A branch whose declaration is no longer what it was made for is moot: it is deleted while all
on it is ours, and its pull request closed with a sentence. One that would conflict is made
anew (`flows.proposals.follow`), or goes, too, where it can't be. A pull request that a person
closed, or a branch that a person deleted, is a refusal, remembered until the declaration
changes. Used by `flows.proposals.propose`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from flows.proposals.candidate import commit_of
from flows.proposals.edit import UneditableError
from flows.proposals.follow import Following
from flows.proposals.forge import ForgeClient, OutOfTimeError, PullState
from flows.proposals.result import Remembered, Result, Work
from flows.proposals.text import CLOSING, FIELD, SPEC, TARGET, trailer
from flows.reporting.proposal_note import ProposalNote, ProposalState
from flows.repository.proposal_store import ProposalStore
from infrastructure.errors import InvalidInputError, UiciError

# A forge that hangs takes a sixtieth of the time, and a person's click is seen in minutes.
_ASKED_EVERY = 60  # times its time-out
_CLOSED_AT_LEAST_EVERY = timedelta(days=1)  # tried, where the forge refuses it


class Forged:
    """The forge as far as one is configured, asked about each branch now and then."""

    def __init__(
        self, client: ForgeClient | None, timeout: timedelta, remembered: Remembered
    ) -> None:
        self.client = client
        self._every = timeout * _ASKED_EVERY
        self._remembered = remembered

    def after(self, failures: int) -> timedelta:
        """How long to wait after so many vain attempts, each time twice as long."""
        return min(self._every * (1 << max(0, min(failures - 1, 10))), _CLOSED_AT_LEAST_EVERY)

    def due(self, branch: str, now: datetime) -> ForgeClient | None:
        """The client, if it is time to ask about this branch; then it has been asked."""
        last = self._remembered.asked.get(branch)
        if self.client is None or (last is not None and now - last < self._every):
            return None
        self._remembered.asked[branch] = now
        return self.client


class Settling:
    """See the module."""

    def __init__(
        self,
        store: ProposalStore,
        forge: Forged,
        following: Following,
        remembered: Remembered,
        *,
        prefix: str,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._forge = forge
        self._following = following
        self._remembered = remembered

    def settle(self, work: Work, branch: str) -> None:
        """Bring one branch and its note to what is so now.

        Raises:
            UiciError: Git or the forge; nothing is lost, the next run goes on.
        """
        if not branch.startswith(self._prefix):
            return  # a note says whatever its author likes: no branch of others is our business
        tip = work.tips.get(branch)
        note = work.notes.get(branch) or self._adopted(work, branch, tip)
        if note is None:
            return
        service = work.situation.desired.services.get(note.target)
        moot = service is None or service.spec_digest != note.spec_digest
        if moot and note.not_before is not None and work.situation.now < note.not_before:
            return
        if tip is None:
            self._gone(work, note, moot=moot)
        elif note.state is ProposalState.LEFT:
            return
        elif moot or note.state is ProposalState.REFUSED:
            self._withdraw(work, note, tip, why="desired state has changed" if moot else "")
        elif not self._refused(work, note, tip):
            self._follow(work, work.notes[branch], tip)

    def _adopted(self, work: Work, branch: str, tip: str | None) -> ProposalNote | None:
        """A branch of ours without a note: it was lost, or the process ended in between."""
        if tip is None or (branch, tip) in self._remembered.strangers:
            return None
        message = self._store.message(tip)
        target, field, spec = (trailer(message, name) for name in (TARGET, FIELD, SPEC))
        if not (target and field and spec):
            self._remembered.strangers.add((branch, tip))
            return None
        note = ProposalNote(
            target=target,
            field=field,
            old="",
            new="",
            spec_digest=spec,
            branch=branch,
            commit=tip,
            state=ProposalState.OPEN,
            at=work.situation.now,
            run_id=work.situation.run_id,
        )
        work.keep(note)
        return note

    def _gone(self, work: Work, note: ProposalNote, *, moot: bool) -> None:
        """The remote has no such branch (any more)."""
        if moot:
            self._close(work, note)
            work.drop(note.branch)
            if note.state is ProposalState.OPEN:
                told = "desired state has changed, and its branch is gone"
                work.tell(Result.CLOSED, note.target, note.branch, told)
        elif note.state is not ProposalState.REFUSED:
            work.keep(note.model_copy(update={"state": ProposalState.REFUSED}))
            told = "its branch was deleted: not proposed again for this declaration"
            work.tell(Result.REFUSED, note.target, note.branch, told)

    def _withdraw(self, work: Work, note: ProposalNote, tip: str, *, why: str = "") -> None:
        """Delete its branch if it is ours; with `why` its pull request is closed, too."""
        base = commit_of(work.situation.desired)
        if not self._store.only_ours(tip, base):
            work.keep(note.model_copy(update={"state": ProposalState.LEFT}))
            told = "somebody else has committed to its branch, which is left to them"
            work.tell(Result.CLOSED, note.target, note.branch, told)
            return
        if why:
            self._close(work, note)
        error = self._store.delete(note.branch, tip)
        if error:
            told = f"its branch could not be deleted: {error}"
            work.tell(Result.FAILED, note.target, note.branch, told)
            return
        if why:
            work.drop(note.branch)
            work.tell(Result.CLOSED, note.target, note.branch, f"{why}: its branch is deleted")

    def _follow(self, work: Work, note: ProposalNote, tip: str) -> None:
        try:
            self._following.follow(work, note, tip)
        except (UneditableError, InvalidInputError):  # why is told when it is proposed again
            self._withdraw(work, note, tip, why="it can't be made on the newest commit")

    def _refused(self, work: Work, note: ProposalNote, tip: str) -> bool:
        """Whether a person has closed it; the forge is asked now and then."""
        client = self._forge.due(note.branch, work.situation.now) if note.number else None
        if client is None or note.number is None:
            return False
        pull = client.get(note.number, note.branch)
        if pull is None or pull.state is not PullState.CLOSED:
            return False
        refused = note.model_copy(update={"state": ProposalState.REFUSED})
        work.keep(refused)
        told = "its pull request was closed: not proposed again for this declaration"
        work.tell(Result.REFUSED, note.target, note.branch, told)
        self._withdraw(work, refused, tip)
        return True

    def _close(self, work: Work, note: ProposalNote) -> None:
        """Close its pull request, if it is open still; the note goes with it, or says when again.

        Raises:
            UiciError: it may be open still.
        """
        if self._forge.client is not None and note.number is not None:
            try:
                self._forge.client.close(note.number, note.branch, CLOSING)
            except OutOfTimeError:
                raise  # it was not even asked
            except UiciError:
                failures = (note.unclosed or 0) + 1
                again = work.situation.now + self._forge.after(failures)
                work.keep(note.model_copy(update={"unclosed": failures, "not_before": again}))
                raise
        self._remembered.asked.pop(note.branch, None)
        self._remembered.hopeless.pop(note.branch, None)
        self._remembered.followed.pop(note.branch, None)
