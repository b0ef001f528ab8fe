"""Text for people's eyes: made harmless for Markdown, and the sentences about an incident.

Logs, labels and error messages come from outside. Nothing of them may start a tag, break
a table, call a person, become a link or move a terminal's cursor. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from flows.guard import Decision, Verdict
from flows.plan import Plan, PlannerKind
from flows.reporting.values import IncidentReport, IncidentResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.operations import OperationOutcome, OutcomeStatus

Redact = Callable[[str], str]

# ECMA-48 control sequences, operating system commands, and other escapes.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b."
)
# Control codes, line separators, bidirectional and zero-width marks, surrogates, tags.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]+"
)
_MARKUP = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "&#124;",
        "`": "&#96;",
        "\\": "&#92;",
        **{char: "\\" + char for char in "*_[]~$!#"},
    }
)
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_WWW = re.compile(r"\bwww(?=\.)", re.IGNORECASE)
_GAP = "&#8203;"  # a zero-width space: enough to keep a mention or a link from forming

_SUBJECT_LIMIT = 120

_RESULT_WORDS = {
    IncidentResult.RECOVERED: "recovered",
    IncidentResult.FAILED: "not recovered",
    IncidentResult.WAITING: "waiting",
    IncidentResult.HELD: "held",
    IncidentResult.ESCALATED: "escalated to a person",
    IncidentResult.UNKNOWN: "outcome unknown",
}


def plain(text: str, limit: int = 200) -> str:
    """One line without control codes or invisible marks, at most `limit` characters."""
    line = " ".join(_UNSEEN.sub(" ", _ANSI.sub(" ", text)).split())
    if not line.isprintable():  # unassigned and private code points
        line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def cell(text: str, limit: int = 200) -> str:
    """Text that may stand anywhere inside a line of Markdown, a table's cell included."""
    safe = plain(text, limit).translate(_MARKUP)
    safe = _MENTION.sub(f"@{_GAP}", safe).replace("://", f":{_GAP}//")
    return _WWW.sub(lambda match: match[0] + _GAP, safe)


def short_name(target: str) -> str:
    """`environment/name` → `name`."""
    return target.partition("/")[2] or target


def seconds(value: float) -> str:
    """A duration that people read at a glance: `0.3 s`, `4 min 10 s`, `2 h 5 min`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def moment(at: datetime | None) -> str:
    """UTC to the second, as in the reports' paths."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


# ── what happened to an incident ────────────────────────────────────────────────


def begun(report: IncidentReport) -> tuple[OperationOutcome, ...]:
    """Operations that were really begun."""
    outcomes = report.execution.outcomes if report.execution else ()
    return tuple(o for o in outcomes if o.status is not OutcomeStatus.SKIPPED)


def changing(report: IncidentReport) -> tuple[OperationOutcome, ...]:
    """Operations that were begun and are no mere reads."""
    reads = {_call(v) for v in report.verdicts if v.rule == "read-only"}
    return tuple(o for o in begun(report) if (o.call.operation, o.call.target) not in reads)


def _call(verdict: Verdict) -> tuple[str, str]:
    return verdict.step.operation, verdict.step.target


def fault_seconds(report: IncidentReport) -> float | None:
    """From the earliest known beginning of the fault to its verified recovery.

    Where nothing says when it began (configuration changed by hand), from the first
    operation. None: not recovered.
    """
    outcomes = begun(report)
    if report.result is not IncidentResult.RECOVERED or not outcomes:
        return None
    verified = report.verification.seconds if report.verification else 0.0
    end = max(outcome.finished_at for outcome in outcomes)
    known = [d.since for d in report.incident.drifts if d.since is not None]
    start = min([*known, min(outcome.started_at for outcome in outcomes)])
    return max(0.0, (end - start).total_seconds() + verified)


def wrong(report: IncidentReport) -> str:
    """What was wrong: the root's drift kinds, with the fields where they tell something."""
    drifts = [d for d in report.incident.drifts if d.target == report.incident.root]
    words = []
    for drift in drifts or report.incident.drifts:
        field = drift.field.lstrip("/") if drift.kind is DriftKind.CONFIG_DRIFT else ""
        words.append(f"{drift.kind.value} {field}".strip())
    return " + ".join(dict.fromkeys(words)) or "unknown"


def done(report: IncidentReport) -> str:
    """What was done: the operations that were begun, without mere reads unless alone."""
    outcomes = changing(report) or begun(report)
    return ", ".join(dict.fromkeys(o.call.operation for o in outcomes)) or "nothing done"


def came_of_it(report: IncidentReport) -> str:
    """How it ended, with the time from fault to recovery."""
    words = _RESULT_WORDS[report.result]
    if report.result is IncidentResult.WAITING and needs_approval(report):
        words = "waiting for approval"
    took = fault_seconds(report)
    return f"{words} in {seconds(took)}" if took is not None else words


def needs_approval(report: IncidentReport) -> tuple[str, ...]:
    """Operations that a person has to approve."""
    asked = [v for v in report.verdicts if v.decision is Decision.NEEDS_APPROVAL]
    return tuple(dict.fromkeys(v.step.operation for v in asked))


def planner(plan: Plan) -> str:
    """Who planned: `runbook start-stopped`, `llm gpt-…`."""
    match plan.planner:
        case PlannerKind.RUNBOOK:
            return f"runbook {plan.runbook}" if plan.runbook else "runbook"
        case PlannerKind.LLM:
            return f"llm {plan.usage.model}" if plan.usage else "llm"
        case PlannerKind.LEARNED:
            return "learned"
        case PlannerKind.PERSON:
            return "a person"
        case PlannerKind.NONE:
            return "no plan"


def waits(report: IncidentReport) -> str:
    """What a person has to do, empty when nothing waits for one."""
    why = report.summary
    match report.result:
        case IncidentResult.ESCALATED:
            return f"a person has to look: {why or report.plan.planner_reason}"
        case IncidentResult.WAITING if operations := needs_approval(report):
            return f"approve {', '.join(operations)}" + (f": {why}" if why else "")
        case IncidentResult.UNKNOWN:
            remedies = [outcome.remedy for outcome in begun(report) if outcome.remedy]
            return remedies[0] if remedies else "look whether the last operation took place"
        case _:
            return ""


def headline(report: IncidentReport, redact: Redact) -> str:
    """`market-predictor: Stopped → start → recovered in 1.2 s (runbook start-stopped)`."""
    name = short_name(report.incident.root)
    others = len(report.incident.targets) - 1
    if others:
        name += f" (+{others} that need it)"
    text = f"{name}: {wrong(report)} → {done(report)} → {came_of_it(report)}"
    return plain(redact(f"{text} ({planner(report.plan)})"), _SUBJECT_LIMIT)
