"""What `flows.git_state` gives to the run and needs of a repository, as plain values.

`flows.repository.clone` keeps the repository's promise with real Git. The values stand
here so that the pure stages, which know desired state and reports, import no Git.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from infrastructure.errors import Problem, TemporaryError
from infrastructure.observed import empty
from infrastructure.service import Service

if TYPE_CHECKING:
    from flows.repository.proposal_branches import ProposalBranches

_SHA = 10  # digits of a commit that people are told


class CloneDamagedError(TemporaryError):
    """Git says that files of the agent's own clone are missing or not as they should be.

    Its message names the clone; `reason` is only what Git found, in one line.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BranchMovedError(TemporaryError):
    """The branch is no longer at the commit that was to be built upon. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A damaged clone that was set aside and made anew from the remote.

    `aside` is where the damaged one is now, empty if there was none left to keep.
    `salvaged` counts commits that the remote lacked and that could still be read.
    `lost` says in one line what may be lost; empty: nothing.
    """

    clone: str
    reason: str
    aside: str
    salvaged: int
    lost: str


@dataclass(frozen=True, slots=True)
class DesiredChange:
    """A commit of desired state that touched a file of these targets.

    `author` and `subject` are whatever their writer wrote: outside text, not redacted.
    `same_for` are those of its targets of which it is known that it changed nothing but words
    for people, such as comments; told of what nothing newer has changed. `refused_for` are
    those for which it came into force only with a newer commit, because it was refused alone.
    """

    sha: str
    at: datetime
    author: str
    subject: str
    targets: tuple[str, ...] = ()
    same_for: tuple[str, ...] = ()
    refused_for: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """`commit f8375ee444 by Ann: shop-web 9`."""
        return f"commit {self.sha[:_SHA]} by {self.author}: {self.subject}"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What Git says should run.

    `revision` is `<branch>@sha1:<40 hex>`, or `<branch>@none` when no commit was ever
    valid. When the newest commit does not validate, `revision` and `services` are the
    last good ones, `problems` say what is wrong and `refused_revision` is the commit
    that was refused, in the same form, and `refused_change` who made it, as far as that can be
    read. Problems without a refused revision are remarks
    about what is in force. `stale` tells that the remote could not be reached, and why;
    what is in force is then the newest that was ever fetched. `lost` says what may be
    lost of what the agent itself had written, each in one line. `files` are the paths of
    the files that services stand in, by inventory id.
    """

    revision: str
    services: Mapping[str, Service]
    problems: tuple[Problem, ...] = ()
    refused_revision: str | None = None
    stale: str | None = None
    lost: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=empty)
    refused_change: DesiredChange | None = None

    @property
    def refused(self) -> str:
        """`commit f8375ee444 by Ann: shop-web 9`, outside text; the revision if that is all."""
        return self.refused_change.told if self.refused_change else self.refused_revision or ""


class Durability(StrEnum):
    """How far a commit got."""

    PUSHED = "pushed"
    LOCAL = "local"  # on the agent's own disk; pushed as soon as the remote is back


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A commit on the reports branch. `error` says why it was not pushed.

    `onto` is the commit that it stands on, empty for the branch's first; None: to be looked
    up, because others have written meanwhile.
    """

    sha: str
    durability: Durability
    error: str = ""
    onto: str | None = None


# Writes files (None: takes one away) on the reports branch: their message, their time.
# Returns None when nothing changed.
CommitFiles = Callable[[Mapping[str, bytes | None], str, datetime], CommitResult | None]


@dataclass(frozen=True, slots=True)
class Blob:
    """A file's content by identity. `size` in bytes."""

    sha: str
    size: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry of a tree that is not read, and why: a symlink, a submodule, an odd name."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Regular files of a tree by their path from the repository's root."""

    files: Mapping[str, Blob]
    ignored: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit and its committer's time."""

    sha: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Tips:
    """Where the branches stand in the agent's own clone.

    `desired` is the newest commit of the desired branch that was ever fetched, None if
    none was. `reports` is the agent's reports branch, unpushed commits included.
    `pending` is its newest commit if the remote does not have it.
    `rewritten_from` is the former tip when the desired branch no longer contains it.
    `renewed`: the clone took a damaged one's place and has seen no valid revision since, so
    that `last_good` is not to be believed where it is invalid, or missing.
    """

    desired: str | None
    last_good: str | None
    reports: Commit | None
    pending: str | None = None
    rewritten_from: str | None = None
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class NewTip:
    """A commit just made, and what it stands on."""

    sha: str
    parent: str | None


