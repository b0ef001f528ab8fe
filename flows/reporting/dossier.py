"""What a person needs of a dossier, in Markdown: the telling lines first, the rest folded.

The whole of it stands in the JSON report. Every text is from outside and goes through
`put`, which redacts it and makes it harmless. Pure. Neighbours: `flows.dossier` collects,
`flows.reporting.markdown` lays out the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from flows.plan import Evidence, PatternMatch, PlannerKind
from flows.reporting.text import count, short_name
from flows.reporting.values import IncidentReport

Put = Callable[..., str]

_TOP = 2  # of a kind, before the tables
_FOLDED = 12  # of a kind, in the fold
_LOG_LINES = 5  # the end of the log, where the reason usually stands

_STAMP = re.compile(r"^\[?\d{4}-?\d\d-?\d\d[T ]?\d\d:?\d\d\S*\s*")
_TELLING = re.compile(
    r"error|fatal|critical|panic|exception|fail|killed|refused|denied|abort|unable|"
    r"out of memory|no space|cannot|can't|invalid|unhealthy|exit",
    re.IGNORECASE,
)
# As `flows.dossier` writes them: a commit of desired state, and the deepest broken dependency.
_COMMIT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d) (\S[^:]*): commit ([0-9a-f]{6,64} by .*)")
_BROKEN = "the deepest broken one: "


def top_lines(report: IncidentReport, put: Put) -> Iterator[str]:
    """What was said, which error is known, what changed, what is broken below, what was tried."""
    evidence, root = report.evidence, report.incident.root
    matches = sorted(evidence.matches, key=lambda match: match.target != root)[:_TOP]
    said = _said(evidence.logs.get(root, ""))
    if said and not any(match.line and match.line in said for match in matches):
        yield f"It said: {put(said, 300)}"
    yield from (f"Known error: {put(_match(match, root), 400)}" for match in matches)
    for found in _telling(evidence)[0]:
        at, touched, what = found.groups()
        of = "" if touched == root else f"{touched}: "
        yield f"Changed lately: {put(f'{of}{what} ({at} UTC)', 300)}"
    broken = [line for line in evidence.dependencies if line.startswith(_BROKEN)]
    yield from (f"Broken below: {put(line.removeprefix(_BROKEN), 300)}" for line in broken[:_TOP])
    past = [line.removeprefix(f"{root}: ") for line in evidence.past]
    yield from (f"Before: {put(line, 300)}" for line in past[:_TOP])
    if evidence.left_out:
        yield f"Left out of the dossier: {put('; '.join(evidence.left_out), 300)}"


def _telling(evidence: Evidence) -> tuple[list[re.Match[str]], list[str]]:
    """Commits that may be behind the fault, and the lines of all changes but these.

    Where one is known to be, the others were there while all was well.
    """
    found = [each for line in evidence.changes if (each := _COMMIT.fullmatch(line))]
    change = evidence.git_change
    if change is not None and change.commit:
        known = (change.commit, *change.accepted_with)
        found = [each for each in found if each[3].startswith(known)]
    top = found[:_TOP]
    told = {each[0] for each in top}
    return top, [line for line in evidence.changes if line not in told]


def _match(match: PatternMatch, root: str) -> str:
    of = "" if match.target == root else f"{short_name(match.target)}: "
    about = f" ({match.subject})" if match.subject else ""
    line = f": {match.line}" if match.line else ""
    return f"{of}{match.name}{about}, {count(match.count, 'time')}: {match.meaning}{line}"


def folded_lines(
    report: IncidentReport, put: Put, without_plan: Sequence[str] = ()
) -> Iterator[str]:
    """What the plan rests on and the rest of the dossier; nothing where there is none.

    `without_plan`: why nobody has a plan, where that takes more than a few words.
    """
    why = [f"- no plan: {put(part, 300)}" for part in without_plan[:_FOLDED]]
    lines = list(dict.fromkeys((*why, *_details(report, put))))
    if lines:
        yield from ("<details><summary>Evidence</summary>", "", *lines, "", "</details>")


def _details(report: IncidentReport, put: Put) -> Iterator[str]:
    evidence, plan = report.evidence, report.plan
    model = plan.planner is PlannerKind.LLM
    # A runbook's evidence is the drifts, and these stand in their table.
    own = () if plan.planner is PlannerKind.RUNBOOK else plan.evidence
    claimed = "the model says: " if model else ""
    fresh = [fact for fact in own[:_FOLDED] if fact not in plan.planner_reason]
    yield from (f"- {claimed}{put(fact, 300)}" for fact in fresh)
    yield from (f"- {put(fact, 300)}" for fact in evidence.facts[:_FOLDED])
    yield from (f"- {put(line, 300)}" for line in evidence.dependencies[:_FOLDED])
    yield from (f"- {put(line, 300)}" for line in _telling(evidence)[1][:_FOLDED])
    yield from (f"- {put(line, 300)}" for line in evidence.past[_TOP:_FOLDED])
    for target, log in evidence.logs.items():
        yield from (f"- {put(target)} said: {put(line, 300)}" for line in _tail(log))
    if hidden := _hidden(evidence):
        yield f"- and {count(hidden, 'line')} more in the JSON report beside this one"


def _hidden(evidence: Evidence) -> int:
    kinds = (evidence.facts, evidence.dependencies, evidence.changes, evidence.past)
    return sum(max(0, len(lines) - _FOLDED) for lines in kinds)


def _grouped(log: str) -> Iterator[tuple[str, int]]:
    """Lines that say something; those that repeat, but for their time, once with their count."""
    said, last, times = "", "", 0
    for line in log.splitlines():
        words = _STAMP.sub("", line.strip()).strip()
        if not words:
            continue
        if words == said:
            last, times = line.strip(), times + 1
            continue
        if times:
            yield last, times
        said, last, times = words, line.strip(), 1
    if times:
        yield last, times


def _times_told(line: str, times: int) -> str:
    return f"{line} ({times} times)" if times > 1 else line


def _tail(log: str) -> list[str]:
    return [_times_told(line, times) for line, times in _grouped(log)][-_LOG_LINES:]


def _said(log: str) -> str:
    """The service's own word on what is wrong: the last line that reads like an error."""
    telling = [_times_told(line, times) for line, times in _grouped(log) if _TELLING.search(line)]
    return telling[-1] if telling else ""
