"""Whether a commit may be behind an incident: what Git, the status and the drifts tell. Pure.

It is told as news and never as certain: that a fault came with a commit is known from the
order of things alone. Neighbours: `flows.reporting.status` remembers with which spec a target
was last in sync, and last well; the planners and reports make words of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import takewhile

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
    drifts = [drift for drift in scope.incident.drifts if drift.target == root]
    gone = any(drift.kind is DriftKind.MISSING for drift in drifts)
    news = git_news(scope, status)
    if news is None or (deed is not None and (gone or news is not News.AHEAD)):
        return None
    seen = status.not_well_since if status is not None and news is News.BROKE else None
    found = suspects(commits, root, seen)
    began = min((drift.since for drift in drifts if drift.since), default=None)
    if found and news is News.BROKE and began is not None and found[0].at > began:
        return None  # it came after the fault, and one before it was carried out
    if not found:
        # Of one that nobody knows there is nothing to tell where all was well with it.
        return GitChange(news=news) if status is not None and news is not News.LATER else None
    return change_of(found, news, scope.line)


def git_news(scope: Scope, status: TargetStatus | None) -> News | None:
    """How a change of Git and the root's fault lie in time; None: Git tells nothing of it."""
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


def suspects(
    commits: Sequence[DesiredChange], target: str, fault: datetime | None
) -> tuple[DesiredChange, ...]:
    """The newest commit that changed what is declared of the target, and brought it into force.

    Before it, newest first, stand those that were refused until then. Empty: none is known.

    Args:
        commits: newest first.
        target: inventory id.
        fault: when it was first seen: the commit has to be older; None: any will do.
    """
    telling = [c for c in commits if target in c.targets and target not in c.same_for]
    in_force = (n for n, c in enumerate(telling) if target not in c.refused_for)
    first = next((n for n in in_force if fault is None or telling[n].at <= fault), None)
    if first is None:
        return ()
    refused = takewhile(lambda c: target in c.refused_for, telling[first + 1 :])
    return (telling[first], *refused)


def change_of(
    found: Sequence[DesiredChange], news: News, line: Callable[[str], str] = str
) -> GitChange:
    """Suspects as one change: what was wanted stands in the oldest.

    Args:
        found: as `suspects` gave them, at least one.
        news: how they and the fault lie in time.
        line: cleans and redacts outside words.
    """
    *mended, first = found
    with_ = tuple(commit.sha[:_SHA] for commit in reversed(mended))
    return GitChange(first.sha[:_SHA], line(first.author), line(first.subject), news, with_)


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
