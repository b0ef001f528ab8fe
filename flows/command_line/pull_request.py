"""What a pull request that changes desired state would do, as a comment on it.

`uici plan --markdown` prints it; `deploy/ci/` has pipelines that post it. Neighbour:
`flows.command_line.annotations`, the mistakes at their lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from flows.cases import Case
from flows.command_line.plan_view import unseen
from flows.command_line.preview import Preview
from flows.comparison.drift import Drift
from flows.guarding.verdict import Decision, Verdict
from flows.reporting.text import cell, count, plain
from flows.reporting.wrong import apart
from infrastructure.operation_registry import OperationRegistry

Redact = Callable[[str], str]

_CELL = 200  # characters
MARKER = "<!-- uici plan -->"  # by which a pipeline finds its own comment again


def comment(seen: Preview, registry: OperationRegistry, redact: Redact) -> str:
    """What a run would find and do if this desired state were in force, as Markdown.

    Args:
        seen: of that desired state, against the live world.
        registry: knows each operation's risk.
        redact: cuts secrets out of all that is shown.
    """

    def put(text: str) -> str:
        return cell(redact(text))  # redacted before it is cut

    lines = [MARKER, f"## {_headline(seen)}", ""]
    if not seen.nothing_in_force:
        revision = plain(redact(seen.desired.revision)).replace("`", "'")  # a branch's name
        lines += [f"Desired state: `{revision}`", ""]
    lines += _trouble(seen, put)
    if not seen.nothing_in_force:
        lines += _drifts(seen, redact)
        for case in seen.cases:
            lines += _case(case, registry, redact)
        lines += [f"- {put(a.incident.root)}: nothing now: {put(a.reason)}" for a in seen.left]
    return redact("\n".join(lines).rstrip() + "\n")


def _headline(seen: Preview) -> str:
    states = seen.comparison.states
    if seen.desired.refused_revision:
        left = "nothing is" if seen.nothing_in_force else "an older one stays"
        return f"uici plan: refused: the desired state is not valid, {left} in force"
    if not states:
        return "uici plan: nothing is declared"
    if not seen.differs:
        dark = len(unseen(seen))
        known = f"{len(states) - dark} of {count(len(states), 'target')} as declared"
        return f"uici plan: nothing to change: {known}" + (f", {dark} not seen" if dark else "")
    changed = {d.target for d in (*seen.comparison.drifts, *seen.comparison.pending)}
    asked = sum(
        verdict.decision is Decision.NEEDS_APPROVAL for c in seen.cases for verdict in c.verdicts
    )
    people = f", {count(asked, 'step')} only with a person's word" if asked else ""
    return f"uici plan: {count(len(changed & states.keys()), 'target')} would change{people}"


def _trouble(seen: Preview, put: Callable[[str], str]) -> Iterator[str]:
    if seen.desired.refused_revision:
        yield f"**Refused**: {put(seen.desired.refused)} is not valid:"
        yield from (f"- {put(str(problem))}" for problem in seen.desired.problems)
        yield ""
    if seen.desired.stale:
        yield f"**May be old**: {put(seen.desired.stale)}\n"
    for failure in seen.failures:
        where = f"{failure.source} of {failure.environment}"
        yield f"**Not seen**: {put(where)}: {put(failure.error)}\n"


def _drifts(seen: Preview, redact: Redact) -> Iterator[str]:
    rows = [
        (d.target, d.kind.value + grace, d.field, *_apart(d, redact))
        for drifts, grace in (
            (seen.comparison.drifts, ""),
            (seen.comparison.pending, " (within its grace)"),
        )
        for d in drifts
    ]
    if rows:
        yield from _table(("Target", "Drift", "Field", "Is", "Would be"), rows)


def _apart(drift: Drift, redact: Redact) -> tuple[str, str]:
    """What is and what would be, so cut that they differ where the whole values do."""
    return apart(redact(drift.observed), redact(drift.desired), _CELL)


def _case(case: Case, registry: OperationRegistry, redact: Redact) -> Iterator[str]:
    yield f"**{cell(case.incident.root)}**, planned by {case.plan.planner.value}:"
    yield ""
    rows = [[redact(text) for text in _step(v, registry)] for v in case.verdicts]
    yield from _table(("Operation", "Risk", "Verdict", "Because"), rows)


def _step(verdict: Verdict, registry: OperationRegistry) -> tuple[str, ...]:
    step = verdict.step
    parameters = " ".join(f"{key}={value}" for key, value in step.parameters.items())
    verdicts = {
        Decision.ALLOWED: "runs alone",
        Decision.NEEDS_APPROVAL: "a person has to approve",
        Decision.DENIED: "denied",
    }
    risk = registry.get(step.operation).risk.value
    told = f"{step.operation} {parameters}".strip()
    return told, risk, verdicts[verdict.decision], verdict.reason


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(cell(text) for text in row) + " |"
    yield ""
