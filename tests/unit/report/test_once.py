"""One text is told once in full on an incident's page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.execute import Execution
from flows.plan import PlannerKind
from flows.report import IncidentReport, IncidentResult, render_markdown
from flows.reporting.sentences import planner_reason
from flows.verify import Check, CheckState, Verification, VerificationResult
from infrastructure.operations import OutcomeStatus
from tests.unit.report.made import (
    FINGERPRINT,
    TARGET,
    incident_report,
    outcome,
    plan,
    run_report,
    step,
)

ERROR = "the new market-predictor ended at once with exit code 1; its last words: no such module"
SECRET = "sk-abcdefghijklmnopqrstuvwx"
NO_LLM = "no LLM configured: llm.apiKey in platform.yml is empty"
INTERNALS = (
    f"{NO_LLM}; no runbook fits Stopped on {TARGET};"
    " start-stopped skipped: start did not help; recreate-broken skipped: recreate did not help"
)


def failed(error: str = ERROR, summary: str = "") -> IncidentReport:
    made = plan(step("recreate"))
    ended = outcome(
        made.steps[0],
        status=OutcomeStatus.FAILED,
        changed=False,
        error=f"recreate {TARGET}: {error}",
    )
    check = Check(TARGET, "engine", CheckState.FAILED, error)
    return replace(
        incident_report(IncidentResult.FAILED, made=made, summary=summary),
        execution=Execution(FINGERPRINT, (ended,)),
        verification=Verification(FINGERPRINT, VerificationResult.NOT_RECOVERED, (check,), 1.0),
    )


def told_by_nobody_s_plan(reason: str, summary: str) -> IncidentReport:
    made = plan(
        step("escalate_to_human", parameters={"summary": summary}),
        planner=PlannerKind.NONE,
        planner_reason=reason,
        diagnosis=f"recreate: did not help: {ERROR}",
        runbook=None,
    )
    told = incident_report(IncidentResult.ESCALATED, made=made, rule="read-only", summary=summary)
    return replace(told, verification=None)


def test_an_error_is_told_once_below_the_title() -> None:
    told = failed(summary=f"recreate: did not help: {ERROR}")
    page = render_markdown(run_report("r", incidents=[told]))
    title, _, rest = page.partition("\n")
    assert rest.count("its last words: no such module") == 1
    assert f"Summary: recreate: did not help: {ERROR}\n" in rest
    assert "| failed: as said above |" in rest
    assert f"| {TARGET} | engine | failed | as said above |" in rest
    assert "→ not recovered: the new market-predictor ended at once" in title


def test_an_error_that_stands_nowhere_else_is_told_where_it_came_up() -> None:
    page = render_markdown(run_report("r", incidents=[failed(summary="another reason")]))
    assert f"| failed: {ERROR} |" in page
    short = render_markdown(run_report("r", incidents=[failed("no image", "no image")]))
    assert "| failed: no image |" in short


def test_what_is_compared_is_redacted_before() -> None:
    def redact(text: str) -> str:
        return text.replace(SECRET, "[redacted]")

    told = failed(f"{ERROR} {SECRET}", summary=f"did not help: {ERROR} [redacted]")
    page = render_markdown(run_report("r", incidents=[told]), redact)
    assert "| failed: as said above |" in page
    assert SECRET not in page


def test_why_nobody_has_a_plan_takes_a_line_and_the_rest_is_folded() -> None:
    told = told_by_nobody_s_plan(
        f"tried without success: recreate; {INTERNALS}",
        f"{TARGET}: Stopped; recreate: did not help: {ERROR}; tried without success: recreate",
    )
    page = render_markdown(run_report("r", incidents=[told]))
    above, _, fold = page.partition("<details>")
    assert "\nPlan: none; why: under Evidence\n" in above
    assert "skipped" not in above
    assert "- no plan: start-stopped skipped: start did not help\n" in fold
    assert "- no plan: tried without success" not in fold
    assert "Diagnosis:" not in page  # it stands in what waits for a person
    assert page.partition("\n")[2].count("its last words: no such module") == 1


def test_a_short_reason_stands_beside_the_plan_that_is_none() -> None:
    told = told_by_nobody_s_plan("it recovers and fails again", "it flaps")
    page = render_markdown(run_report("r", incidents=[told]))
    assert "\nPlan: none: it recovers and fails again\n" in page
    assert "no plan:" not in page
    same = told_by_nobody_s_plan("it recovers and fails again", "it recovers and fails again")
    assert "\nPlan: none\n" in render_markdown(run_report("r", incidents=[same]))


def test_an_error_of_the_run_is_short_in_the_title_and_whole_below() -> None:
    error = f"the intent could not be committed: {'reason ' * 40}end"
    page = render_markdown(run_report("r", errors=[error]))
    assert page.splitlines()[0].endswith("reason …")
    assert "end" not in page.splitlines()[0].split()
    assert f"- {error}\n" in page


def test_that_no_model_is_configured_is_said_only_where_it_is_all_there_is() -> None:
    made = plan(planner_reason=f"{NO_LLM}; runbook start-stopped fits Stopped")
    assert planner_reason(made) == "fits Stopped"
    skipped = replace(made, planner_reason=f"{made.planner_reason}; restart skipped: it is down")
    assert planner_reason(skipped) == "restart skipped: it is down"
    assert planner_reason(replace(made, planner_reason=NO_LLM)) == "no LLM configured"
    page = render_markdown(run_report("r", incidents=[incident_report(made=made)]))
    assert "Plan: runbook start-stopped (fits Stopped)\n" in page


@pytest.mark.parametrize(
    "result", [IncidentResult.WAITING, IncidentResult.NOTHING_TO_DO, IncidentResult.HELD]
)
def test_why_nothing_is_done_is_told_once_below_the_title(result: IncidentResult) -> None:
    why = "the engine of local-docker is paused by its operators until tomorrow noon, UTC"
    told = incident_report(result, acted=False, summary=why)
    page = render_markdown(run_report("r", incidents=[told]))
    assert page.partition("\n")[2].count(why) == 1
