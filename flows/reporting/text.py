"""Text for people's eyes: made harmless for Markdown, and what an incident's operations were.

Logs, labels and error messages come from outside. Nothing of them may start a tag, break
a table, call a person, become a link or move a terminal's cursor. The sentences about an
incident are `flows.reporting.sentences`'s. Pure.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import datetime

from flows.comparison.drift import Drift
from flows.guard import Verdict
from flows.reporting.values import IncidentReport, IncidentResult
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
        **{char: "\\" + char for char in "*[]~$!#"},
    }
)
# An underscore within a word never starts emphasis; elsewhere it may.
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
# What would become a link or call a person is shown as code, where it is neither. Only
# characters that mean nothing in Markdown, a table or HTML are taken.
_CODE = re.compile(
    r"((?:(?<!\w)(?:[A-Za-z][A-Za-z0-9+.-]{0,30}://|www\.)[A-Za-z0-9./:?=%,;+@_~#-]+"
    r"|(?<!\w)@[A-Za-z0-9_.-]+)+)"
)
# The rest of them, in spellings that _CODE does not take.
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_WWW = re.compile(r"\bwww(?=\.)", re.IGNORECASE)
_MARKS = re.compile(r"`|\\(?=[^\w\s]|_)|&#8203;")
_GAP = "&#8203;"  # a zero-width space: enough to keep a mention or a link from forming


def plain(text: str, limit: int = 200) -> str:
    """One line without control codes or invisible marks, at most `limit` characters."""
    line = " ".join(_UNSEEN.sub(" ", _ANSI.sub(" ", text)).split())
    if not line.isprintable():  # unassigned and private code points
        line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def raw_line(text: str, limit: int) -> str:
    """A line for a fenced block: its spaces stay, what a terminal would act upon does not."""
    line = _UNSEEN.sub(" ", _ANSI.sub(" ", text.expandtabs()))
    line = "".join(char if char.isprintable() else "\ufffd" for char in line).rstrip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def cell(text: str, limit: int = 200) -> str:
    """Text that may stand anywhere inside a line of Markdown, a table's cell included."""
    parts = _CODE.split(plain(text, limit))  # every second one is to be shown as code
    return "".join(f"`{part}`" if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    safe = _UNDERSCORE.sub(r"\\_", text.translate(_MARKUP))
    safe = _MENTION.sub(f"@{_GAP}", safe).replace("://", f":{_GAP}//")
    return _WWW.sub(lambda match: match[0] + _GAP, safe)


def unmarked(text: str, limit: int | None = None) -> str:
    """A line of our Markdown as a person would read it."""
    bare = html.unescape(_MARKS.sub("", text))
    return plain(bare, limit or len(bare) or 1)


def first_words(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words: for a commit's subject."""
    line = plain(text, len(text) or 1)
    if len(line) <= limit:
        return line
    words = line[:limit].rpartition(" ")[0].rstrip(" ,;:(→")
    return f"{words or line[: limit - 2]} …"


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


def count(number: int, what: str) -> str:
    """`1 request`, `2 requests`, `1,546 tokens`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


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


def root_drifts(report: IncidentReport) -> tuple[Drift, ...]:
    """What is wrong with the root itself; a dependent's fault may be older, and outlast it."""
    drifts = report.incident.drifts
    return tuple(d for d in drifts if d.target == report.incident.root) or drifts


def fault_began(report: IncidentReport) -> datetime | None:
    """The earliest moment that the engine or an alert tells of the root's fault."""
    deed = report.evidence.ended_by
    told = [d.since for d in root_drifts(report)] + ([deed.at] if deed is not None else [])
    return min((at for at in told if at is not None), default=None)


def begins_known(report: IncidentReport) -> bool:
    """Whether the engine or an alert tells when the root's fault began."""
    return fault_began(report) is not None


def fault_seconds(report: IncidentReport) -> float | None:
    """From the earliest known beginning of the root's fault to its verified recovery.

    Where nothing says when it began (another value, by hand or by a commit, which may have
    waited for a merge), from where the run saw it. None: not recovered.
    """
    outcomes = begun(report)
    if report.result is not IncidentResult.RECOVERED or not outcomes:
        return None
    verified = report.verification.seconds if report.verification else 0.0
    end = max(outcome.finished_at for outcome in outcomes)
    first = min(outcome.started_at for outcome in outcomes)
    start = min(fault_began(report) or report.seen_at or first, first)
    return max(0.0, (end - start).total_seconds() + verified)
