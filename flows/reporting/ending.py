"""How a run leaves the world: the worst that is left, in one phrase, and what differs still.

Nothing is called settled while something is broken, unseen or not looked at again. Pure.
Neighbours: `flows.reporting.sentences` (one incident), `flows.reporting.markdown` (the page).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from flows.comparison.drift import Drift, HealthStatus
from flows.reporting.proposal_note import ProposalNote
from flows.reporting.sentences import NEEDED, names, not_well, remains, worst_first
from flows.reporting.text import short_name
from flows.reporting.values import RunReport
from infrastructure.drift_kinds import DriftKind

NOTHING_WAITS = "nothing waits for a person"
_BROKEN = frozenset(
    {DriftKind.MISSING, DriftKind.STOPPED, DriftKind.UNHEALTHY, DriftKind.CRASH_LOOPING}
)
_NAME = re.compile(r"[\w.-]+")
_REFUSED = "the desired state was refused"


def proposal_words(note: ProposalNote) -> str:
    """`market-db memory 256Mi → 320Mi (branch uici/propose-…)`."""
    changed = f"{note.field.rpartition('/')[2]} {note.old} → {note.new}"
    return f"{short_name(note.target)} {changed} (branch {note.branch})"


def ending(report: RunReport) -> str:
    """How a run leaves the world: the worst that is left, and what is down beside, in a phrase."""
    worst = next(_left(report), NOTHING_WAITS)
    down = [name for name in _down(report) if name not in _NAME.findall(worst)]
    return f"{worst}; down as well: {names(down)}" if down else worst


def besides_refused(report: RunReport) -> str:
    """What else is left where desired state was refused; empty: nothing."""
    return next((text for text in _left(report) if text != _REFUSED), "")


def _left(report: RunReport) -> Iterator[str]:
    incidents = worst_first(report.incidents)
    yield from (text for incident in incidents if (text := remains(incident)))
    if report.errors:
        yield f"error: {report.errors[0]}"
    for failure in report.failures:
        yield f"not known: {failure.source} of {failure.environment} unreachable"
    states = report.comparison.states.values()
    unseen = [s for s in states if s.health is HealthStatus.UNKNOWN]
    if unseen:
        yield f"not known: {names([short_name(s.target) for s in unseen])}: {unseen[0].message}"
    if report.comparison.own_alerts:
        yield f"{report.comparison.own_alerts[0].name} fires about UICI itself: {NEEDED}"
    if report.desired.refused_revision:
        yield _REFUSED
    if report.proposals:
        more = len(report.proposals) - 1
        yield f"a proposal waits: {proposal_words(report.proposals[0])}" + (
            f"; +{more} more" if more else ""
        )
    yield from _unsettled(report)


def _unsettled(report: RunReport) -> Iterator[str]:
    """What the next run has to look at again, or what is left alone by order."""
    if dependents := [name for incident in report.incidents for name in not_well(incident)]:
        yield f"the next run looks at {names(dependents)} again"
    if alone := differing(report):
        yield "; ".join(_alone_words(found, why) for why, found in alone.items())
    pending = dict.fromkeys(
        f"{short_name(d.target)} {d.kind.value}" for d in report.comparison.pending
    )
    if pending:
        yield f"within grace: {names(list(pending))}"


def _down(report: RunReport) -> Iterator[str]:
    """What does not work and is in no incident of the run, unless somebody wants it so."""
    states = report.comparison.states
    for found in differing(report).values():
        broken = dict.fromkeys(d.target for d in found if d.kind in _BROKEN)
        yield from (short_name(t) for t in broken if states[t].held is None)


def differing(report: RunReport) -> Mapping[str, Sequence[Drift]]:
    """What differs and belongs to no incident of the run, by the reason why it is left alone."""
    told = {target for incident in report.incidents for target in incident.incident.targets}
    found: dict[str, list[Drift]] = {}
    for drift in report.comparison.drifts:
        state = report.comparison.states.get(drift.target)
        if state is not None and drift.target not in told:
            why = state.held or report.left_alone.get(drift.target) or "the next run looks again"
            found.setdefault(why, []).append(drift)
    return found


def _alone_words(drifts: Sequence[Drift], why: str) -> str:
    kinds: dict[str, dict[str, None]] = {}
    for drift in drifts:
        kinds.setdefault(short_name(drift.target), {})[drift.kind.value] = None
    named = names([f"{name} ({', '.join(each)})" for name, each in kinds.items()])
    return f"{named} still {'differs' if len(kinds) == 1 else 'differ'}, left alone: {why}"
