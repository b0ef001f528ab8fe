"""Git: desired state in, reports out.

Desired state is read at a commit; reports go to a branch of their own, committed here
first and then pushed, never by force. What the branches and files *mean* stands here;
commands and processes are `flows.repository.clone`'s, which is passed in: this module is
part of the pure centre's imports and does not know GitPython.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import structlog

from flows.comparison.drift import Incident
from flows.guard import Verdict
from flows.plan import Plan
from flows.report import (
    Redactor,
    RunReport,
    commit_message,
    intent_files,
    intent_message,
    report_files,
)
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
from flows.repository.commit_tree import CommitTree
from flows.repository.contract import (
    Commit,
    CommitResult,
    DesiredState,
    Durability,
    Listing,
    NewTip,
    Repository,
    Tips,
)
from flows.repository.memory import StoredReport, find_report, read_memory
from infrastructure.config_models import GitSettings
from infrastructure.desired_state import StateRead
from infrastructure.errors import Problem, UiciError
from infrastructure.service import Service
from infrastructure.sources.tree import Tree

__all__ = ["CommitResult", "DesiredState", "Durability", "GitState", "Parser"]

_log = structlog.get_logger("uici")

_SUFFIXES = (".yml", ".yaml")
_REMEMBERED = 4  # parsed revisions: the tip, the last good one, and two to spare
_DELETIONS = 200  # expired report files that one commit takes away


# Files by path, and the commit they are of → what they say.
Parser = Callable[[Mapping[str, bytes], Tree], StateRead]


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


@dataclass(frozen=True, slots=True)
class _Parsed:
    services: Mapping[str, Service]
    problems: tuple[Problem, ...]  # why the revision is refused; empty: it is good
    remarks: tuple[Problem, ...]


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
        self._parser = parser
        self._redactor = redactor
        self._settings = settings
        self._parsed: OrderedDict[str, _Parsed] = OrderedDict()
        self._tips: Tips | None = None
        self._memory: tuple[str, Reported] | None = None
        self._retained_on: object = None
        self._guard = threading.Lock()

    # ── desired state ───────────────────────────────────────────────────────────

    def desired(self) -> DesiredState:
        """The newest valid desired state, fetched now.

        Raises:
            TemporaryError: the remote can't be reached, or has no such branch, and never
                could or had.
        """
        settings = self._settings
        stale = None
        try:
            tips = self._repository.fetch(settings.branch, settings.reports_branch)
        except UiciError as exc:
            tips = self._repository.tips(settings.branch, settings.reports_branch)
            if tips.desired is None:
                raise
            stale = str(exc)
            _log.warning("desired_state_stale", reason=stale)
        self._tips = tips
        return replace(self._in_force(tips), stale=stale)

    def _in_force(self, tips: Tips) -> DesiredState:
        assert tips.desired is not None  # noqa: S101  # fetch has it, or raised
        newest = self._parse(tips.desired)
        remarks = (*newest.remarks, *self._rewritten(tips))
        if not newest.problems:
            if tips.last_good != tips.desired:
                self._repository.remember_good(self._settings.branch, tips.desired)
            return DesiredState(self._revision(tips.desired), newest.services, remarks)
        refused = self._revision(tips.desired)
        good = self._parse(tips.last_good) if tips.last_good else None
        usable = good is not None and not good.problems
        return DesiredState(
            revision=self._revision(tips.last_good if usable else None),
            services=good.services if good is not None and usable else {},
            problems=(*newest.problems, *remarks),
            refused_revision=refused,
        )

    def _revision(self, sha: str | None) -> str:
        return f"{self._settings.branch}@" + (f"sha1:{sha}" if sha else "none")

    def _rewritten(self, tips: Tips) -> tuple[Problem, ...]:
        if tips.rewritten_from is None:
            return ()
        message = (
            f"the branch was rewritten: commit {tips.rewritten_from[:12]} is no longer part of it"
        )
        return (Problem(self._settings.branch, 0, 0, message),)

    def _parse(self, sha: str) -> _Parsed:
        """A commit's services. Remembered: the same commit is never parsed twice."""
        with self._guard:
            known = self._parsed.get(sha)
        if known is None:
            known = self._parse_anew(sha)
            with self._guard:
                self._parsed[sha] = known
                while len(self._parsed) > _REMEMBERED:
                    self._parsed.popitem(last=False)
        return known

    def _parse_anew(self, sha: str) -> _Parsed:
        folder = PurePosixPath(self._settings.path.strip("/") or ".")
        paths = () if str(folder) == "." else (str(folder),)
        listing = self._repository.tree(sha, paths)
        remarks = tuple(Problem(entry.path, 0, 0, entry.why) for entry in listing.ignored)
        files, problems = self._readable(listing)
        if problems:
            return _Parsed({}, problems, remarks)
        contents = self._repository.read(files.values())
        tree = CommitTree(self._repository, sha, max_bytes=self._settings.max_file_bytes)
        found = self._parser({path: contents[blob] for path, blob in files.items()}, tree)
        services, problems = found.services, found.problems
        remarks = (*remarks, *found.remarks)
        if not services and not problems:
            problems = (
                Problem(
                    f"{folder}/",
                    0,
                    0,
                    "no Service file is here",
                    "an empty desired state is refused: to let everything be, suspend the services",
                ),
            )
        return _Parsed(services, problems, remarks)

    def _readable(self, listing: Listing) -> tuple[dict[str, str], tuple[Problem, ...]]:
        limit = self._settings.max_file_bytes
        files: dict[str, str] = {}
        problems = []
        for path, blob in listing.files.items():
            if not path.endswith(_SUFFIXES):
                continue
            files[path] = blob.sha
            if blob.size > limit:
                message = f"the file has {blob.size} bytes, more than {limit}"
                problems.append(Problem(path, 0, 0, message, "split it, or raise git.maxFileBytes"))
        return files, tuple(problems)

    # ── memory ──────────────────────────────────────────────────────────────────

    def reported(self) -> Reported:
        """What the reports branch tells, unpushed commits included; damaged files apart."""
        tips = self._tips or self._look()
        if tips.reports is None:
            return Reported()
        sha = tips.reports.sha
        memory = self._memory
        if memory is None or memory[0] != sha:
            listing = self._repository.tree(sha, (STATUS_FOLDER, INTENT_FOLDER, REFUSED_PATH))
            read = read_memory(listing, self._repository, self._settings.max_file_bytes)
            for damage in read.damaged:
                _log.warning("reports_branch_file_damaged", detail=damage)
            memory = self._memory = (sha, read)
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
        tip = self._look().reports
        listing = self._repository.tree(tip.sha, (REPORT_FOLDER,)) if tip else Listing({})
        return find_report(listing, self._repository, run)

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
    ) -> CommitResult:
        """Write what is about to be done, durably here and then at the remote.

        Args:
            run_id: of the run; its intent stands until `commit_report`.
            desired: what the plans are to restore.
            cases: what will be worked on.
            statuses: of the targets, with the attempts that are about to be made.
            now: with time zone.

        Raises:
            TemporaryError: not even the local commit could be written: nothing may be done.
            PermanentError: as above, and it will fail again.
        """
        memory = self.reported()
        files = intent_files(
            run_id, now, desired.revision, cases, statuses=statuses, redactor=self._redactor
        )
        digests = tuple(plan.digest for _, plan, _ in cases)
        message = _Trailers(run_id, desired.revision, digests).on(
            self._redactor.text(intent_message(cases))
        )
        written = self._commit(files, message, now)
        if written is None:  # the same intent stands there already
            tip = self._look().reports
            return self._push(tip.sha if tip else "")
        tip_now, result = written
        known = self._memory[0] if self._memory else None
        if tip_now.parent == known and result.sha == tip_now.sha:
            self._memory = (
                tip_now.sha,
                replace(
                    memory,
                    statuses={**memory.statuses, **_by_target(statuses)},
                    intents=(*memory.intents, _opened(run_id, desired, cases, now)),
                ),
            )
        return result

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
        before = self.reported()
        files = report_files(report, before, redactor=self._redactor, closes=closes)
        if not files:
            return None
        digests = tuple(incident.plan.digest for incident in report.incidents)
        message = _Trailers(report.run_id, report.desired.revision, digests).on(
            commit_message(report, before, redactor=self._redactor)
        )
        written = self._commit({**self._expired(now), **files}, message, now)
        self._repository.maintain(now)
        return written[1] if written else None

    def heartbeat(self, now: datetime) -> CommitResult | None:
        """Say "still alive" when nothing was committed for `git.heartbeat`. None: not due."""
        tip = (self._tips or self._look()).reports
        if tip is not None and now - tip.at < self._settings.heartbeat:
            return None
        beat = {"apiVersion": "uici/v1", "kind": "Heartbeat", "at": now.isoformat("T", "seconds")}
        files = {HEARTBEAT_PATH: (json.dumps(beat) + "\n").encode(), **self._expired(now)}
        written = self._commit(files, "heartbeat: nothing has changed\n", now)
        self._repository.maintain(now)
        return written[1] if written else None

    def push_pending(self) -> CommitResult | None:
        """Push what an earlier run could not. None: the remote has everything."""
        sha = (self._tips or self._look()).pending
        return self._push(sha) if sha else None

    def _commit(
        self, files: Mapping[str, bytes | None], message: str, at: datetime
    ) -> tuple[NewTip, CommitResult] | None:
        """Commit and push. None: nothing changed."""
        known = self._tips or self._look()
        made = self._repository.commit(self._settings.reports_branch, files, message=message, at=at)
        self._tips = None
        if made is None:
            return None
        result = self._push(made.sha)
        before = known.reports.sha if known.reports else None
        if result.sha == made.sha and before == made.parent:
            # Nobody else wrote meanwhile: what was just written need not be looked up.
            pending = None if result.durability is Durability.PUSHED else made.sha
            self._tips = replace(known, reports=Commit(made.sha, at), pending=pending)
        return made, result

    def _push(self, sha: str) -> CommitResult:
        self._tips = None
        pushed = self._repository.push(self._settings.reports_branch, sha)
        if pushed.error:
            _log.warning("push_failed", sha=pushed.sha, reason=pushed.error)
            return CommitResult(pushed.sha, Durability.LOCAL, pushed.error)
        return CommitResult(pushed.sha, Durability.PUSHED)

    def _expired(self, now: datetime) -> dict[str, None]:
        """Report files past their retention, oldest first, looked for once a day."""
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


def _by_target(statuses: Mapping[str, TargetStatus]) -> dict[str, TargetStatus]:
    return {status.target: status for status in statuses.values()}


def _opened(
    run_id: str, desired: DesiredState, cases: Sequence[_Case], now: datetime
) -> OpenIntent:
    targets = dict.fromkeys(target for incident, _, _ in cases for target in incident.targets)
    return OpenIntent(run_id, intent_path(run_id), now, desired.revision, tuple(targets))
