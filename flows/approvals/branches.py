"""The way by pull request: a branch for each request that waits, gone when it has ended.

Called after a run's report is committed. Which branch was made is kept with the request, so
that any agent may delete it later. Nothing here raises for what Git or a forge did: approving
by command or in Prefect needs no branch. Neighbours: `flows.approvals.store`,
`flows.proposals.forge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from flows.approvals.merge_file import body, title
from flows.approvals.news import request_bytes
from flows.approvals.request import ApprovalRequest, request_path
from flows.approvals.store import ApprovalStore
from flows.proposals.forge import ForgeClient
from infrastructure.errors import PermanentError, UiciError

_log = structlog.get_logger("uici")

_CLOSING = "This request has ended: it was answered, has expired, or nothing is wrong any more."


@dataclass(slots=True)
class Refused:
    """Requests whose branch or pull request was refused for good; lost with the process."""

    ids: set[str] = field(default_factory=set)


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
            made = self._guarded(request, self._made)
            if made is not None and made != request:
                files[request_path(request.id)] = request_bytes(made)
        for request in ended:
            self._guarded(request, self._gone)
        if files:
            names = ", ".join(self._prefix + path.split("/")[1][:12] for path in files)
            try:
                self._store.note(files, f"approvals: branches {names}\n", now)
            except UiciError as exc:
                _log.warning("approval_branch_not_noted", reason=self._redact(str(exc)))

    def _guarded(
        self, request: ApprovalRequest, step: Callable[[ApprovalRequest], ApprovalRequest | None]
    ) -> ApprovalRequest | None:
        try:
            return step(request)
        except PermanentError as exc:
            self._refused.ids.add(request.id)
            reason = self._redact(str(exc))
        except UiciError as exc:
            reason = self._redact(str(exc))
        _log.warning("approval_branch", request=request.id, reason=reason)
        return None

    def _made(self, request: ApprovalRequest) -> ApprovalRequest | None:
        if request.id in self._refused.ids:
            return None
        made = request
        if request.branch_commit is None:
            message = f"{title(request)}\n\n{body(request)}\n\nUICI-Approval: {request.id}\n"
            commit, error = self._store.push_branch(self._prefix, request, message=message)
            if error:  # somebody has it already: this very commit, or it is not ours to move
                self._refused.ids.add(request.id)
                _log.info("approval_branch_refused", request=request.id, reason=error)
            made = made.model_copy(update={"branch_commit": commit})
        if self._forge is not None and request.number is None:
            branch = self._prefix + request.id
            pull = self._forge.open(
                branch, self._store.base, title=title(request), text=body(request)
            )
            made = made.model_copy(update={"pull_request": pull.url, "number": pull.number})
        return made

    def _gone(self, request: ApprovalRequest) -> None:
        if self._forge is not None and request.number is not None:
            self._forge.close(request.number, _CLOSING)
        if request.branch_commit is None:
            return
        error = self._store.delete_branch(self._prefix, request, request.branch_commit)
        if error:  # merged and deleted by the forge, or moved by a person, whose it is then
            _log.info("approval_branch_left", request=request.id, reason=error)
