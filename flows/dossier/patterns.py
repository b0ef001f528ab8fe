"""Error patterns of runbooks.yml, looked for in logs and in the engine's own words.

The patterns are the operator's, the lines are anybody's: the part of a line that is matched
and the time that a pattern may take are bounded, so that no line can hold up a run.
(`infrastructure.regex_cost` refuses patterns that could take for ever on a short line.)
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from flows.dossier.text import Redact, one_line, safe_line
from flows.plan import PatternMatch
from infrastructure.config_models import ErrorPattern
from infrastructure.regex_cost import LONGEST_LINE

# Kinds of lines of one target that are matched, the most telling.
MATCHED_GROUPS = 300
_SUBJECT = 120


@dataclass(frozen=True, slots=True)
class Line:
    """What may match: a clean line, `count` times, and what stands before it."""

    text: str
    count: int = 1
    before: str = field(default="", repr=False)


def find_patterns(
    patterns: Sequence[ErrorPattern],
    lines: Sequence[tuple[str, Sequence[Line]]],
    *,
    redact: Redact,
    limit: int,
    patience: timedelta,
) -> tuple[tuple[PatternMatch, ...], tuple[str, ...]]:
    """What is found, in the order of the patterns, and what was given up.

    Args:
        patterns: in the order in which they are told.
        lines: of each target, the most telling first.
        redact: cuts secrets out of the line and the subject that are told.
        limit: characters that are kept of the line.
        patience: what one pattern may take on one target; then the rest is left out.
    """
    found: list[PatternMatch] = []
    given_up: list[str] = []
    for pattern in patterns:
        expression = re.compile(pattern.regex)
        for target, candidates in lines:
            until = time.perf_counter() + patience.total_seconds()
            matching = list(_matching(expression, candidates, until))
            if time.perf_counter() > until:
                given_up.append(f"pattern {pattern.name} took too long on the log of {target}")
            if matching:
                found.append(_match(pattern, expression, target, matching, redact, limit))
    return tuple(found), tuple(given_up)


def _matching(
    expression: re.Pattern[str], candidates: Iterable[Line], until: float
) -> Iterator[Line]:
    for line in candidates:
        if expression.search(line.text[:LONGEST_LINE]):
            yield line
        if time.perf_counter() > until:
            return


def _match(  # noqa: PLR0917 - private, one caller: what a match is made of
    pattern: ErrorPattern,
    expression: re.Pattern[str],
    target: str,
    matching: Sequence[Line],
    redact: Redact,
    limit: int,
) -> PatternMatch:
    told = safe_line(matching[0].text, matching[0].before, redact)
    # Of the redacted line: the subject of a pattern may be a secret.
    again = expression.search(told[:LONGEST_LINE])
    subject = again.groupdict().get("subject") if again else None
    return PatternMatch(
        name=pattern.name,
        target=target,
        cause=pattern.cause,
        meaning=pattern.meaning,
        count=sum(line.count for line in matching),
        line=one_line(told, redact, limit),
        subject=one_line(subject or "", redact, _SUBJECT),
    )
