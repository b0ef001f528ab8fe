"""An open proposal follows the branch that it is for: where it would conflict, it is made anew.

It is for a declaration that has not changed, so its value stands; what has changed is the text
around it, a comment on the same line or the file's place. One that was found and not made by this
agent (`ProposalNote.new` is empty) is left as it is. Used by `flows.proposals.settle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from flows.proposals.candidate import Candidates, commit_of
from flows.proposals.result import Remembered, Result, Work
from flows.proposals.text import renewed
from flows.reporting.proposal_note import ProposalNote
from flows.repository.proposal_store import ProposalStore


class Following:
    """See the module. Looks once at each commit of the desired branch."""

    def __init__(
        self, store: ProposalStore, candidates: Candidates, remembered: Remembered
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._remembered = remembered

    def follow(self, work: Work, note: ProposalNote, tip: str) -> None:
        """Make an open proposal's commit anew, on the same branch, if it would conflict.

        A branch to which somebody else has committed is theirs to bring up to date.

        Raises:
            UneditableError, InvalidInputError: it can't be made any more.
            UiciError: Git; nothing is lost, the next run goes on.
        """
        base = commit_of(work.situation.desired)
        if self._remembered.followed.get(note.branch) == (tip, base):
            return
        if note.new and self._store.only_ours(tip, base) and not self._merges(tip, base):
            self._renew(work, note, tip, base)
        else:
            self._remembered.followed[note.branch] = (tip, base)

    def _merges(self, tip: str, base: str) -> bool:
        """Whether the proposal's commit goes onto the desired branch as it is."""
        parent, paths = self._store.change(tip)
        before, theirs = self._store.contents(parent, paths), self._store.contents(base, paths)
        if before == theirs:
            return True
        ours = self._store.contents(tip, paths)
        return all(
            path in theirs and merges(before.get(path, b""), ours[path], theirs[path])
            for path in ours
        )

    def _renew(self, work: Work, note: ProposalNote, tip: str, base: str) -> None:
        situation = work.situation
        service = situation.desired.services[note.target]
        candidate = self._candidates.make(situation.desired, service, note.field, note.new)
        message = renewed(self._store.message(tip), situation.run_id, situation.desired.revision)
        commit, error = self._store.renew(
            note.branch,
            base,
            {candidate.path: candidate.new},
            message=message,
            at=situation.now,
            over=tip,
        )
        if error:
            # Asked again when one of the two has changed: what refuses it does so each time.
            self._remembered.followed[note.branch] = (tip, base)
            told = f"the remote refused its branch on the newest {self._store.base}: {error}"
            work.tell(Result.FAILED, note.target, note.branch, told)
            return
        work.keep(note.model_copy(update={"commit": commit}))
        self._remembered.followed[note.branch] = (commit, base)
        told = f"{self._store.base} has changed the same lines: made anew on it"
        work.tell(Result.RENEWED, note.target, note.branch, told)


def merges(base: bytes, ours: bytes, theirs: bytes) -> bool:
    """Whether Git would merge two versions of a file: no lines of both touch. Pure."""
    old = base.splitlines()
    changed, others = _changed(old, ours.splitlines()), _changed(old, theirs.splitlines())
    return all(
        end < start or other_end < begin for begin, end in changed for start, other_end in others
    )


def _changed(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Lines of `old` that are others in `new`: first, and one behind the last."""
    matcher = SequenceMatcher(None, old, new)
    return [(a, b) for tag, a, b, _, _ in matcher.get_opcodes() if tag != "equal"]
