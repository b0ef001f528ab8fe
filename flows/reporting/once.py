"""A text of an incident's page is told once in full; from then on a few words refer to it.

An error is what an operation ended with, why the incident is as it is, and what people are
told: three places for one text. Pure. Neighbours: `flows.reporting.markdown` (the page),
`flows.reporting.sentences` (what stands on top of it).
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.plan import PlannerKind
from flows.reporting.sentences import planner_reason, remains, waits
from flows.reporting.text import Redact, plain
from flows.reporting.values import IncidentReport, IncidentResult

ABOVE = "as said above"

# Characters of what waits for a person, or of a summary, on top of a page.
TOP = 700
# Of how a fault stands that waits for nobody.
LEFT = 500

_FEW = 40  # characters: so much may be said twice
_REASON = 120
# Of these the first lines say all that the summary does.
_TOLD = (IncidentResult.RECOVERED, IncidentResult.HELD, IncidentResult.ESCALATED)


@dataclass(frozen=True, slots=True)
class Top:
    """What stands on top of an incident's page, in one line, redacted."""

    text: str
    redact: Redact

    def again(self, text: str) -> bool:
        """Whether a text stands there already, and is too long to be told twice."""
        return len(text) > _FEW and self.has(text)

    def has(self, text: str) -> bool:
        """Whether a text stands there, whole."""
        return _line(self.redact(text)).rstrip(".") in self.text

    def short(self, text: str) -> str:
        """The text, or a reference to it."""
        return ABOVE if self.again(text) else text


def top_of(report: IncidentReport, redact: Redact) -> Top:
    """As `flows.reporting.markdown` puts it."""
    todo = waits(report)
    texts = ((todo, TOP), ("" if todo else remains(report), LEFT), (summary_of(report), TOP))
    return Top(" ".join(plain(redact(text), most) for text, most in texts if text), redact)


def summary_of(report: IncidentReport) -> str:
    """The summary, where the first lines do not say it; empty: they do."""
    told = report.result in _TOLD or (not waits(report) and report.summary in remains(report))
    return "" if told else report.summary


def without_plan(report: IncidentReport, top: Top) -> tuple[str, tuple[str, ...]]:
    """Why nobody has a plan: in few words, and what of it is for the fold."""
    if report.plan.planner is not PlannerKind.NONE:
        return "", ()
    reason = planner_reason(report.plan)
    if top.has(reason):
        return "", ()
    if len(reason) <= _REASON:
        return reason, ()
    return "", tuple(part for part in reason.split("; ") if not top.has(part))


def _line(text: str) -> str:
    return plain(text, len(text) or 1)