@dataclass(frozen=True, slots=True)
class Pushed:
    """`sha` is the commit asked about, under its new name if it was replayed.

    `error` is empty when the remote has it; else one line that says why not.
    """

    sha: str
    error: str = ""


class Repository(Protocol):
    """A bare clone of the agent's own. Safe to use from several threads and processes.

    Errors are those of `infrastructure.errors`, one line each, without credentials.
    Every method raises CloneDamagedError when Git finds the clone damaged; `renew` mends it.
    """

    @property
    def proposals(self) -> ProposalBranches | None:
        """Branches with proposals; None: they are not enabled, and nobody's are fetched."""
        ...

    def branches(self, prefix: str) -> ProposalBranches:
        """Branches of this product whose names begin so; of these nothing is fetched."""
        ...

    def fetch(self, branch: str, reports_branch: str) -> Tips:
        """Bring both branches. A missing reports branch is fine.

        Raises:
            TemporaryError: the remote is unreachable, slow, no Git repository, or has no
                such branch yet.
        """
        ...

    def tips(self, branch: str, reports_branch: str) -> Tips:
        """Where the branches stand, without asking the remote."""
        ...

    def tree(self, sha: str, paths: Sequence[str] = ()) -> Listing:
        """The files of a commit, below any of `paths` if some are given."""
        ...

    def history(self, sha: str, limit: int) -> tuple[str, ...]:
        """A commit and the branch's tips before it, newest first, at most `limit`."""
        ...

    def changes(
        self, sha: str, path: str, *, limit: int, since: datetime | None
    ) -> tuple[DesiredChange, ...]:
        """Commits up to `sha` that touched a file, newest first, at most `limit`.

        Of an empty path they are all commits. One that is older than `since` ends the search.
        """
        ...

    def directories(self, sha: str, path: str, *, depth: int) -> tuple[str, ...]:
        """The folders `depth` levels below `path`, in order."""
        ...

    def read(self, shas: Iterable[str]) -> Mapping[str, bytes]:
        """Contents of blobs by identity; they stay in memory for the next time."""
        ...

    def forget(self, shas: Iterable[str]) -> None:
        """Keep these blobs in memory no longer."""
        ...

    def untrusted(self, sha: str, *, tip: bool = False) -> str:
        """Why a commit of the desired branch is not trusted, in one line; empty: it is.

        Without `git.signatures` all are. `tip`: the branch stands there now. What can't be
        verified now is not trusted now.
        """
        ...

    def remember_good(self, branch: str, sha: str) -> None:
        """Keep durably that this commit of the desired branch was valid."""
        ...

    def commit(
        self,
        branch: str,
        files: Mapping[str, bytes | None],
        *,
        message: str,
        at: datetime,
        onto: str | None = None,
    ) -> NewTip | None:
        """Write (bytes) and delete (None) files on top of the branch, durably, here.

        Args:
            branch: its name.
            files: by path.
            message: of the commit.
            at: with time zone.
            onto: the commit that the branch must be at, empty where it must not be there
                yet; None: wherever it is.

        Returns:
            The commit, or None when nothing would change.

        Raises:
            BranchMovedError: it is not at `onto`.
        """
        ...

    def push(self, branch: str, sha: str) -> Pushed:
        """Bring the branch to the remote, never by force. Does not raise for the remote."""
        ...

    def maintain(self, now: datetime) -> None:
        """Collect garbage when it is due. Returns at once."""
        ...

    def renew(self, branch: str, reports_branch: str, *, reason: str) -> Renewal | None:
        """Set the damaged clone aside and make it anew from the remote.

        Unpushed reports and the last good revision come along if they can still be read.

        Returns:
            What was done; None: another process has done it already.

        Raises:
            CloneDamagedError: it could not be made anew. Nothing was changed. Names the
                clone and the remote.
        """
        ...
