"""Redaction of files that the loop reads back: words for people, and not what it works with.

A secret's value may be an ordinary word, such as a user's name that is a service's, too. Cut
out of an inventory id, a digest or an enumeration's word it would make the loop lose its
memory; and these are no secret: they stand in Git, or are UICI's own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from flows.reporting.incident_result import IncidentResult

# Fields that hold ids, digests, moments and words of an enumeration, in any of these files.
IDS = frozenset(
    {
        *("apiVersion", "kind", "target", "targets", "root", "environment", "type", "status"),
        *("observedRevision", "specDigest", "syncedDigest", "wellDigest", "sync", "health"),
        *("runId", "fingerprint", "plan", "planDigest", "remedy", "planner", "runbook"),
        *("operation", "class", "incidentClass", "executor", "kinds", "fields", "patterns"),
        *("desired", "revision", "base", "approval", "by"),
    }
)
# The fields by which a condition is known; its reason is a word of an enumeration.
_CONDITION = frozenset({"type", "status", "reason"})
_PROBE = "\u2042"  # a value that is nobody's secret
_REASON = re.compile(r"[A-Z][A-Za-z]*")
_RESULTS = frozenset(IncidentResult)
_ID = re.compile(r"[A-Za-z0-9/][\w.:/+-]*(?:@sha\d+:\w+)?")  # and no address of a person
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")

RedactData = Callable[[Any], Any]


def own_data(redact: RedactData, ids: Collection[str] = IDS) -> RedactData:
    """A redaction that leaves alone what stands in fields of ids and looks like one."""

    @cache
    def hides(key: Any) -> bool:
        return bool(under(key, _PROBE) != _PROBE)

    def under(key: Any, value: Any) -> Any:
        """The value as redacted below its key, which may hold a secret itself and is kept."""
        return next(iter(redact({key: value}).values()))

    def cut(value: Any) -> Any:
        if isinstance(value, Mapping):
            words = _CONDITION if value.keys() >= _CONDITION else frozenset()
            return {key: member(key, item, words) for key, item in value.items()}
        return [cut(item) for item in value] if isinstance(value, list | tuple) else redact(value)

    def member(key: Any, value: Any, words: Collection[str]) -> Any:
        if hides(key):  # whatever it is
            return under(key, value)
        if (key in ids and _are_ids(value)) or isinstance(value, int | float):
            return value  # of numbers, a secret's can stand in parameters alone
        if isinstance(value, str) and (_is_word(key, value) or _is_reason(key, value, words)):
            return value
        if key == "parameters" or not isinstance(value, Mapping | list | tuple):
            return under(key, value)
        return cut(value)

    return cut


def _are_ids(value: Any) -> bool:
    many = value if isinstance(value, list | tuple) else (value,)
    return all(isinstance(each, str) and _ID.fullmatch(each) for each in many)


def _is_reason(key: Any, value: str, words: Collection[str]) -> bool:
    """Whether it is a condition's: that of anything else is people's words."""
    return key == "reason" and key in words and bool(_REASON.fullmatch(value))


def _is_word(key: Any, value: str) -> bool:
    return bool(_MOMENT.fullmatch(value)) or (key == "result" and value in _RESULTS)
