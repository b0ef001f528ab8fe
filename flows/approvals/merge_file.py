"""The file that approves by being merged into desired state, and the text around it. Pure.

The same request gives the same bytes: a file that somebody has edited is another one, and
approves nothing. Desired state is not made of these files: their names are known to
`infrastructure.desired_state`, which passes them over.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from flows.approvals.request import APPROVAL_FOLDER, ApprovalRequest, AskedStep
from flows.approvals.standing import short_revision
from infrastructure.approval_file import APPROVAL_KIND
from infrastructure.quantities import format_duration

_WIDTH = 96


def merge_path(folder: str, request: str) -> str:
    """Where the file of a request stands in desired state, whose folder is given."""
    inside = folder.strip("/")
    start = f"{inside}/" if inside not in {"", "."} else ""
    return f"{start}{APPROVAL_FOLDER}/{request}.yml"


def merge_file(request: ApprovalRequest) -> bytes:
    """The whole file: words for people, then the same as data."""
    words = [f"# {line}".rstrip() for line in words_of(request)]
    data = {
        "apiVersion": "uici/v1",
        "kind": APPROVAL_KIND,
        "request": request.id,
        "target": request.target,
        "expires": request.expires_at.isoformat(timespec="seconds"),
        "desired": {
            "revision": request.desired_revision,
            "content": request.desired_content,
            "spec": request.spec_digest,
        },
        "plan": {
            "digest": request.plan_digest,
            "incident": request.fingerprint,
            "steps": [
                {
                    "operation": step.operation,
                    "target": step.target,
                    "risk": step.risk.value,
                    "parameters": dict(step.parameters),
                }
                for step in request.plan.steps
            ],
        },
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return ("\n".join(words) + "\n" + text).encode()


def words_of(request: ApprovalRequest) -> Iterator[str]:
    """What would be done, why, and what merging means, in plain lines."""
    yield from asked_words(request)
    yield "To approve exactly this, once: merge this file unchanged. To refuse: do not."


def asked_words(request: ApprovalRequest) -> Iterator[str]:
    """What would be done, and why; not how to say yes, which depends on where it is read."""
    yield f"UICI asks to be allowed to work on {_plain(request.target)}."
    yield ""
    yield f"What is wrong: {_plain(request.plan.diagnosis)}"
    for each in request.diff:
        where = f" {each.field}" if each.field else ""
        values = f": Git says {each.desired}, it is {each.observed}" if each.desired else ""
        yield _plain(f"  {each.target}: {each.kind}{where}{values}")
    yield ""
    yield f"What would be done (risk {request.risk.value}), in this order:"
    for number, step in enumerate(request.plan.steps, 1):
        yield f"  {number}. {_step(step)}"
    yield ""
    yield f"Planned by: {_plain(request.plan.planner)}, asked for by run {_plain(request.run_id)}"
    expires = request.expires_at.isoformat(timespec="seconds")
    lasts = format_duration(request.expires_at - request.requested_at)
    yield f"Expires: {expires} ({lasts} after it was asked)"
    yield f"Holds for desired state as it is at {short_revision(request.desired_revision)} only."


def title(request: ApprovalRequest) -> str:
    """Subject of the commit and of the pull request."""
    done = ", ".join(dict.fromkeys(step.operation for step in request.plan.steps))
    return _plain(f"approve: {request.target.partition('/')[2]}: {done}")[:120]


def body(request: ApprovalRequest) -> str:
    """Text of the pull request: Markdown in which nothing from outside has a meaning."""
    lines = [_literal(line) for line in words_of(request)]
    if request.facts:
        lines += ["", "Evidence:", "", *(_literal(f"  {fact}") for fact in request.facts)]
    command = f"uici approve {request.id}"
    return "\n".join([*lines, "", f"The same without a merge: `{command}`"])


def _step(step: AskedStep) -> str:
    given = " ".join(f"{name}={value}" for name, value in step.parameters.items())
    undo = f"undone by {step.undo}" if step.undo else "cannot be undone"
    text = f"{step.operation} {step.target} {given}".rstrip()
    return _plain(
        f"{text} (risk {step.risk.value}, {undo})" + (f": {step.why}" if step.why else "")
    )


def _plain(text: str) -> str:
    """One line that neither a terminal nor YAML's comments end early."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split(" "))


def _literal(line: str) -> str:
    """A line of text as an indented block's line: Markdown and HTML have no meaning in it."""
    return f"    {line}" if line else ""
