"""What operations have answered, as reports tell it: whole lines, bounded, and inert.

The answer of a command in a container is whatever that container says. In Markdown it stands
in a fence that nothing in it can close; in JSON it is exact, but for what is cut. Both are
redacted before they are cut, since half a secret is known to no pattern. Pure. Neighbours:
`flows.reporting.markdown`, `flows.reporting.as_json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flows.plan import PlannerKind
from flows.reporting.asked import Exact
from flows.reporting.sentences import TELL
from flows.reporting.text import Redact, begun, cell, changing, count, raw_line
from flows.reporting.values import IncidentReport
from infrastructure.operations import OperationOutcome

# Of one answer. Executors bound it too (`max_output_bytes`): this is for what Git keeps.
_LINES = 200
_LINE = 1000  # characters
_TEXT = 65_536
_ITEMS = 500  # of a list or mapping

_FENCES = re.compile(r"`+")
_STREAMS = ("stdout", "stderr")


def answers(report: IncidentReport) -> tuple[OperationOutcome, ...]:
    """Operations whose answer is to be told.

    A person gets all that was asked for. What a planner has read stands in its dossier; what it
    has changed is told.
    """
    by_hand = report.plan.planner is PlannerKind.PERSON
    done = begun(report) if by_hand else changing(report)
    told = (*done, *report.undone)
    return tuple(o for o in told if o.output is not None and o.call.operation != TELL)


def answer_lines(report: IncidentReport, redact: Redact) -> Iterator[str]:
    """Markdown: each answer under the name of its operation."""
    for outcome in answers(report):
        call = outcome.call
        yield f"**{cell(redact(call.operation))}** on {cell(redact(call.target))} answered:"
        yield ""
        yield from _fenced(list(_lines(outcome.output, redact)))
        yield ""


def answer_data(output: Any, redact: Callable[[Any], Any]) -> Any:
    """JSON-able: texts as they are, but for secrets and what is too much."""
    return _exact(redact(output))


def _exact(value: Any) -> Any:
    match value:
        case str():
            kept = value[:_TEXT]
            rest = len(value) - len(kept)
            return Exact(kept + f"\n[{rest:,} characters left out]" if rest else kept)
        case Mapping():
            return {str(key): _exact(item) for key, item in list(value.items())[:_ITEMS]}
        case list() | tuple():
            return [_exact(item) for item in value[:_ITEMS]]
        case _:
            return value


def _lines(output: Any, redact: Redact) -> Iterator[str]:
    """An answer as lines; what a command has written to its streams as it wrote it."""
    match output:
        case str():
            yield from redact(output).splitlines()
        case {"output": inner, **rest} if "primitive" in rest:  # of several calls
            yield f"{rest['primitive']} {rest.get('instance') or ''}".strip() + ":"
            yield from _lines(inner, redact)
        case Mapping() if any(stream in output for stream in _STREAMS):
            yield from _ran(output, redact)
        case list() | tuple() if all(isinstance(item, Mapping) for item in output):
            for item in output:
                yield from _lines(item, redact)
        case _:
            yield from redact(json.dumps(output, ensure_ascii=False, indent=1)).splitlines()


def _ran(output: Mapping[str, Any], redact: Redact) -> Iterator[str]:
    facts = {key: value for key, value in output.items() if key not in _STREAMS}
    yield redact(", ".join(f"{key} {json.dumps(value)}" for key, value in facts.items()))
    for stream in _STREAMS:
        said = redact(str(output.get(stream) or "")).splitlines()
        if said and stream == "stderr":
            yield "stderr:"
        yield from said


def _fenced(lines: Iterable[str]) -> Iterator[str]:
    whole = [raw_line(line, _LINE) for line in lines]
    shown = whole[:_LINES]
    longest = max((len(run) for line in shown for run in _FENCES.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}text"
    yield from shown
    yield fence
    if len(whole) > len(shown):
        yield ""
        yield f"and {count(len(whole) - len(shown), 'line')} more"
