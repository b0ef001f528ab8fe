"""What a report says of people's approvals: which is asked for, and by whom one was given.

Pure. Neighbours: `flows.approvals.settling` (makes the requests), `flows.reporting.sentences`,
`flows.reporting.next_steps`.
"""

from __future__ import annotations

from flows.reporting.values import IncidentReport


def request_of(report: IncidentReport) -> str:
    """Id of the request that waits for a person, empty where none was made or needed."""
    return report.asked.request if report.asked is not None else ""


def asked_until(report: IncidentReport) -> str:
    """Until when that request waits, as ISO 8601; empty where there is none."""
    return report.asked.until.isoformat(timespec="minutes") if report.asked is not None else ""


def approvers(report: IncidentReport) -> tuple[str, ...]:
    """Those on whose word a step was allowed, each once."""
    given = (verdict.approval for verdict in report.verdicts)
    return tuple(dict.fromkeys(approval.by for approval in given if approval is not None))
