"""What a look at proposals works with and gives back. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flows.proposals.cause import Memory
from flows.reporting.proposal_note import ProposalNote, note_path
from flows.repository.contract import DesiredState


class Result(StrEnum):
    """What became of one cause or branch."""

    OPENED = "opened"
    WOULD_OPEN = "would open"  # a dry run
    OPEN = "open"  # it was there before
    RENEWED = "made anew"  # the desired branch has changed the same lines
    REFUSED = "refused"  # by a person: not proposed again for this declaration
    CLOSED = "closed"  # moot
    NONE = "no proposal"  # by these rules nothing can be proposed: a person must look
    FAILED = "failed"  # Git or the forge; tried again later


@dataclass(frozen=True, slots=True)
class Proposal:
    """One line of the result. `told` is for people; all texts are redacted."""

    target: str
    branch: str
    result: Result
    told: str
    title: str = ""
    body: str = ""
    diff: str = ""
    commit: str = ""
    pull_request: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at the end of a run. `targets` None: all."""

    run_id: str
    now: datetime
    desired: DesiredState
    memory: Memory
    notes: Mapping[str, ProposalNote]
    targets: frozenset[str] | None = None


class Writing(StrEnum):
    """Whether something may be written anywhere."""

    FOR_REAL = "for real"
    DRY_RUN = "dry run"  # no branch, no pull request, no note, no question to a model


@dataclass(slots=True)
class Remembered:
    """What a process keeps between runs so that it does not ask twice; safe to lose.

    `asked`: when the forge was asked about a branch. `hopeless`: the newest incident with
    which nothing could be proposed, by branch. `strangers`: branches that are not ours.
    `followed`: of each branch the tip, and the commit of desired state that it merges with.
    """

    asked: dict[str, datetime] = field(default_factory=dict)
    hopeless: dict[str, datetime] = field(default_factory=dict)
    strangers: set[tuple[str, str]] = field(default_factory=set)
    followed: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """One look: the notes as they will stand, and what has become of each proposal."""

    situation: Situation
    tips: Mapping[str, str]  # branches at the remote
    notes: dict[str, ProposalNote]
    done: list[Proposal] = field(default_factory=list)
    files: dict[str, bytes | None] = field(default_factory=dict)

    def keep(self, note: ProposalNote) -> None:
        """Write the note, unless it stands there already."""
        if self.notes.get(note.branch) == note:
            return
        self.notes[note.branch] = note
        text = note.model_dump_json(by_alias=True, exclude_none=True, indent=1)
        self.files[note_path(note.branch)] = f"{text}\n".encode()

    def drop(self, branch: str) -> None:
        """Take the note away."""
        if self.notes.pop(branch, None) is not None:
            self.files[note_path(branch)] = None

    def tell(self, result: Result, target: str, branch: str, told: str) -> None:
        """Add a line to the result."""
        self.done.append(Proposal(target, branch, result, told))
