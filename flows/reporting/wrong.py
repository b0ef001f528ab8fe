"""What was wrong, in values: the first words of every sentence about an incident.

Pure. Neighbours: `flows.reporting.sentences` (what was done about it and what is left),
`flows.reporting.markdown` (the same values in a table).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile

from flows.comparison.drift import Drift
from flows.plan import News, PlannerKind
from flows.reporting.text import Redact, plain
from flows.reporting.values import IncidentReport
from infrastructure.drift_kinds import DriftKind

_SHOWN = 2  # values in a headline; the table has them all
_VALUE = 60  # characters of one value in a headline
_ASKED = 160  # of an address and what it answers
_AUTHOR = 40
_LEAD = 16  # characters that two values have in common, before the first that they have not


def wrong(report: IncidentReport, redact: Redact) -> str:
    """What was wrong, with values; of several kinds the strongest only."""
    drifts = [d for d in report.incident.drifts if d.target == report.incident.root]
    drifts = drifts or list(report.incident.drifts)
    if not drifts:
        return "asked for by hand" if by_hand(report) else "unknown"
    order = list(DriftKind)
    kind = min((d.kind for d in drifts), key=order.index)
    words = list(dict.fromkeys(_drift_words(d, redact) for d in drifts if d.kind is kind))
    more = f"; +{len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(words[:_SHOWN]) + more + _git_words(report, kind)


def by_hand(report: IncidentReport) -> bool:
    """Whether a person asked for it (`uici run`), and nothing of the loop's own is tried."""
    return report.plan.planner is PlannerKind.PERSON


def apart(first: str, second: str, limit: int) -> tuple[str, str]:
    """Two texts of at most `limit` characters each that differ where the whole ones do.

    What was redacted has to be so before: half a secret is known to no pattern.
    """
    one, other = plain(first, len(first) or 1), plain(second, len(second) or 1)
    pairs = zip(one, other, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if max(len(one), len(other)) <= limit or one == other or same <= limit // 2:
        return plain(one, limit), plain(other, limit)
    # As much of what they have in common as there is room for, from the beginning of a word.
    start = max(0, min(same - _LEAD, max(len(one), len(other)) - limit + 1))
    start = one.find(" ", start, same) + 1 or start
    return _from(one, start, limit), _from(other, start, limit)


def _from(text: str, start: int, limit: int) -> str:
    return plain(f"…{text[start:]}", limit)


def _git_words(report: IncidentReport, kind: DriftKind) -> str:
    """Who changed what Git says, where that is the news and not what runs."""
    change = report.evidence.git_change
    if change is not None and change.news is News.BROKE and kind not in _NEWS:
        return f", well until {plain(change.by, _AUTHOR + len(change.commit))}"
    if change is None or change.news is not News.AHEAD or kind not in _NEWS:
        return ""
    author = f" by {plain(change.author, _AUTHOR)}" if change.author else ""
    return f"{_NEWS[kind]} commit {change.commit}{author}" if change.commit else ", which is new"


_NEWS = {
    DriftKind.MISSING: " yet, declared in",
    DriftKind.CONFIG_DRIFT: " since",
    DriftKind.SCALE_DRIFT: " since",
}


def _drift_words(drift: Drift, redact: Redact) -> str:
    def value(text: str) -> str:
        return plain(redact(text), limit)  # redacted before it is cut

    limit = _ASKED if drift.kind is DriftKind.UNHEALTHY else _VALUE
    words = _KIND_WORDS.get(drift.kind)
    wanted, seen = apart(redact(drift.desired), redact(drift.observed), limit)
    if words is None or (not seen and drift.kind is not DriftKind.MISSING):
        return value(drift.observed) or value(drift.message) or drift.kind.value
    return words(value(drift.field), wanted, seen)


def _probe_words(field: str, _: str, seen: str) -> str:
    if "://" in seen:  # what was asked, and its answer
        return seen
    return f"{field or 'health check'} {'answers' if seen[:1].isdigit() else 'says'} {seen}"


def _config_words(field: str, desired: str, seen: str) -> str:
    name = field.removeprefix("/").removeprefix("resources/").removeprefix("env/")
    return f"{name} {seen.removeprefix('(secret), ')}, Git {desired}"


# (field, desired, observed) → words
_KIND_WORDS: Mapping[DriftKind, Callable[[str, str, str], str]] = {
    DriftKind.MISSING: lambda *_: "no instance",
    DriftKind.CRASH_LOOPING: lambda _, __, seen: f"crash loop: {seen}",
    DriftKind.UNHEALTHY: _probe_words,
    DriftKind.CONFIG_DRIFT: _config_words,
    DriftKind.SCALE_DRIFT: lambda _, desired, seen: f"{seen} of {desired} instances",
    DriftKind.METRIC_BREACH: lambda name, desired, seen: f"{name} {seen}, promised {desired}",
    DriftKind.ALERT_FIRING: lambda name, _, __: f"alert {name} fires",
}
