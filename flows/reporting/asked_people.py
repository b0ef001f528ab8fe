"""What a report says of people's approvals: which is asked for, and by whom one was given.

Pure. Neighbours: `flows.approvals.settling` (writes the request's id into the summary),
`flows.reporting.sentences`, `flows.reporting.markdown`.
"""

from __future__ import annotations

import re

from flows.guard import Decision
from flows.reporting.values import IncidentReport

_REQUEST = re.compile(r"uici approve ([0-9a-f]{12}), until (\S+)$")


def request_of(report: IncidentReport) -> str:
    """Id of the request that waits for a person, empty where none was made or needed."""
    asks = any(v.decision is Decision.NEEDS_APPROVAL for v in report.verdicts)
    found = _REQUEST.search(report.summary) if asks else None
    return found[1] if found else ""


def asked_until(report: IncidentReport) -> str:
    """Until when that request waits, as ISO 8601; empty where there is none."""
    found = _REQUEST.search(report.summary) if request_of(report) else None
    return found[2] if found else ""


def approvers(report: IncidentReport) -> tuple[str, ...]:
    """Those on whose word a step was allowed, each once."""
    given = (verdict.approval for verdict in report.verdicts)
    return tuple(dict.fromkeys(approval.by for approval in given if approval is not None))
