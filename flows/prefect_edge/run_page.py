"""What a run leaves on its page in Prefect, as values: report, drift, plan, links.

The report is the one that stands in Git; the page adds what only makes sense there (links,
tables that can be sorted). Cells of Prefect's tables show text as it is, and Markdown of the
report was escaped where it was made; everything is redacted. Pure. Neighbour:
`flows.prefect_edge.listener`, which sends it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flows.guard import Verdict
from flows.plan import PlannerKind
from flows.prefect_edge.links import Places, links
from flows.reporting.run_summary import drift_fields, run_name
from flows.reporting.sentences import planner, verdict_words, worst_first
from flows.reporting.text import Redact, cell, plain
from flows.reporting.values import IncidentReport, RunReport
from infrastructure.operations import OperationOutcome

REPORT_KEY = "uici-report"
DRIFT_KEY = "uici-drift"
PLAN_KEY = "uici-plan"
_ROWS = 200  # of one table


@dataclass(frozen=True, slots=True)
class Artifact:
    """One of Prefect's: `kind` is `markdown` or `table`."""

    key: str
    kind: str
    data: str
    description: str


@dataclass(frozen=True, slots=True)
class RunPage:
    """Makes the page of a run.

    Attributes:
        render: a report as Markdown, redacted.
        places: what links lead to.
        redact: cuts secrets out of a text.
    """

    render: Callable[[RunReport], str]
    places: Places
    redact: Redact

    def artifacts(self, report: RunReport) -> Iterator[Artifact]:
        """Those of a run in which something happened; none of a quiet one."""
        if _eventful(report):
            name = cell(self.redact(run_name(report)))
            yield Artifact(REPORT_KEY, "markdown", self._markdown(report), name)
        if rows := list(_drift_rows(report)):
            yield self._table(DRIFT_KEY, rows, "What differed from Git, and what came of it.")
        if rows := list(_plan_rows(report)):
            yield self._table(PLAN_KEY, rows, "What was planned, judged by the guard, and done.")

    def _markdown(self, report: RunReport) -> str:
        text = self.redact(self.render(report)).rstrip("\n")
        parts = [text]
        if found := list(links(report, self.places, self.redact)):
            parts += ["", "## Links", "", *found]
        return "\n".join(parts) + "\n"

    def _table(self, key: str, rows: list[dict[str, Any]], description: str) -> Artifact:
        shown = [{name: self._shown(value) for name, value in row.items()} for row in rows[:_ROWS]]
        if len(rows) > _ROWS:
            description += f" The first {_ROWS} of {len(rows)}."
        return Artifact(key, "table", json.dumps(shown), description)

    def _shown(self, value: Any) -> Any:
        return plain(self.redact(value), 500) if isinstance(value, str) else value


def _eventful(report: RunReport) -> bool:
    return bool(
        report.comparison.drifts
        or report.incidents
        or report.failures
        or report.errors
        or report.desired.problems
    )


def _drift_rows(report: RunReport) -> Iterator[dict[str, Any]]:
    results = {
        target: incident.result.value
        for incident in report.incidents
        for target in incident.incident.targets
    }
    for drift in report.comparison.drifts:
        yield {**drift_fields(drift), "result": results.get(drift.target, "")}


def _plan_rows(report: RunReport) -> Iterator[dict[str, Any]]:
    for incident in worst_first(report.incidents):
        outcomes = list(incident.execution.outcomes) if incident.execution else []
        for verdict in incident.verdicts:
            same = (o for o in outcomes if o.call == verdict.step.call)
            if (outcome := next(same, None)) is not None:
                outcomes.remove(outcome)
            yield _plan_row(incident, verdict, outcome)


def _plan_row(
    incident: IncidentReport, verdict: Verdict, outcome: OperationOutcome | None
) -> dict[str, Any]:
    step, plan = verdict.step, incident.plan
    parameters = ", ".join(f"{key}={value}" for key, value in step.parameters.items())
    return {
        "operation": step.operation,
        "target": step.target,
        "parameters": parameters,
        "why": step.why,
        "verdict": verdict_words(verdict),
        "result": outcome.status.value.replace("_", " ") if outcome is not None else "not run",
        "seconds": round(outcome.seconds, 1) if outcome is not None else None,
        "planner": planner(plan) if plan.planner is not PlannerKind.NONE else "",
    }
