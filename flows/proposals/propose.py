"""The coding agent at work: causes found become branches, moot branches go.

Called at the end of a run, after its report is committed, and by people (`uici propose`).
Where nothing recurs and no proposal is known it returns at once, without a process or a
request. Whether a proposal is open is read from the branches at the remote, which the run's
fetch has brought; the notes on the reports branch say what each was about and what a person
refused. Nothing here raises for what Git, a forge or a model did: it is told in the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial

import structlog

from flows.proposals.advice import AdviceRequest, Adviser
from flows.proposals.candidate import Candidate, Candidates, commit_of
from flows.proposals.cause import Cause, find_causes
from flows.proposals.edit import UneditableError
from flows.proposals.follow import Following
from flows.proposals.forge import ForgeClient
from flows.proposals.result import Proposal, Remembered, Result, Situation, Work, Writing
from flows.proposals.settle import Forged, Settling
from flows.proposals.text import Advice, body, diff, plain, title, trailers
from flows.proposals.value import Value, rule_value
from flows.reporting.proposal_note import NotedExchange, ProposalNote, ProposalState
from flows.repository.proposal_store import ProposalStore
from infrastructure.config_models import ProposalSettings
from infrastructure.errors import InvalidInputError, UiciError
from infrastructure.service import Service

_log = structlog.get_logger("uici")

# What is news at the end of a run; the rest is told to a person who asks.
_NEWS = frozenset({Result.OPENED, Result.RENEWED, Result.CLOSED, Result.REFUSED, Result.FAILED})


class Proposer:
    """See the module. Make one a run; `remembered` is the process's."""

    def __init__(
        self,
        settings: ProposalSettings,
        store: ProposalStore,
        candidates: Candidates,
        *,
        adviser: Adviser,
        redact: Callable[[str], str],
        remembered: Remembered,
        until: float | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            settings: `proposals` of platform.yml.
            store: branches and notes.
            candidates: makes edited files.
            adviser: the coding agent's model.
            redact: cuts secrets out of a text.
            remembered: what the process knows from earlier runs.
            until: on the clock of time.monotonic; nothing is begun after it. None: no such end.
        """
        forge = settings.forge
        client = None if forge is None else ForgeClient(forge, redact=redact, until=until)
        self._until = until
        self._settings = settings
        self._store = store
        self._candidates = candidates
        self._adviser = adviser
        self._redact = redact
        self._remembered = remembered
        timeout = settings.within if forge is None else forge.timeout
        self._forge = Forged(client, timeout, remembered)
        self._settling = Settling(
            store,
            self._forge,
            Following(store, candidates, remembered),
            remembered,
            prefix=settings.branch_prefix,
        )

    def consider(
        self, situation: Situation, writing: Writing = Writing.FOR_REAL
    ) -> tuple[Proposal, ...]:
        """Close what is moot, propose what recurs; what has become of each."""
        if not self._settings.enabled:
            return ()
        causes = self._causes(situation)
        tips = self._store.tips()
        if not causes and not tips and not situation.notes:
            return ()
        desired = situation.desired
        if desired.stale is not None or desired.refused_revision is not None:
            return ()  # what is in force is not what people see in Git
        work = Work(situation, tips, dict(situation.notes))
        if writing is Writing.FOR_REAL:
            for branch in sorted({*tips, *situation.notes}):
                self._guarded(work, branch, partial(self._settling.settle, work, branch))
        for cause in causes:
            branch = self._settings.branch_prefix + cause.slug
            self._guarded(work, branch, partial(self._propose, work, cause, writing))
        self._write(work)
        for each in work.done:
            _tell(each)
        return tuple(work.done)

    def _causes(self, situation: Situation) -> list[Cause]:
        found = find_causes(situation.memory, self._settings, situation.now)
        targets = situation.targets
        return [cause for cause in found if targets is None or cause.target in targets]

    def _guarded(self, work: Work, branch: str, step: Callable[[], None]) -> None:
        """One branch's trouble is told and is nobody else's. Out of time: the next run's work."""
        if self._until is not None and time.monotonic() >= self._until:
            _log.debug("proposal_not_considered", branch=branch, reason="the run's time is over")
            return
        try:
            step()
        except UiciError as exc:
            note = work.notes.get(branch)
            target = note.target if note is not None else ""
            told = plain(self._redact(str(exc)))
            work.tell(Result.FAILED, target, branch, told)

    def _propose(self, work: Work, cause: Cause, writing: Writing) -> None:
        branch = self._settings.branch_prefix + cause.slug
        newest = cause.incidents[-1].at
        if work.notes.get(branch) is not None or branch in work.tips:
            self._there(work, cause, branch, writing)
            return
        if writing is Writing.FOR_REAL and self._remembered.hopeless.get(branch) == newest:
            return
        service = work.situation.desired.services[cause.target]
        try:
            self._make(work, cause, service, branch=branch, writing=writing)
        except (UneditableError, InvalidInputError) as exc:
            self._remembered.hopeless[branch] = newest
            told = plain(self._redact(f"a person must look: {exc}"))
            work.tell(Result.NONE, cause.target, branch, told)

    def _there(self, work: Work, cause: Cause, branch: str, writing: Writing) -> None:
        """Proposed before: nothing new is made, but for a pull request that is missing."""
        note = work.notes.get(branch)
        if note is None:  # somebody's own branch of that name, or a dry run without settling
            told = "a branch of that name is there already"
            work.tell(Result.OPEN, cause.target, branch, told)
            return
        if note.state is not ProposalState.OPEN:
            if writing is Writing.DRY_RUN:
                told = "a person has refused it for this declaration"
                work.tell(Result.REFUSED, cause.target, branch, told)
            return
        address = note.pull_request
        if writing is Writing.FOR_REAL and address is None and branch in work.tips:
            address = self._retried(work, note)
        told = f"{note.field} {note.old} → {note.new}" if note.new else note.field
        open_now = Proposal(cause.target, branch, Result.OPEN, told, commit=note.commit)
        work.done.append(replace(open_now, pull_request=address or ""))

    def _retried(self, work: Work, note: ProposalNote) -> str | None:
        client = self._forge.due(note.branch, work.situation.now)
        if client is None:
            return None
        subject, _, text = self._store.message(note.commit).partition("\n")
        pull = client.open(note.branch, self._store.base, title=subject, text=text.strip())
        work.keep(note.model_copy(update={"pull_request": pull.url, "number": pull.number}))
        return pull.url

    def _make(
        self, work: Work, cause: Cause, service: Service, *, branch: str, writing: Writing
    ) -> None:
        """Rule, edit and proof first; only then a model, a branch, a pull request."""
        situation = work.situation
        seen = self._candidates.look_up(cause, situation.desired, situation.memory.statuses)
        rule = rule_value(cause, service, self._settings, seen)
        if isinstance(rule, str):
            raise UneditableError(rule)
        candidate = self._candidates.make(situation.desired, service, cause.pointer, rule.new)
        advice = Advice("not asked: this is a dry run")
        value = rule
        if writing is Writing.FOR_REAL:
            wanted = AdviceRequest(
                cause, service, rule, seen, candidate.old.decode(errors="replace")
            )
            advice = self._adviser.advise(wanted)
            value, candidate = self._advised(work, wanted, advice, candidate)
        text = self._redact(body(cause, value, advice, self._settings))
        proposal = Proposal(
            target=cause.target,
            branch=branch,
            result=Result.WOULD_OPEN,
            told=f"{cause.pointer} {value.old} → {value.new}",
            title=self._redact(title(cause, value)),
            body=text,
            diff=self._redact(diff(candidate.old, candidate.new, candidate.path)),
        )
        if writing is Writing.DRY_RUN:
            work.done.append(proposal)
            return
        self._push(work, cause, proposal, value=value, candidate=candidate, advice=advice)

    def _advised(
        self, work: Work, wanted: AdviceRequest, advice: Advice, candidate: Candidate
    ) -> tuple[Value, Candidate]:
        """The model's value, if it has one in bounds that can be written; else the rule's."""
        if advice.value is None or advice.value == wanted.rule.new:
            return wanted.rule, candidate
        desired, pointer = work.situation.desired, wanted.cause.pointer
        made = self._candidates.make(desired, wanted.service, pointer, advice.value)
        how = f"the model's value; the rule's own is {wanted.rule.new}"
        return Value(wanted.rule.old, advice.value, how), made

    def _push(
        self,
        work: Work,
        cause: Cause,
        proposal: Proposal,
        *,
        value: Value,
        candidate: Candidate,
        advice: Advice,
    ) -> None:
        situation = work.situation
        tied = trailers(cause, situation.run_id, situation.desired.revision)
        commit, error = self._store.create(
            proposal.branch,
            commit_of(situation.desired),
            {candidate.path: candidate.new},
            message=f"{proposal.title}\n\n{proposal.body}\n\n{tied}",
            at=situation.now,
        )
        if error:
            told = f"the remote refused its branch: {plain(self._redact(error))}"
            work.tell(Result.FAILED, cause.target, proposal.branch, told)
            return
        note = ProposalNote(
            target=cause.target,
            field=cause.pointer,
            old=value.old,
            new=value.new,
            spec_digest=cause.spec_digest,
            branch=proposal.branch,
            commit=commit,
            state=ProposalState.OPEN,
            at=situation.now,
            run_id=situation.run_id,
            exchanges=tuple(NotedExchange.model_validate(asdict(e)) for e in advice.exchanges),
            cost=advice.cost,
        )
        work.keep(note)  # whatever the forge says, the branch is there
        address = self._opened(work, note, proposal)
        work.done.append(
            replace(proposal, result=Result.OPENED, commit=commit, pull_request=address)
        )

    def _opened(self, work: Work, note: ProposalNote, proposal: Proposal) -> str:
        """The address of its pull request; empty: there is no forge, or it did not take it."""
        client = self._forge.due(note.branch, work.situation.now)
        if client is None:
            return ""
        try:
            pull = client.open(
                note.branch, self._store.base, title=proposal.title, text=proposal.body
            )
        except UiciError as exc:
            told = f"the branch is there, its pull request is not: {plain(self._redact(str(exc)))}"
            work.tell(Result.FAILED, note.target, note.branch, told)
            return ""
        work.keep(note.model_copy(update={"pull_request": pull.url, "number": pull.number}))
        return pull.url

    def _write(self, work: Work) -> None:
        """Notes go to the reports branch in one commit."""
        if not work.files:
            return
        message = f"proposals: {_summary(work.done)}\n\nUICI-Run: {work.situation.run_id}\n"
        try:
            self._store.commit_notes(work.files, self._redact(message), work.situation.now)
        except UiciError as exc:
            told = f"the note about it could not be committed: {plain(self._redact(str(exc)))}"
            work.tell(Result.FAILED, "", "", told)


def _summary(done: Iterable[Proposal]) -> str:
    told = [f"{p.result.value} {p.branch.rpartition('/')[2]}" for p in done if p.result in _NEWS]
    return plain(", ".join(told)) or "notes"


def _tell(proposal: Proposal) -> None:
    log = _log.info if proposal.result in _NEWS else _log.debug
    log(
        "proposal",
        target=proposal.target,
        branch=proposal.branch,
        result=proposal.result.value,
        detail=proposal.told,
    )
