"""What a target said last, where a repair has left it ended: else its report tells no reason.

What is broken now may have worked before the repair, so its evidence is of before. Used by
`flows.act`; the next run's dossier has the whole log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from flows.dossier.reads import LOGS, RunRead
from flows.dossier.text import clean
from flows.reporting.text import plain
from flows.verify import Check, CheckState, Verification
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import UiciError
from infrastructure.operations import OperationCall, OutcomeStatus

_ENDED = frozenset({DriftKind.STOPPED.value, DriftKind.CRASH_LOOPING.value})
_LINES = 5
_WORDS = 200  # characters
# What an engine puts before a line: its time, and the instance where there are several.
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\S+ (?:\[[^\]\s]+\] )?")


def with_last_words(
    verification: Verification, run_read: RunRead, redact: Callable[[str], str]
) -> Verification:
    """The verification, its check of the engine with the last line of what has ended.

    Args:
        verification: of one root.
        run_read: carries out an operation that changes nothing.
        redact: cuts secrets out.
    """
    left = verification.left
    if left is None or left.reason not in _ENDED:
        return verification
    try:
        outcome = run_read(OperationCall(LOGS, left.target, {"lines": _LINES}))
    except UiciError:  # an environment without logs, or a plan that may not read them
        return verification
    said = _last_line(outcome.output) if outcome.status is OutcomeStatus.SUCCEEDED else ""
    if not said:
        return verification
    words = plain(redact(said), _WORDS)

    def told(check: Check) -> Check:
        if check.name != "engine" or check.state is not CheckState.FAILED:
            return check
        return replace(check, detail=f"{check.detail}; its last words: {words}")

    return replace(verification, checks=tuple(map(told, verification.checks)))


def _last_line(output: object) -> str:
    """The newest line that says something, without what its engine put before it."""
    lines = clean(output).splitlines() if isinstance(output, str) else []
    said = (_STAMP.sub("", line, count=1).strip() for line in reversed(lines))
    return next((line for line in said if line), "")
