"""Approvals bound to the state repository and the configuration. Wiring only.

`flows.runtime` makes the view of a run, `flows.reconcile` settles and brings branches,
`flows.command_line.approve` and Prefect open a desk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from flows.act import held_report
from flows.approvals.asking import Asker
from flows.approvals.branches import ApprovalBranches
from flows.approvals.decision import Use, Way, use_path
from flows.approvals.desk import Desk
from flows.approvals.ledger import Ledger
from flows.approvals.standing import Merged
from flows.approvals.undo_words import undo_words
from flows.approvals.view import Approvals
from flows.repository.contract import CommitResult, DesiredState, Durability
from infrastructure.errors import UiciError

if TYPE_CHECKING:
    from flows.cases import Case
    from flows.git_state import GitState
    from flows.reporting.values import IncidentReport, RunReport
    from flows.runtime import Runtime
    from flows.world import World
    from infrastructure.config_models import ApprovalSettings
    from infrastructure.redaction import Redactor

_log = structlog.get_logger("uici")


def view_of(
    git: GitState,
    desired: DesiredState,
    ledger: Ledger,
    *,
    settings: ApprovalSettings,
    redactor: Redactor,
    now: Callable[[], datetime],
) -> Approvals:
    """What a run knows of approvals; reads nothing yet."""
    store = git.approvals()

    def content() -> str:
        try:
            return store.content(desired)
        except UiciError as exc:
            _log.warning("desired_content_unknown", reason=redactor.text(str(exc)))
            return ""

    def merged() -> Mapping[str, Merged]:
        try:
            return store.merged(desired, ledger.waiting)
        except UiciError as exc:
            _log.warning("merges_unknown", reason=redactor.text(str(exc)))
            return {}

    return Approvals(
        settings=settings,
        now=now,
        redact=lambda data: redactor.data(dict(data)),
        ledger=ledger,
        read_content=content,
        read_merged=merged,
    )


def desk_of(runtime: Runtime, git: GitState | None = None) -> Desk:
    """A desk of this runtime; with a `git` of its own it may be used beside a run."""
    git, redactor, now = git or runtime.git, runtime.redactor, runtime.clock.now

    def look() -> Approvals:
        desired = git.desired()  # brings what others have written along
        ledger = git.reported().approvals
        settings = runtime.config.platform.approvals
        return view_of(git, desired, ledger, settings=settings, redactor=redactor, now=now)

    return Desk(look, git.approvals(), redactor.text, now)


def asker_of(world: World) -> Asker:
    """Makes the requests of a run."""
    return Asker(
        catalogue=world.registry,
        redactor=world.redactor,
        run_id=world.request.run_id,
        desired_revision=world.desired.revision,
        content=lambda: world.approvals.content,
        expire_after=world.config.platform.approvals.expire_after,
        undo=lambda operation, target: undo_words(operation, target, world.config),
    )


def uses_of(world: World, case: Case, now: datetime) -> dict[str, Use]:
    """The approvals that a case's steps rest on, by the path that says so."""
    run_id = world.request.run_id
    uses: dict[str, Use] = {}
    for approval in (verdict.approval for verdict in case.verdicts):
        if approval is not None:
            uses[use_path(approval.request, run_id)] = Use(
                request=approval.request,
                plan_digest=case.plan.digest,
                run_id=run_id,
                by=approval.by,
                way=Way(approval.way),
                at=now,
            )
    return uses


def first_to_use(
    git: GitState, commit: CommitResult, cases: Sequence[Case], uses: Mapping[str, Use]
) -> tuple[tuple[Case, ...], tuple[IncidentReport, ...]]:
    """Cases that may go on, and reports of those whose approval another run has taken.

    Where the uses have not reached the remote, nobody can tell: `flows.act` holds them.
    """
    if not uses or commit.durability is not Durability.PUSHED:
        return tuple(cases), ()
    try:
        taken = git.approvals().used_by_others(
            commit.sha, {use.request: path for path, use in uses.items()}
        )
    except UiciError as exc:
        _log.warning("approval_use_not_certain", reason=str(exc))
        taken = frozenset(use.request for use in uses.values())
    mine = [case for case in cases if not taken & _approvals(case)]
    reports = (
        held_report(case, f"approval {min(taken & _approvals(case))} was used by another run")
        for case in cases
        if taken & _approvals(case)
    )
    return tuple(mine), tuple(reports)


def _approvals(case: Case) -> frozenset[str]:
    return frozenset(v.approval.request for v in case.verdicts if v.approval is not None)


def bring_branches(runtime: Runtime, world: World, report: RunReport) -> None:
    """Branches for what waits after this run; trouble is logged, and changes no result."""
    news = report.approvals
    if report.report_commit is None and news.files:
        return  # nobody knows of the requests yet
    settings, proposals = world.config.platform.approvals, world.config.platform.proposals
    ended = {request.id for request in news.ended}
    waiting = [r for r in world.approvals.ledger.waiting if r.id not in ended]
    left = [r for r in world.approvals.ledger.requests.values() if r.branch_left]
    if settings.branch_prefix is None or not (waiting or news.asked or news.ended or left):
        return
    from flows.proposals.forge import ForgeClient  # noqa: PLC0415 - only where something waits

    forge = proposals.forge
    branches = ApprovalBranches(
        runtime.git.approvals(),
        settings.branch_prefix,
        forge=None if forge is None else ForgeClient(forge, redact=world.redactor.text),
        redact=world.redactor.text,
        refused=runtime.refused_branches,
    )
    try:
        branches.bring((*waiting, *news.asked), (*news.ended, *left), world.clock.now())
    except UiciError as exc:
        _log.warning("approval_branches_not_brought", reason=world.redactor.text(str(exc)))
