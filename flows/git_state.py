"""Git: desired state in, reports out.

Desired state is read at a commit; reports go to a branch of their own, committed here
first and then pushed, never by force. What the branches and files *mean* stands here;
commands and processes are `flows.repository.clone`'s, which is passed in: this module is
part of the pure centre's imports and does not know GitPython.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import structlog

from flows.approvals.decision import Use
from flows.approvals.request import APPROVAL_FOLDER
from flows.approvals.store import ApprovalStore
from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.learning.shelf import KNOWLEDGE_FOLDER
from flows.plan import Plan
from flows.report import (
    Files,
    Redactor,
    RunReport,
    commit_message,
    intent_files,
    intent_message,
    report_files,
)
from flows.reporting.as_json import json_bytes
from flows.reporting.counted import without
from flows.reporting.overtaken import overtaken
from flows.reporting.pages.index import day_folder
from flows.reporting.pages.stored import StoredRun
from flows.reporting.proposal_note import PROPOSAL_FOLDER
from flows.reporting.status import (
    HEARTBEAT_PATH,
    INTENT_FOLDER,
    PAGES_PATH,
    REFUSED_PATH,
    REPORT_FOLDER,
    STATUS_FOLDER,
    OpenIntent,
    Reported,
    TargetStatus,
    intent_path,
)
from flows.reporting.trailers import Trailers
from flows.repository.contract import (
    BranchMovedError,
    CloneDamagedError,
    Commit,
    CommitResult,
    DesiredChange,
    DesiredState,
    Durability,
    Listing,
    NewTip,
    Pushed,
    Repository,
    Tips,
)
from flows.repository.judged_changes import JudgedChanges, judge_changes
from flows.repository.memory import StoredReport, find_report, newest_runs, read_memory
from flows.repository.mending import Mending
from flows.repository.page_store import PageStore
from flows.repository.pause_store import PauseStore
from flows.repository.proposal_store import ProposalStore
from flows.repository.retention import Retention
from flows.repository.revisions import Parser, Revisions
from infrastructure.config_models import GitSettings, PageSettings
from infrastructure.errors import UiciError
from infrastructure.pause import PAUSE_PATH, PauseFile

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
    PAGES_PATH,
)

_MOVES = 5  # times that somebody moves the branch before our word is written all the same

_Case = tuple[Incident, Plan, Sequence[Verdict]]


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
        self._tips: Tips | None = None
        self._memory: tuple[str, Reported] | None = None
        self._remembered: frozenset[str] = frozenset()  # blobs that it was read from
        self._mending = Mending(repository, settings, self._forget)
        self._mended = self._mending.mended
        self._retention = Retention(repository, settings)
        self._pages = PageStore(
            repository, redactor, self._commit_files, max_bytes=settings.max_file_bytes
        )
        self._pausing = threading.Lock()

    # ── desired state ───────────────────────────────────────────────────────────

    def desired(self) -> DesiredState:
        """The newest valid desired state, fetched now.

        Raises:
            TemporaryError: the remote can't be reached, or has no such branch, and never
                could or had.
            CloneDamagedError: the clone is damaged and can't be made anew now.
        """
        return self._mending.told(self._mended(self._fetched))

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

    def _forget(self) -> None:
        self._tips = self._memory = None

    # ── what others need of the clone ──────────────────────────────────────────

    def proposals(self) -> ProposalStore:
        """What `flows.proposals` needs of the clone."""
        return ProposalStore(self._repository, self._settings, self._commit_files)

    def approvals(self) -> ApprovalStore:
        """What `flows.approvals` needs of the clone."""
        return ApprovalStore(self._repository, self._settings, self._commit_files)

    def changes(
        self,
        desired: DesiredState,
        targets: Sequence[str],
        *,
        limit: int,
        since: datetime,
        judged: Collection[str] = (),
    ) -> tuple[DesiredChange, ...]:
        """The newest commits that touched the targets' files, newest first.

        Args:
            desired: as `desired` gave it.
            targets: inventory ids; those whose file is not known are passed over.
            limit: at most so many commits.
            since: with time zone; older ones are left out.
            judged: targets of which it is looked at what each commit meant (`same_for`,
                `refused_for`).

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
            # One more: what the oldest has changed shows only beside the one before it.
            touching = self._repository.changes(sha, path, limit=limit + 1, since=since)
            meant = self._judge(touching, path, target) if target in judged else JudgedChanges()
            for change in touching[:limit]:
                known = found.get(change.sha, change)
                same = (target,) if change.sha in meant.idle else ()
                refused = (target,) if change.sha in meant.refused else ()
                found[change.sha] = replace(
                    known,
                    targets=(*known.targets, target),
                    same_for=(*known.same_for, *same),
                    refused_for=(*known.refused_for, *refused),
                )
        return tuple(sorted(found.values(), key=lambda c: c.at, reverse=True)[:limit])

    def _judge(self, touching: Sequence[DesiredChange], path: str, target: str) -> JudgedChanges:
        return judge_changes(
            self._repository,
            touching,
            path,
            target=target,
            max_bytes=self._settings.max_file_bytes,
            refused=self._revisions.is_refused,
        )

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

    def pausing(self) -> PauseStore:
        """What `uici pause` needs of the clone."""
        return PauseStore(self._on_what_stands, redactor=self._redactor)

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
            blobs = frozenset(blob.sha for blob in listing.files.values())
            self._repository.forget(self._remembered - blobs)  # each repair writes new ones
            self._remembered = blobs
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

    def newest_reports(self, limit: int, *, day: date | None = None) -> list[StoredRun]:
        """The newest reports, the newest first; of one day where it is named."""

        def find() -> list[StoredRun]:
            tip = self._look().reports
            folder = REPORT_FOLDER if day is None else day_folder(day)
            listing = self._repository.tree(tip.sha, (folder,)) if tip else Listing({})
            most = self._settings.max_file_bytes
            return newest_runs(listing, self._repository, limit, max_bytes=most)

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
        seen: Mapping[str, TargetStatus] | None = None,
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
            seen: statuses as the run has read them; where another has told something else
                since, that stands. None: as they are now.

        Raises:
            TemporaryError: not even the local commit could be written: nothing may be done.
            PermanentError: as above, and it will fail again.
        """
        memory = self.reported()
        read = memory.statuses if seen is None else seen
        used = {
            path: json_bytes(use.model_dump(mode="json", by_alias=True), _as_it_is)
            for path, use in (uses or {}).items()
        }

        def files(before: Reported) -> Files:
            theirs = overtaken(_by_target(statuses), before.statuses, [read], "")
            ours = {k: each for k, each in statuses.items() if each.target not in theirs}
            return used | intent_files(
                run_id,
                now,
                desired.revision,
                cases,
                statuses=ours,
                redactor=self._redactor,
                by=by,
                until=until,
                before=before,
            )

        digests = tuple(plan.digest for _, plan, _ in cases)
        message = Trailers(run_id, desired.revision, digests).on(
            self._redactor.text(intent_message(cases))
        )
        written = self._on_what_stands(lambda before: (files(before), message), now)
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
                    blobs={t: b for t, b in memory.blobs.items() if t not in statuses},
                    counted_by={
                        **memory.counted_by,
                        **{t: intent_path(run_id) for t in _by_target(statuses)},
                    },
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

    def withdraw(
        self, run_id: str, desired: DesiredState, roots: Collection[str], now: datetime
    ) -> None:
        """Take out of a run's intent what it will not begin: nobody is to count it, or wait.

        Raises:
            TemporaryError: the local commit could not be written.
            PermanentError: as above, and it will fail again.
        """
        path = intent_path(run_id)
        message = Trailers(run_id, desired.revision).on("intent: somebody else was first\n")

        def files(before: Reported) -> tuple[Files, str]:
            listing = self._repository.tree(before.tip, (path,)) if before.tip else Listing({})
            stands = self._repository.read(blob.sha for blob in listing.files.values())
            left = next((without(content, roots) for content in stands.values()), None)
            return ({path: json_bytes(left, _as_it_is)} if left else {}), message

        self._on_what_stands(files, now)

    def commit_report(
        self,
        report: RunReport,
        *,
        now: datetime,
        closes: Sequence[OpenIntent] = (),
        seen: Sequence[Mapping[str, TargetStatus]] | None = None,
    ) -> CommitResult | None:
        """Write what was done; takes expired reports along. None: there is no news.

        Args:
            report: the run.
            now: with time zone.
            closes: intents of earlier runs that this run has settled by looking.
            seen: statuses as the run has read them, and as it has written them itself. Where
                another has told something else since, that stands, unless this run has
                done something there. None: what the run tells stands in any case.

        Raises:
            TemporaryError: the local commit could not be written.
            PermanentError: as above, and it will fail again.
        """
        if report.lessons:
            self._tips = None  # lessons count on top of what others have written meanwhile
        digests = tuple(incident.plan.digest for incident in report.incidents)
        trailers = Trailers(report.run_id, report.desired.revision, digests)

        def told(before: Reported) -> tuple[Files, str]:
            stands, known = before.statuses, report.statuses
            theirs = overtaken(known, stands, seen, report.run_id) if seen is not None else ()
            ours = {target: status for target, status in known.items() if target not in theirs}
            news = replace(report, statuses=ours)
            files = report_files(news, before, redactor=self._redactor, closes=closes)
            message = trailers.on(commit_message(news, before, redactor=self._redactor))
            return files | report.approvals.files, message

        written = self._on_what_stands(told, now, also=self._expired)
        if written is None:
            return None
        self._maintain(now)
        return written[1]

    def heartbeat(self, now: datetime) -> CommitResult | None:
        """Say "still alive" when nothing was committed for `git.heartbeat`. None: not due."""
        tip = (self._tips or self._mended(self._look)).reports
        if tip is not None and now - tip.at < self._settings.heartbeat:
            return None
        beat = {"apiVersion": "uici/v1", "kind": "Heartbeat", "at": now.isoformat("T", "seconds")}
        files = {HEARTBEAT_PATH: (json.dumps(beat) + "\n").encode(), **self._expired(now)}
        written = self._commit_files(files, "heartbeat: nothing has changed\n", now)
        self._maintain(now)
        return written

    def publish(self, pages: PageSettings, now: datetime) -> CommitResult | None:
        """Bring the pages for people up to date. None: they are.

        Raises:
            TemporaryError: the local commit could not be written.
            PermanentError: as above, and it will fail again.
        """
        tip = (self._tips or self._mended(self._look)).reports
        return self._mended(lambda: self._pages.publish(tip, self.reported(), pages, now))

    def publish_due(self, pages: PageSettings, now: datetime) -> CommitResult | None:
        """The same, at most every `pages.every`, and almost free while nothing is new."""
        tip = (self._tips or self._mended(self._look)).reports
        return self._mended(lambda: self._pages.publish_due(tip, self.reported(), pages, now))

    def push_pending(self) -> CommitResult | None:
        """Push what an earlier run could not. None: the remote has everything."""
        sha = (self._tips or self._mended(self._look)).pending
        return self._push(sha) if sha else None

    def _on_what_stands(
        self,
        make: Callable[[Reported], tuple[Files, str]],
        at: datetime,
        *,
        also: Callable[[datetime], Mapping[str, None]] | None = None,
    ) -> tuple[NewTip, CommitResult] | None:
        """Commit files and message that are made of what the branch tells at that very commit.

        Another process may move it in the same clone meanwhile; then they are made anew.
        `also`: what goes along if there is anything. None: there is nothing, or no change.
        """
        for left in reversed(range(_MOVES)):
            before = self.reported()
            files, message = make(before)
            if not files:
                return None
            files = {**(also(at) if also is not None else {}), **files}
            try:
                return self._commit(files, message, at, onto=before.tip if left else None)
            except BranchMovedError as exc:
                _log.info("branch_moved", reason=str(exc))
                self._tips = None
        raise AssertionError("unreachable: the last one is written wherever the branch is")

    def _commit_files(
        self, files: Mapping[str, bytes | None], message: str, at: datetime
    ) -> CommitResult | None:
        written = self._commit(files, message, at)
        return written[1] if written else None

    def _commit(
        self,
        files: Mapping[str, bytes | None],
        message: str,
        at: datetime,
        *,
        onto: str | None = None,
    ) -> tuple[NewTip, CommitResult] | None:
        """Commit and push. None: nothing changed."""
        known = self._tips or self._mended(self._look)
        branch = self._settings.reports_branch
        made = self._mended(
            lambda: self._repository.commit(branch, files, message=message, at=at, onto=onto)
        )
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
        return self._mended(
            lambda: self._retention.expired((self._tips or self._look()).reports, now)
        )


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
