"""Values of stage 7: one run and its incidents, from drift to result.

Made by `flows.reconcile`, rendered by `flows.report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flows.approvals.news import ApprovalNews
from flows.compare import Comparison
from flows.comparison.drift import Incident
from flows.execute import Execution
from flows.guard import Verdict
from flows.learning.learn import Lessons
from flows.observe import SourceFailure
from flows.plan import Evidence, Plan
from flows.reporting.incident_result import IncidentResult
from flows.reporting.proposal_note import ProposalNote
from flows.reporting.status import TargetStatus
from flows.repository.contract import DesiredState
from flows.verify import Verification
from infrastructure.observed import empty
from infrastructure.operations import OperationOutcome

__all__ = [
    "AskedPeople",
    "IncidentReport",
    "IncidentResult",
    "InterruptedRun",
    "RunReport",
    "RunResult",
    "Stage",
]


@dataclass(frozen=True, slots=True)
class AskedPeople:
    """A request for a person's word: its id, and until when it waits."""

    request: str
    until: datetime


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """One incident from drift to result. Later stages are None when they were not reached."""

    incident: Incident
    evidence: Evidence
    plan: Plan
    verdicts: tuple[Verdict, ...]
    execution: Execution | None
    verification: Verification | None
    result: IncidentResult
    summary: str  # one sentence: what was wrong, what was done, what waits for a person
    stopped: str = ""  # why the run was ended before a step of it; empty: it was not
    undone: tuple[OperationOutcome, ...] = ()  # what took back the steps that did not help
    not_sent: str = ""  # why telling people of it reaches nobody: no Alertmanager; empty: it does
    asked: AskedPeople | None = None  # the request that waits for a person; None: there is none
    seen_at: datetime | None = None  # when the run had seen it; None: that was not noted


class Stage(StrEnum):
    """A part of a run that takes time of its own, in order."""

    READ = "read"  # Git: desired state and statuses
    LOOK = "look"  # observe and compare, the second look included
    DECIDE = "decide"  # evidence, plans, verdicts
    INTENT = "intent"  # its commit and push
    ACT = "act"  # execute and verify
    REPORT = "report"  # its commit and push


class RunResult(StrEnum):
    """Sum of a run; decides the exit code (0, 2, 1) and the Prefect state."""

    CONVERGED = "converged"
    DRIFT_REMAINS = "drift_remains"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class InterruptedRun:
    """A run that ended before it could say what it had done; its outcome is what was found.

    `planned` are its steps, which may have been done or not, `found` its targets as this
    run has seen them.
    """

    run_id: str
    at: datetime | None
    desired_revision: str
    planned: tuple[str, ...]
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """The whole run."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    mode: str
    desired: DesiredState
    comparison: Comparison
    failures: tuple[SourceFailure, ...]
    incidents: tuple[IncidentReport, ...]
    statuses: Mapping[str, TargetStatus]
    result: RunResult
    errors: tuple[str, ...] = ()
    intent_commit: str | None = None
    report_commit: str | None = None
    stage_seconds: Mapping[Stage, float] = field(default_factory=empty)
    stopped: str = ""  # why the run was ended before its next change; empty: it was not
    lessons: Lessons = field(default_factory=Lessons)
    paused: Mapping[str, str] = field(default_factory=empty)  # environment → by whom and why
    approvals: ApprovalNews = field(default_factory=ApprovalNews)
    interrupted: tuple[InterruptedRun, ...] = ()
    held_off: Mapping[str, str] = field(default_factory=empty)  # target → whose work it is
    left_alone: Mapping[str, str] = field(default_factory=empty)  # target → why, and until when
    proposals: tuple[ProposalNote, ...] = ()  # open ones, as the run's start found them
    # Environment → `docker -H` for its engine, where that is not the docker command's own.
    engine_hosts: Mapping[str, str] = field(default_factory=empty)
