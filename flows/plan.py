"""Stage 3, plan: an incident and its evidence → a Plan of universal operations.

Order: learned → LLM → runbook. A plan is data; it has no power. Next stage: guard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from flows.comparison.drift import Incident
from infrastructure.cause_kinds import CauseKind
from infrastructure.observed import empty
from infrastructure.operations import OperationCall


class PlannerKind(StrEnum):
    """Who made the plan."""

    LEARNED = "learned"
    LLM = "llm"
    RUNBOOK = "runbook"
    PERSON = "person"  # asked for by hand: uici run
    NONE = "none"  # nobody had a plan: a person must look


class Phase(StrEnum):
    """The way from an incident to a plan."""

    TRIAGE = "triage"
    ISOLATION = "isolation"
    ROOT_CAUSE = "root cause"
    RESOLUTION = "resolution"


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """What one phase found, in a sentence for people. `by`: rules, learned, or a model's name."""

    phase: Phase
    by: str
    finding: str


@dataclass(frozen=True, slots=True)
class RootCause:
    """What is held to be the cause, and where. Free text about it is in the diagnosis."""

    kind: CauseKind
    target: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a model and its answer, word for word but for redaction.

    `messages` are (role, text). Tokens are None where the endpoint told none.
    """

    purpose: str
    model: str
    endpoint: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    seconds: float
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One operation to run, and why."""

    operation: str
    target: str
    parameters: Mapping[str, Any]
    why: str
    expected_effect: str = ""

    @property
    def call(self) -> OperationCall:
        """The step as the universal interface takes it."""
        return OperationCall(self.operation, self.target, self.parameters)


@dataclass(frozen=True, slots=True)
class LlmUsage:
    """What the asking cost. Dollars by the prices in platform.yml, None if unpriced."""

    model: str
    endpoint: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    dollars: float | None
    seconds: float
    prompt_version: str


@dataclass(frozen=True, slots=True)
class Hindered:
    """Why a target can't do now what would mend it, in one line; and what is held to be wrong."""

    reason: str
    cause: RootCause


@dataclass(frozen=True, slots=True)
class Declined:
    """A planner has no plan: why, in one line, and what its asking has cost.

    `hindered`: it knows what to do, and the target can't do that now.
    """

    planner: PlannerKind
    reason: str
    usage: LlmUsage | None = None
    phases: tuple[PhaseRecord, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    hindered: Hindered | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be done about one incident.

    `planner_reason` says why this planner and not the one before it in the order;
    `declined` are those before it. `learned` names the class in `knowledge/`.
    """

    fingerprint: str
    planner: PlannerKind
    planner_reason: str
    diagnosis: str
    confidence: float
    evidence: tuple[str, ...]
    steps: tuple[PlanStep, ...]
    rollback: tuple[PlanStep, ...] = ()
    usage: LlmUsage | None = None
    runbook: str | None = None
    learned: str | None = None
    cause: RootCause | None = None
    phases: tuple[PhaseRecord, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    declined: tuple[Declined, ...] = ()

    @property
    def remedy(self) -> str:
        """SHA-256 over the steps alone: the same remedy for the same targets."""
        return _digest([[s.operation, s.target, dict(s.parameters)] for s in self.steps])

    @property
    def digest(self) -> str:
        """SHA-256 over what would be done: approvals and commits are bound to it."""
        steps = [[s.operation, s.target, dict(s.parameters)] for s in self.steps]
        return _digest([self.fingerprint, steps])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PatternMatch:
    """An error pattern of runbooks.yml found in a target's log or engine's words.

    `subject` is what the pattern's group of that name holds; `line` one line of `count`.
    """

    name: str
    target: str
    cause: CauseKind
    meaning: str
    count: int = 1
    line: str = ""
    subject: str = ""


class News(StrEnum):
    """How a change of Git and a fault lie in time."""

    AHEAD = "ahead"  # what runs is as before it
    BROKE = "broke"  # all was well until it, and has not been since
    LATER = "later"  # it was carried out, all was well, and this is the first fault since


@dataclass(frozen=True, slots=True)
class GitChange:
    """Desired state is another than the one that the target was last in sync, or well, with.

    The commit that made it so, cleaned and redacted; `commit` is empty where none is known.
    Author and subject are anybody's words. `accepted_with`: it was refused alone; the newer
    commits, oldest first, of which the last brought it into force.
    """

    commit: str = ""
    author: str = ""
    subject: str = ""
    news: News = News.AHEAD
    accepted_with: tuple[str, ...] = ()

    @property
    def by(self) -> str:
        """`commit f8375ee444 by Ann`; where no commit is known, so much."""
        return f"commit {self.commit} by {self.author}" if self.commit else "a change in Git"

    @property
    def told(self) -> str:
        """`commit f8375ee444 by Ann: shop-web 9`; empty: no commit is known."""
        return f"{self.by}: {self.subject}{self.in_force_with}" if self.commit else ""

    @property
    def in_force_with(self) -> str:
        """` (it was refused until commit 9ab01cd311)`: what a revert must not leave; or empty."""
        more = " and ".join(self.accepted_with)
        return f" (it was refused until commit {more})" if more else ""

    @property
    def to_revert(self) -> str:
        """`commit 9ab01cd311, then f8375ee444`: newest first, where a commit is known."""
        return f"commit {', then '.join((*reversed(self.accepted_with), self.commit))}"


@dataclass(frozen=True, slots=True)
class EngineDeed:
    """What somebody had the engine do to the root: `killed through the Docker API (signal 9)`.

    `not_ours`: no run of this installation can have done it.
    """

    words: str
    at: datetime
    not_ours: bool

    @property
    def told(self) -> str:
        """With who it was not, and when."""
        ours = ", not by UICI," if self.not_ours else ""
        return f"{self.words}{ours} at {self.at:%Y-%m-%d %H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Facts that were collected for an incident, already redacted: its dossier.

    Everything is data from outside. `facts` are sorted, the most telling first; `logs` are
    collapsed, like lines being one with a count. `left_out` says what did not fit.
    `git_change` is about the root; None: Git has not changed, or nobody knows. `ended_by`: who
    ended it, where the engine has recorded that.
    """

    logs: Mapping[str, str] = field(default_factory=empty)  # target → text
    matches: tuple[PatternMatch, ...] = ()
    facts: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # of desired state and by the engine, newest first
    dependencies: tuple[str, ...] = ()
    past: tuple[str, ...] = ()  # similar incidents, what worked and what did not
    left_out: tuple[str, ...] = ()
    git_change: GitChange | None = None
    ended_by: EngineDeed | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names of the matched error patterns, each once, in the order of runbooks.yml."""
        return tuple(dict.fromkeys(match.name for match in self.matches))


class Planner(Protocol):
    """Makes a plan, or says why it has none.

    Never raises for what the outside did: a planner that fails declines.
    """

    kind: PlannerKind

    def plan(self, incident: Incident, evidence: Evidence) -> Plan | Declined:
        """A Plan, or why this planner has none."""
        ...
