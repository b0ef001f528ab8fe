"""Git: desired state in, reports out.

Desired state is read at a commit; reports go to a branch of their own, committed here
first and then pushed, never by force. What the branches and files *mean* stands here;
commands and processes are `flows.repository.clone`'s, which is passed in: this module is
part of the pure centre's imports and does not know GitPython.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog

from flows.approvals.decision import Use
from flows.approvals.request import APPROVAL_FOLDER
from flows.approvals.store import ApprovalStore
from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.learning.shelf import KNOWLEDGE_FOLDER
from flows.plan import Plan
from flows.report import (
    Redactor,
    RunReport,
    commit_message,
    intent_files,
    intent_message,
    report_files,
)
from flows.reporting.as_json import json_bytes
from flows.reporting.proposal_note import PROPOSAL_FOLDER
from flows.reporting.status import (
    HEARTBEAT_PATH,
    INTENT_FOLDER,
    REFUSED_PATH,
    REPORT_FOLDER,
    STATUS_FOLDER,
    OpenIntent,
    Reported,
    TargetStatus,
    intent_path,
)
from flows.repository.contract import (
    CloneDamagedError,
    Commit,
    CommitResult,
    DesiredChange,
    DesiredState,
    Durability,
    Listing,
    NewTip,
    Pushed,
    Renewal,
    Repository,
    Tips,
)
from flows.repository.memory import StoredReport, find_report, read_memory
from flows.repository.proposal_store import ProposalStore
from flows.repository.revisions import Parser, Revisions
from infrastructure.config_models import GitSettings
from infrastructure.errors import Problem, UiciError
from infrastructure.pause import PAUSE_PATH, Pause, PauseFile, pauses_data

__all__ = ["CommitResult", "DesiredState", "Durability", "GitState", "Parser"]

_log = structlog.get_logger("uici")

# What of the reports branch is read before a run.
_MEMORY = (
    STATUS_FOLDER,
    INTENT_FOLDER,
    PROPOSAL_FOLDER,
    APPROVAL_FOLDER,
    KNOWLEDGE_FOLDER,
    REFUSED_PATH,
    PAUSE_PATH,
)
_DELETIONS = 200  # expired report files that one commit takes away


_T = TypeVar("_T")
_Case = tuple[Incident, Plan, Sequence[Verdict]]


@dataclass(frozen=True, slots=True)
class _Trailers:
    """What ties a commit to its run: the last lines of its message."""

    run_id: str
    desired_revision: str
    plan_digests: tuple[str, ...] = ()

    def on(self, message: str) -> str:
        """The message with the trailers."""
        lines = [f"UICI-Run: {self.run_id}"]
        lines += [f"UICI-Plan: {digest}" for digest in self.plan_digests]
        lines.append(f"UICI-Desired: {self.desired_revision}")
        plain = ["".join(char for char in line if char.isprintable()) for line in lines]
        return f"{message.rstrip()}\n\n" + "\n".join(plain) + "\n"


class GitState:
    """The agent's view of its state repository. One object lives as long as its process."""

    def __init__(
        self,
        repository: Repository,
        parser: Parser,
        settings: GitSettings,
        *,
        redactor: Redactor,
    ) -> None:
        self._repository = repository
        self._redactor = redactor
        self._settings = settings
        self._revisions = Revisions(repository, parser, settings)
        self._renewals: list[Renewal] = []
        self._tips: Tips | None = None
        self._memory: tuple[str, Reported] | None = None
        self._retained_on: object = None
        self._pausing = threading.Lock()

    # ── desired state ───────────────────────────────────────────────────────────

    def desired(self) -> DesiredState:
        """The newest valid desired state, fetched now.

        Raises:
            TemporaryError: the remote can't be reached, or has no such branch, and never
                could or had.
            CloneDamagedError: the clone is damaged and can't be made anew now.
        """
        return self._told(self._mended(self._fetched))

    def _fetched(self) -> DesiredState:
        settings = self._settings
        stale = None
        try:
            tips = self._repository.fetch(settings.branch, settings.reports_branch)
        except CloneDamagedError:
            raise
        except UiciError as exc:
            tips = self._repository.tips(settings.branch, settings.reports_branch)
            if tips.desired is None:
                raise
            stale = str(exc)
            _log.warning("desired_state_stale", reason=stale)
        self._tips = tips
        return replace(self._revisions.in_force(tips), stale=stale)

    def _mended(self, call: Callable[[], _T]) -> _T:
        """What a call on the clone gives; a damaged clone is made anew and asked again.

        Raises:
            CloneDamagedError: it can't be made anew now, or is damaged again.
        """
        try:
            return call()
        except CloneDamagedError as damage:
            settings = self._settings
            renewal = self._repository.renew(
                settings.branch, settings.reports_branch, reason=damage.reason
            )
            self._tips = self._memory = None
            if renewal is not None:
                self._renewals.append(renewal)
            return call()

    def _told(self, desired: DesiredState) -> DesiredState:
        """With what became of a damaged clone since the last time; told once."""
        renewals, self._renewals = self._renewals, []
        return replace(
            desired,
            problems=(*desired.problems, *(_renewal_remark(renewal) for renewal in renewals)),
            lost=tuple(f"{each.lost} ({each.aside})" for each in renewals if each.lost),
        )

    # ── proposals ───────────────────────────────────────────────────────────────

    def proposals(self) -> ProposalStore:
        """What `flows.proposals` needs of the clone."""

        def commit(files: Mapping[str, bytes | None], message: str, at: datetime) -> None:
            self._commit(files, message, at)

        return ProposalStore(self._repository, self._settings, commit)

    def approvals(self) -> ApprovalStore:
        """What `flows.approvals` needs of the clone."""

        def commit(
            files: Mapping[str, bytes | None], message: str, at: datetime
        ) -> CommitResult | None:
            written = self._commit(files, message, at)
            return written[1] if written else None

        return ApprovalStore(self._repository, self._settings, commit)

    def changes(
        self, desired: DesiredState, targets: Sequence[str], *, limit: int, since: datetime
    ) -> tuple[DesiredChange, ...]:
        """The newest commits that touched the targets' files, newest first.

        Args:
            desired: as `desired` gave it.
            targets: inventory ids; those whose file is not known are passed over.
            limit: at most so many commits.
            since: with time zone; older ones are left out.

        Raises:
            CloneDamagedError: the clone can't be read; the next run mends it.
            TemporaryError: it can't be read now.
        """
        sha = desired.revision.rpartition("@sha1:")[2]
        found: dict[str, DesiredChange] = {}
        for target in targets if sha != desired.revision else ():
            path = desired.files.get(target)
            if path is None:
                continue
            for change in self._repository.changes(sha, path, limit=limit, since=since):
                known = found.get(change.sha, change)
                found[change.sha] = replace(known, targets=(*known.targets, target))
        return tuple(sorted(found.values(), key=lambda c: c.at, reverse=True)[:limit])

    # ── pauses ──────────────────────────────────────────────────────────────────

    def pauses(self) -> tuple[PauseFile, ...]:
        """What people have paused, in either place, as far as the clone knows by now.

        Asks no remote: `desired` and `refresh` do. Safe to use from several threads.
        """
        with self._pausing:
            tips = self._mended(self._look)
            declared = self._revisions.pauses(tips)
            ours = self.reported().pauses
        return (*declared, *ours)

    def refresh(self) -> None:
        """Bring what others have committed since; what can't be reached brings nothing."""
        settings = self._settings
        try:
            self._tips = self._repository.fetch(settings.branch, settings.reports_branch)
        except UiciError as exc:
            _log.warning("refresh_failed", reason=str(exc))

    def pause(self, pause: Pause, now: datetime) -> CommitResult | None:
        """Write a pause on the reports branch, beside those that stand there.

        None: the same stands there already.

        Raises:
            TemporaryError: the local commit could not be written.
            PermanentError: as above, and it will fail again.
        """
        before = [p.pause for p in self.reported().pauses if not p.over(now)]
        if pause in before:
            return None
        message = f"pause: {pause.reason}\n"
        done = self._hold((*before, pause), message, now)
        beside = self._paused_before(done, now) if done is not None else []
        missed = [other for other in beside if other not in before]
        if not missed:
            return done
        # Somebody else paused at the same moment, and ours has come on top of it.
        return self._hold((*before, *missed, pause), message, now) or done

    def _paused_before(self, commit: CommitResult, now: datetime) -> list[Pause]:
        listing = self._repository.tree(f"{commit.sha}^", (PAUSE_PATH,))
        found = read_memory(listing, self._repository, self._settings.max_file_bytes)
        return [p.pause for p in found.pauses if not p.over(now)]

    def resume(self, now: datetime, left: Sequence[Pause] = ()) -> CommitResult | None:
        """Take the pauses on the reports branch away, but for these. None: there is none.

        Raises:
            TemporaryError: the local commit could not be written.
            PermanentError: as above, and it will fail again.
        """
        if not self.reported().pauses:
            return None
        if left:
            return self._hold(left, "resume: a pause is over in part\n", now)
        message = "resume: the pause is over\n"
        done = self._commit({PAUSE_PATH: None}, message, now)
        return done[1] if done else None

    def _hold(self, pauses: Sequence[Pause], message: str, now: datetime) -> CommitResult | None:
        content = json_bytes(pauses_data(pauses), self._redactor.data, indent=1)
        done = self._commit({PAUSE_PATH: content}, self._redactor.text(message), now)
        return done[1] if done else None

    # ── memory ──────────────────────────────────────────────────────────────────

    def reported(self) -> Reported:
        """What the reports branch tells, unpushed commits included; damaged files apart."""
        return self._mended(self._reported)

    def _reported(self) -> Reported:
        tips = self._tips or self._look()
        if tips.reports is None:
            return Reported()
        sha = tips.reports.sha
        memory = self._memory
        if memory is None or memory[0] != sha:
            listing = self._repository.tree(sha, _MEMORY)
            read = read_memory(listing, self._repository, self._settings.max_file_bytes)
            for damage in read.damaged:
                _log.warning("reports_branch_file_damaged", detail=damage)
            memory = self._memory = (sha, replace(read, tip=sha))
        return memory[1]

    def statuses(self) -> Mapping[str, TargetStatus]:
        """The newest status of every target."""
        return self.reported().statuses

    def open_intents(self) -> tuple[OpenIntent, ...]:
        """Intents without an outcome, by run id."""
        return self.reported().intents

    def report(self, run: str) -> StoredReport:
        """A run's report by its id, or the newest.

        Raises:
            NotFoundError: there is none.
        """

        def find() -> StoredReport:
            tip = self._look().reports
            listing = self._repository.tree(tip.sha, (REPORT_FOLDER,)) if tip else Listing({})
            return find_report(listing, self._repository, run)

        return self._mended(find)

    def _look(self) -> Tips:
        self._tips = self._repository.tips(self._settings.branch, self._settings.reports_branch)
        return self._tips

    # ── reports ─────────────────────────────────────────────────────────────────

    def commit_intent(
        self,
        *,
        run_id: str,
        desired: DesiredState,
        cases: Sequence[_Case],
        statuses: Mapping[str, TargetStatus],
        now: datetime,
        uses: Mapping[str, Use] | None = None,
        by: str = "",
        until: datetime | None = None,
    ) -> CommitResult:
        """Write what is about to be done, durably here and then at the remote.

        Args:
            run_id: of the run; its intent stands until `commit_report`.
            desired: what the plans are to restore.
            cases: what will be worked on.
            statuses: of the targets, with the attempts that are about to be made.
            now: with time zone.
            uses: approvals that the plans rest on, by path.
            by: this installation.
            until: when the run will have ended at the latest.

        Raises:
            TemporaryError: not even the local commit could be written: nothing may be done.
            PermanentError: as above, and it will fail again.
        """
        memory = self.reported()
        files = intent_files(
            run_id,
            now,
            desired.revision,
            cases,
            statuses=statuses,
            redactor=self._redactor,
            by=by,
            until=until,
        )
        for path, use in (uses or {}).items():
            files[path] = json_bytes(use.model_dump(mode="json", by_alias=True), _as_it_is)
        digests = tuple(plan.digest for _, plan, _ in cases)
        message = _Trailers(run_id, desired.revision, digests).on(
            self._redactor.text(intent_message(cases))
        )
        written = self._commit(files, message, now)
        if written is None:  # the same intent stands there already
            tip = self._mended(self._look).reports
            return self._push(tip.sha if tip else "")
        tip_now, result = written
        known = self._memory[0] if self._memory else None
        if tip_now.parent == known and result.sha == tip_now.sha and not uses:
            self._memory = (
                tip_now.sha,
                replace(
                    memory,
                    statuses={**memory.statuses, **_by_target(statuses)},
                    intents=(
                        *memory.intents,
                        replace(_opened(run_id, desired, cases, now), by=by, until=until),
                    ),
                    tip=tip_now.sha,
                ),
            )
        return result

    def stood_before(self, commit: CommitResult) -> Reported:
        """What others had told by the time that this commit of ours came on top of it.

        Raises:
            CloneDamagedError: the clone can't be read; the next run mends it.
            TemporaryError: it can't be read now.
        """
        before = f"{commit.sha}^"
        listing = self._repository.tree(before, (STATUS_FOLDER, INTENT_FOLDER))
        return read_memory(listing, self._repository, self._settings.max_file_bytes)

    def commit_report(
        self, report: RunReport, *, now: datetime, closes: Sequence[OpenIntent] = ()
    ) -> CommitResult | None:
        """Write what was done; takes expired reports along. None: there is no news.

        Args:
            report: the run.
            now: with time zone.
            closes: intents of earlier runs that this run has settled by looking.

        Raises:
            TemporaryError: the local commit could not be written.
            PermanentError: as above, and it will fail again.
        """
        if report.lessons:
            self._tips = None  # lessons count on top of what others have written meanwhile
        before = self.reported()
        files = report_files(report, before, redactor=self._redactor, closes=closes)
        files |= report.approvals.files
        if not files:
            return None
        digests = tuple(incident.plan.digest for incident in report.incidents)
        message = _Trailers(report.run_id, report.desired.revision, digests).on(
            commit_message(report, before, redactor=self._redactor)
        )
        written = self._commit({**self._expired(now), **files}, message, now)
        self._maintain(now)
        return written[1] if written else None

    def heartbeat(self, now: datetime) -> CommitResult | None:
        """Say "still alive" when nothing was committed for `git.heartbeat`. None: not due."""
        tip = (self._tips or self._mended(self._look)).reports
        if tip is not None and now - tip.at < self._settings.heartbeat:
            return None
        beat = {"apiVersion": "uici/v1", "kind": "Heartbeat", "at": now.isoformat("T", "seconds")}
        files = {HEARTBEAT_PATH: (json.dumps(beat) + "\n").encode(), **self._expired(now)}
        written = self._commit(files, "heartbeat: nothing has changed\n", now)
        self._maintain(now)
        return written[1] if written else None

    def push_pending(self) -> CommitResult | None:
        """Push what an earlier run could not. None: the remote has everything."""
        sha = (self._tips or self._mended(self._look)).pending
        return self._push(sha) if sha else None

    def _commit(
        self, files: Mapping[str, bytes | None], message: str, at: datetime
    ) -> tuple[NewTip, CommitResult] | None:
        """Commit and push. None: nothing changed."""
        known = self._tips or self._mended(self._look)
        branch = self._settings.reports_branch
        made = self._mended(lambda: self._repository.commit(branch, files, message=message, at=at))
        self._tips = None
        if made is None:
            return None
        result = self._push(made.sha)
        before = known.reports.sha if known.reports else None
        if result.sha == made.sha:
            result = replace(result, onto=made.parent or "")
        if result.sha == made.sha and before == made.parent:
            # Nobody else wrote meanwhile: what was just written need not be looked up.
            pending = None if result.durability is Durability.PUSHED else made.sha
            self._tips = replace(known, reports=Commit(made.sha, at), pending=pending)
        return made, result

    def _push(self, sha: str) -> CommitResult:
        self._tips = None
        branch = self._settings.reports_branch
        try:
            pushed = self._mended(lambda: self._repository.push(branch, sha))
        except CloneDamagedError as exc:  # it stands in the clone, and the next run mends that
            pushed = Pushed(sha, str(exc))
        if pushed.error:
            _log.warning("push_failed", sha=pushed.sha, reason=pushed.error)
            return CommitResult(pushed.sha, Durability.LOCAL, pushed.error)
        return CommitResult(pushed.sha, Durability.PUSHED)

    def _maintain(self, now: datetime) -> None:
        """Reading everything, it finds damage where no run looks; what was written stands."""
        try:
            self._mended(lambda: self._repository.maintain(now))
        except CloneDamagedError as exc:
            _log.warning("clone_damaged", reason=str(exc))

    def _expired(self, now: datetime) -> dict[str, None]:
        """Report files past their retention, oldest first, looked for once a day."""
        return self._mended(lambda: self._expired_files(now))

    def _expired_files(self, now: datetime) -> dict[str, None]:
        today = now.astimezone(UTC).date()
        tip = (self._tips or self._look()).reports
        if tip is None or self._retained_on == today:
            return {}
        oldest = (now - self._settings.retention.reports).astimezone(UTC)
        last_day = (oldest - timedelta(days=1)).strftime(f"{REPORT_FOLDER}/%Y/%m/%d")
        folders = self._repository.directories(tip.sha, REPORT_FOLDER)
        days = [f for f in folders if f.count("/") == 3 and f <= last_day]
        if not days:
            self._retained_on = today
            return {}
        files = sorted(self._repository.tree(tip.sha, days).files)
        if len(files) <= _DELETIONS:
            self._retained_on = today
        return dict.fromkeys(files[:_DELETIONS])


def _as_it_is(value: Any) -> Any:
    """Identities and times only: nothing to cut out."""
    return value


def _by_target(statuses: Mapping[str, TargetStatus]) -> dict[str, TargetStatus]:
    return {status.target: status for status in statuses.values()}


def _opened(
    run_id: str, desired: DesiredState, cases: Sequence[_Case], now: datetime
) -> OpenIntent:
    targets = dict.fromkeys(target for incident, _, _ in cases for target in incident.targets)
    planned = tuple(
        f"{step.operation} {step.target}" for _, plan, _ in cases for step in plan.steps
    )
    return OpenIntent(
        run_id,
        intent_path(run_id),
        now,
        desired.revision,
        targets=tuple(targets),
        planned=planned,
    )


def _renewal_remark(renewal: Renewal) -> Problem:
    kept = f"it is kept as {renewal.aside}" if renewal.aside else "nothing of it was left"
    message = (
        f"the clone was damaged ({renewal.reason}) and was made anew from the remote: {kept};"
        f" {renewal.salvaged} commits that were not pushed yet were saved"
    )
    return Problem(renewal.clone, 0, 0, message + (f"; {renewal.lost}" if renewal.lost else ""))
