"""The text above the form that asks a person for a yes: what, why, how risky, until when.

Prefect shows it as Markdown in a narrow box, in which a block of code would be cut off at
its right: so it is running text, in which everything from outside is escaped. Pure.
Neighbour: `flows.prefect_edge.approve_flow`.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.approvals.merge_file import title
from flows.approvals.request import ApprovalRequest, AskedStep, Difference
from flows.approvals.standing import short_revision
from flows.reporting.text import cell, moment
from infrastructure.quantities import format_duration

_LIMIT = 500
_FACTS = 20


def form_text(request: ApprovalRequest) -> str:
    """All that a person has to know; the same facts as in the pull request."""
    return "\n".join(_lines(request))


def _lines(request: ApprovalRequest) -> Iterator[str]:
    yield from (f"### {cell(title(request))}", "")
    yield from (f"**What is wrong:** {cell(request.plan.diagnosis, _LIMIT)}", "")
    yield from (f"- {_difference(each)}" for each in request.diff)
    yield from ("", f"**What would be done** (risk {request.risk.value}), in this order:", "")
    yield from (f"{number}. {_step(step)}" for number, step in enumerate(request.plan.steps, 1))
    lasts = format_duration(request.expires_at - request.requested_at)
    yield from ("", f"**Expires:** {moment(request.expires_at)} ({lasts} after it was asked)", "")
    planner, run = cell(request.plan.planner), cell(request.run_id)
    yield from (f"**Planned by:** {planner}, asked for by run {run}", "")
    yield f"A yes holds once, for exactly this, and for desired state as it is at \
{cell(short_revision(request.desired_revision))} only."
    if request.facts:
        yield from ("", "**Evidence:**", "")
        yield from (f"- {cell(fact, _LIMIT)}" for fact in request.facts[:_FACTS])
        if len(request.facts) > _FACTS:
            yield f"- and {len(request.facts) - _FACTS} more: `uici approve {request.id}`"
    yield from ("", f"The same without this form: `uici approve {request.id}`")


def _difference(each: Difference) -> str:
    where = f" {each.field}" if each.field else ""
    values = f": Git says {each.desired}, it is {each.observed}" if each.desired else ""
    return cell(f"{each.target}: {each.kind}{where}{values}", _LIMIT)


def _step(step: AskedStep) -> str:
    given = " ".join(f"{name}={value}" for name, value in step.parameters.items())
    undo = f"undone by {step.undo}" if step.undo else "cannot be undone"
    done = cell(f"{step.operation} {step.target} {given}".rstrip(), _LIMIT)
    why = f": {cell(step.why, _LIMIT)}" if step.why else ""
    return f"**{done}** (risk {step.risk.value}, {undo}){why}"
