"""The way by pull request: a branch for each request that waits, gone when it has ended.

Called after a run's report is committed. Which branch was made is kept with the request, so
that any agent may delete it later. Nothing here raises for what Git or a forge did: approving
by command or in Prefect needs no branch. Neighbours: `flows.approvals.store`,
`flows.proposals.forge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from flows.approvals.merge_file import body, title
from flows.approvals.news import request_bytes
from flows.approvals.request import ID_LENGTH, ApprovalRequest, request_path
from flows.approvals.store import ApprovalStore
from flows.proposals.forge import ForgeClient
from infrastructure.errors import UiciError

_log = structlog.get_logger("uici")

_CLOSING = "This request has ended: it was answered, has expired, or nothing is wrong any more."


# A remote or forge that hangs takes a small part of the time, and nobody waits for a branch.
_AGAIN_AFTER = timedelta(minutes=10)


@dataclass(slots=True)
class Refused:
    """Requests whose branch or pull request could not be made, and until when none is tried.

    Lost with the process.
    """

    until: dict[str, datetime] = field(default_factory=dict)


class ApprovalBranches:
    """See the module. One a run."""

    def __init__(
        self,
        store: ApprovalStore,
        prefix: str,
        *,
        forge: ForgeClient | None,
        redact: Callable[[str], str],
        refused: Refused,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._forge = forge
        self._redact = redact
        self._refused = refused

    def bring(
        self, waiting: Iterable[ApprovalRequest], ended: Iterable[ApprovalRequest], now: datetime
    ) -> None:
        """Make the branches that are missing, delete those that are moot."""
        files: dict[str, bytes | None] = {}
        for request in waiting:
            made = self._tried(request, self._pushed, now)
            made = self._tried(made, self._opened, now)
            if made != request:
                files[request_path(request.id)] = request_bytes(made)
        for request in ended:
            left = not self._gone(request, now)
            if left != request.branch_left:  # noted, so that any agent deletes it later
                noted = request.model_copy(update={"branch_left": left})
                files[request_path(request.id)] = request_bytes(noted)
        if not files:
            return
        names = ", ".join(self._prefix + path.split("/")[1][:ID_LENGTH] for path in files)
        try:
            self._store.note(files, f"approvals: branches {names}\n", now)
        except UiciError as exc:
            _log.warning("approval_branch_not_noted", reason=self._redact(str(exc)))

    def _gone(self, request: ApprovalRequest, now: datetime) -> bool:
        """Whether nothing is left to do about the branch and the pull request of what ended."""
        if request.branch_left and now < self._refused.until.get(request.id, now):
            return False
        self._refused.until.pop(request.id, None)
        for step in (self._closed, self._deleted):
            try:
                step(request)
            except UiciError as exc:
                self._refused.until[request.id] = now + _AGAIN_AFTER
                reason = self._redact(str(exc))
                _log.warning("approval_branch", request=request.id, reason=reason)
                return False
        return True

    def _tried(
        self,
        request: ApprovalRequest,
        step: Callable[[ApprovalRequest], ApprovalRequest],
        now: datetime,
    ) -> ApprovalRequest:
        """What a step has made of a request; the request itself where it failed."""
        if now < self._refused.until.get(request.id, now):
            return request
        try:
            return step(request)
        except UiciError as exc:
            self._refused.until[request.id] = now + _AGAIN_AFTER
            _log.warning("approval_branch", request=request.id, reason=self._redact(str(exc)))
            return request

    def _pushed(self, request: ApprovalRequest) -> ApprovalRequest:
        if request.branch_commit is not None:
            return request
        message = f"{title(request)}\n\n{body(request)}\n\nUICI-Approval: {request.id}\n"
        commit, error = self._store.push_branch(self._prefix, request, message=message)
        if error:  # this very commit is there already, or the branch is somebody else's
            _log.info("approval_branch_refused", request=request.id, reason=error)
        return request.model_copy(update={"branch_commit": commit})

    def _opened(self, request: ApprovalRequest) -> ApprovalRequest:
        if self._forge is None or request.branch_commit is None or request.number is not None:
            return request
        pull = self._forge.open(
            self._prefix + request.id, self._store.base, title=title(request), text=body(request)
        )
        return request.model_copy(update={"pull_request": pull.url, "number": pull.number})

    def _closed(self, request: ApprovalRequest) -> ApprovalRequest:
        if self._forge is not None and request.number is not None:
            self._forge.close(request.number, self._prefix + request.id, _CLOSING)
        return request

    def _deleted(self, request: ApprovalRequest) -> ApprovalRequest:
        if request.branch_commit is None:
            return request
        error = self._store.delete_branch(self._prefix, request, request.branch_commit)
        if error:  # merged and deleted by the forge, or moved by a person, whose it is then
            _log.info("approval_branch_left", request=request.id, reason=error)
        return request
