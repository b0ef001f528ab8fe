"""What proposals need of the state repository, on the agent's own clone.

Made by `flows.git_state`, which mends a damaged clone and commits to the reports branch;
used by `flows.proposals.propose`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath

from flows.repository.commit_tree import CommitTree
from flows.repository.contract import CommitFiles, Repository
from flows.repository.proposal_branches import ProposalBranches
from infrastructure.config_models import GitSettings
from infrastructure.sources.tree import Tree

_SUFFIXES = (".yml", ".yaml")


class ProposalStore:
    """Reads desired state at a commit, keeps branches of proposals and notes about them.

    Every method raises TemporaryError when the clone or the remote can't be used now.
    """

    def __init__(self, repository: Repository, settings: GitSettings, commit: CommitFiles) -> None:
        self._repository = repository
        self._settings = settings
        self._commit = commit

    @property
    def base(self) -> str:
        """The branch that proposals are for."""
        return self._settings.branch

    @property
    def max_bytes(self) -> int:
        """Of a file of desired state."""
        return self._settings.max_file_bytes

    def tips(self) -> Mapping[str, str]:
        """Open branches and their commits; starts no process and asks nobody."""
        branches = self._repository.proposals
        return {} if branches is None else branches.tips()

    def files(self, sha: str) -> Mapping[str, bytes]:
        """The YAML files of desired state at a commit."""
        folder = PurePosixPath(self._settings.path.strip("/") or ".")
        paths = () if str(folder) == "." else (str(folder),)
        found = self._repository.tree(sha, paths).files
        blobs = {p: b.sha for p, b in found.items() if p.endswith(_SUFFIXES)}
        contents = self._repository.read(blobs.values())
        return {path: contents[blob] for path, blob in blobs.items()}

    def tree(self, sha: str) -> Tree:
        """All files of a commit."""
        return CommitTree(self._repository, sha, max_bytes=self._settings.max_file_bytes)

    def versions(self, sha: str, path: str, limit: int) -> tuple[bytes, ...]:
        """What a file held in the newest commits that touched it, newest first."""
        found = self._branches.versions(sha, path, limit)
        contents = self._repository.read([blob for _, blob in found])
        return tuple(contents[blob] for _, blob in found)

    def status_versions(self, path: str, limit: int) -> tuple[bytes, ...]:
        """The same for a file of the reports branch."""
        tips = self._repository.tips(self._settings.branch, self._settings.reports_branch)
        return self.versions(tips.reports.sha, path, limit) if tips.reports else ()

    def only_ours(self, tip: str, base: str) -> bool:
        """See `ProposalBranches.only_ours`."""
        return self._branches.only_ours(tip, base)

    def change(self, tip: str) -> tuple[str, tuple[str, ...]]:
        """See `ProposalBranches.change`."""
        return self._branches.change(tip)

    def contents(self, sha: str, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Those of these files that a commit has."""
        found = self._repository.tree(sha, paths).files
        contents = self._repository.read(blob.sha for blob in found.values())
        return {path: contents[blob.sha] for path, blob in found.items()}

    def message(self, sha: str) -> str:
        """A commit's message."""
        return self._branches.message(sha)

    def create(
        self, branch: str, base: str, files: Mapping[str, bytes], *, message: str, at: datetime
    ) -> tuple[str, str]:
        """See `ProposalBranches.create`."""
        return self._branches.create(branch, base, files, message=message, at=at)

    def renew(
        self,
        branch: str,
        base: str,
        files: Mapping[str, bytes],
        *,
        message: str,
        at: datetime,
        over: str,
    ) -> tuple[str, str]:
        """See `ProposalBranches.renew`."""
        return self._branches.renew(branch, base, files, message=message, at=at, over=over)

    def delete(self, branch: str, tip: str) -> str:
        """See `ProposalBranches.delete`."""
        return self._branches.delete(branch, tip)

    def commit_notes(self, files: Mapping[str, bytes | None], message: str, at: datetime) -> None:
        """Write and delete notes on the reports branch."""
        self._commit(files, message, at)

    @property
    def _branches(self) -> ProposalBranches:
        branches = self._repository.proposals
        assert branches is not None  # noqa: S101  # only asked where proposals are enabled
        return branches
