"""Whether a commit may be behind an incident: what Git, the status and the drifts tell. Pure.

It is told as news and never as certain: that a fault came with a commit is known from the
order of things alone. Neighbours: `flows.reporting.status` remembers with which spec a target
was last in sync, and last well; the planners and reports make words of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.dossier.entries import Scope
from flows.dossier.facts import Fact, Rank
from flows.plan import EngineDeed, GitChange, News
from flows.reporting.incident_result import IncidentResult
from flows.reporting.status import TargetStatus
from flows.repository.contract import DesiredChange
from infrastructure.drift_kinds import DriftKind

_SHA = 10  # digits of a commit
# What runs is not what Git declares: whether it works is another question.
_DIFFERS = frozenset({DriftKind.MISSING, DriftKind.CONFIG_DRIFT, DriftKind.SCALE_DRIFT})


def news_of_git(
    scope: Scope,
    status: TargetStatus | None,
    commits: Sequence[DesiredChange],
    deed: EngineDeed | None,
) -> GitChange | None:
    """How Git has changed since the root was last in sync, or well; None: it has not.

    Of a target that no run has told of yet, this is known only where it does not exist: then
    the commit that declares it is the news. What somebody did to it explains a fault better
    than a commit does.
    """
    root = scope.incident.root
    news = _news(scope, status)
    if news is None or (news is not News.AHEAD and deed is not None):
        return None
    newest = suspect(commits, root, status if news is News.BROKE else None)
    if newest is None:
        # Of one that nobody knows there is nothing to tell where all was well with it.
        return GitChange(news=news) if status is not None and news is not News.LATER else None
    author, subject = scope.line(newest.author), scope.line(newest.subject)
    return GitChange(newest.sha[:_SHA], author, subject, news)


def _news(scope: Scope, status: TargetStatus | None) -> News | None:
    root = scope.incident.root
    kinds = {drift.kind for drift in scope.incident.drifts if drift.target == root}
    if status is None:
        return News.AHEAD if DriftKind.MISSING in kinds else None
    if root not in scope.services:
        return None
    digest = scope.services[root].spec_digest
    if not kinds.isdisjoint(_DIFFERS):
        return News.AHEAD if status.behind(digest) else None
    if status.broke_with(digest):
        return News.BROKE
    return News.LATER if _first_since_change(status, digest) else None


def _first_since_change(status: TargetStatus, digest: str) -> bool:
    """Whether a change of Git was carried out, and nothing of its own has failed since."""
    carried_out = [
        past
        for past in status.history
        if past.spec_digest == digest and past.result == IncidentResult.RECOVERED
    ]
    return (
        bool(carried_out)
        and not any(past.by_itself for past in carried_out)
        and DriftKind.CONFIG_DRIFT.value in carried_out[0].kinds
        and any(past.spec_digest != digest for past in status.history)
    )


def suspect(
    commits: Sequence[DesiredChange], target: str, status: TargetStatus | None
) -> DesiredChange | None:
    """The newest commit that changed what its file declares; None: none is known.

    Args:
        commits: newest first.
        target: inventory id.
        status: where the commit has to be older than the fault; None: any will do.
    """
    mine = [c for c in commits if target in c.targets]
    telling = [c for c in mine if target not in c.same_for] or mine
    since = status.not_well_since if status is not None else None
    before = [c for c in telling if since is None or c.at <= since]
    return next(iter(before or telling), None)


def git_facts(scope: Scope, change: GitChange | None) -> tuple[Fact, ...]:
    """The news as a fact of the dossier."""
    if change is None:
        return ()
    told = f": {change.told}" if change.commit else ""
    words = {
        News.AHEAD: "desired state has changed since it was last in sync",
        News.BROKE: "all was well until desired state was changed",
        News.LATER: "first fault of its own since a change of desired state was carried out",
    }
    rank = Rank.RESOURCES if change.news is News.LATER else Rank.BROKEN
    return (Fact(rank, scope.incident.root, words[change.news] + told),)
