"""What approvals need of the state repository, on the agent's own clone.

Made by `flows.git_state`, which mends a damaged clone and commits to the reports branch.
Digest of what desired state says, files that were merged into it, decisions, and whether
this run was the first to use an approval. Neighbours: `flows.approvals.view`,
`flows.approvals.desk`, `flows.approvals.branches`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath

from flows.approvals.decision import Decision, decision_path, folder
from flows.approvals.ledger import uses_in
from flows.approvals.merge_file import merge_file, merge_path
from flows.approvals.request import ApprovalRequest
from flows.approvals.standing import Merged
from flows.repository.contract import CommitFiles, CommitResult, DesiredState, Repository
from flows.repository.proposal_branches import ProposalBranches
from infrastructure.approval_file import is_approval_file
from infrastructure.config_models import GitSettings

_SUFFIXES = (".yml", ".yaml")
_LOOKED_BACK = 200  # commits of the reports branch between a run's intent and now


class ApprovalStore:
    """See the module. Every method raises TemporaryError when the clone can't be used now."""

    def __init__(self, repository: Repository, settings: GitSettings, commit: CommitFiles) -> None:
        self._repository = repository
        self._settings = settings
        self._commit = commit

    @property
    def base(self) -> str:
        """The branch that a file is merged into."""
        return self._settings.branch

    def content(self, desired: DesiredState) -> str:
        """Digest over all that desired state says; empty: it is not known for certain.

        Over the files that services stand in and over the services themselves, so that what
        a Source refers to counts. Files that approve, and the pause file, do not: they say
        nothing about services. Stale or refused desired state is not certain.
        """
        sha = commit_of(desired)
        if not sha or desired.stale is not None or desired.refused_revision is not None:
            return ""
        files = self._repository.tree(sha, self._folder()).files
        said = sorted((p, blob.sha) for p, blob in files.items() if self._counts(p))
        specs = sorted((t, service.spec_digest) for t, service in desired.services.items())
        return hashlib.sha256(json.dumps([said, specs]).encode()).hexdigest()

    def _counts(self, path: str) -> bool:
        if PurePosixPath(path).name == self._settings.pause_file:
            return False
        return path.endswith(_SUFFIXES) and not is_approval_file(path)

    def _folder(self) -> Sequence[str]:
        inside = self._settings.path.strip("/")
        return () if inside in {"", "."} else (inside,)

    def path_of(self, request: ApprovalRequest) -> str:
        """Where its file stands in desired state, once it is merged."""
        return merge_path(self._settings.path, request.id)

    def merged(
        self, desired: DesiredState, requests: Iterable[ApprovalRequest]
    ) -> dict[str, Merged]:
        """Which requests' files are in desired state as it is in force, and by whom."""
        paths = {self.path_of(request): request for request in requests}
        sha = commit_of(desired)
        if not paths or not sha:
            return {}
        found = self._repository.tree(sha, tuple(paths)).files
        contents = self._repository.read([blob.sha for blob in found.values()])
        return {
            paths[path].id: Merged(
                by=self._branches().added_by(sha, path),
                intact=contents[blob.sha] == merge_file(paths[path]),
            )
            for path, blob in found.items()
            if path in paths
        }

    def decide(self, decision: Decision, message: str, at: datetime) -> CommitResult | None:
        """Write a decision on the reports branch. None: the same stands there already."""
        text = decision.model_dump_json(by_alias=True, indent=1)
        return self._commit({decision_path(decision): f"{text}\n".encode()}, message, at)

    def note(self, files: Mapping[str, bytes | None], message: str, at: datetime) -> None:
        """Write files of `approvals/` on the reports branch."""
        self._commit(files, message, at)

    def used_by_others(self, sha: str, uses: Mapping[str, str]) -> frozenset[str]:
        """Requests whose approval this run was not the first to use.

        The branch has one order for all: what stands below the commit in which a run's use
        has landed came before it. A commit that is not found on the branch proves nothing.

        Args:
            sha: the commit with the uses, as the remote has it.
            uses: the path of this run's use, by request.
        """
        tips = self._repository.tips(self._settings.branch, self._settings.reports_branch)
        if tips.reports is None:
            return frozenset(uses)
        if sha not in self._repository.history(tips.reports.sha, _LOOKED_BACK):
            return frozenset(uses)
        paths = self._repository.tree(sha, tuple(folder(request) for request in uses)).files
        return frozenset(
            request for request, own in uses.items() if uses_in(paths, request) != (own,)
        )

    # ── branches for pull requests ──────────────────────────────────────────────

    def push_branch(
        self, prefix: str, request: ApprovalRequest, *, message: str
    ) -> tuple[str, str]:
        """A branch with the request's file; its commit, and why the remote refused it.

        The same request makes the same commit. Raises TemporaryError: no remote.
        """
        base = request.desired_revision.rpartition("@sha1:")[2]
        files = {self.path_of(request): merge_file(request)}
        branches = self._branches(prefix)
        return branches.create(
            prefix + request.id, base, files, message=message, at=request.requested_at
        )

    def delete_branch(self, prefix: str, request: ApprovalRequest, tip: str) -> str:
        """Delete it if it still stands at `tip`; why it was not, or empty."""
        return self._branches(prefix).delete(prefix + request.id, tip)

    def _branches(self, prefix: str = "") -> ProposalBranches:
        return self._repository.branches(prefix)


def commit_of(desired: DesiredState) -> str:
    """The commit in force; empty: there is none."""
    sha = desired.revision.rpartition("@sha1:")[2]
    return "" if sha == desired.revision else sha
