"""A proposal in words: the commit's message, the pull request, the evidence behind it. Pure.

Every text passes the redactor before it leaves; what came from outside (a model's words, an
operation's parameters) is one line without control characters.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

from flows.plan import Exchange
from flows.proposals.cause import Cause
from flows.proposals.value import Value
from flows.reporting.status import PastIncident
from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models import ProposalSettings
from infrastructure.quantities import format_duration

PROPOSAL, TARGET, FIELD, SPEC = "UICI-Proposal", "UICI-Target", "UICI-Field", "UICI-Spec"
_RUN, _DESIRED = "UICI-Run", "UICI-Desired"
_INCIDENTS = 10  # newest that are told; the reports branch has all
_LINE = 300

_WHAT: Mapping[CauseKind, str] = {
    CauseKind.OUT_OF_MEMORY: "it ran out of memory",
    CauseKind.IMAGE_UNAVAILABLE: "it never came up with this image",
    CauseKind.OVERLOADED: "a metric stayed beyond what is promised while it was up",
}
_FIELDS = {"/resources/memory": "memory", "/replicas": "replicas", "/image": "image"}

CLOSING = "Desired state has changed since, so that this proposal is moot; UICI has closed it."


@dataclass(frozen=True, slots=True)
class Advice:
    """What a model said of a cause, or why none was asked. `told`: for the reviewer."""

    told: str
    value: str | None = None  # in bounds; None: the rule's own stands
    risk: str = ""
    cost: str = ""  # tokens, money, prompt's version
    exchanges: tuple[Exchange, ...] = ()  # for the note on the reports branch


def title(cause: Cause, value: Value) -> str:
    """Subject of the commit and title of the pull request."""
    name = cause.target.partition("/")[2]
    return f"propose: {name}: {_FIELDS[cause.pointer]} {value.old} → {value.new}"


def body(cause: Cause, value: Value, advice: Advice, settings: ProposalSettings) -> str:
    """The evidence: plain text that is Markdown, too."""
    shown = cause.incidents[-_INCIDENTS:]
    within = format_duration(settings.within)
    count = len(cause.incidents)
    field = "spec" + cause.pointer.replace("/", ".")
    lines = [
        f"{cause.target}: {_WHAT[cause.kind]}, {count} times within {within}.",
        "Each time on the same declaration: repairing it again does not end it.",
        "",
        f"Change: {field} from {value.old} to {value.new} ({value.how}).",
        f"Model: {plain(advice.told)}" + (f" ({plain(advice.cost)})" if advice.cost else ""),
    ]
    if advice.risk:
        lines.append(f"Risk: {plain(advice.risk)}")
    lines += ["", "Incidents, oldest first:"]
    if len(shown) < count:
        lines.append(f"- {count - len(shown)} earlier ones are left out")
    lines += [f"- {_incident(incident)}" for incident in shown]
    lines += [
        "",
        "Merge it, change it, or close it.",
        "Closed, or its branch deleted, it is not proposed again for this declaration.",
    ]
    return "\n".join(lines)


def trailers(cause: Cause, run_id: str, revision: str) -> str:
    """What ties the commit to its cause: the last lines of its message."""
    pairs = (
        (PROPOSAL, cause.slug),
        (TARGET, cause.target),
        (FIELD, cause.pointer),
        (SPEC, cause.spec_digest),
        (_RUN, run_id),
        (_DESIRED, revision),
    )
    return "\n".join(f"{name}: {plain(text)}" for name, text in pairs) + "\n"


def renewed(message: str, run_id: str, revision: str) -> str:
    """The message of a commit that is made again, by another run on another revision."""
    now = {_RUN: run_id, _DESIRED: revision}
    lines = (line.partition(": ") for line in message.splitlines())
    return "".join(
        f"{name}{mark}{plain(now[name]) if mark and name in now else text}\n"
        for name, mark, text in lines
    )


def trailer(message: str, name: str) -> str:
    """A trailer of a message, the last of that name; empty if it has none."""
    lines = [line for line in message.splitlines() if line.startswith(f"{name}: ")]
    return lines[-1].partition(": ")[2].strip() if lines else ""


def diff(old: bytes, new: bytes, path: str) -> str:
    """A unified diff for people."""
    before, after = (text.decode(errors="replace").splitlines() for text in (old, new))
    lines = difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """One line, without control characters, of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


def _incident(incident: PastIncident) -> str:
    at = f"{incident.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    kinds = " and ".join(incident.kinds)
    told = f" ({', '.join(incident.patterns)})" if incident.patterns else ""
    steps = ", ".join(step.operation for step in incident.steps) or "nothing was done"
    took = f" in {incident.seconds:.0f} s" if incident.seconds is not None else ""
    return plain(f"{at}, run {incident.run_id}: {kinds}{told}; {steps}; {incident.result}{took}")
