"""What was asked of a model: exact and bounded in JSON, brief in Markdown, never for free."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from flows.plan import (
    Declined,
    Evidence,
    Exchange,
    LlmUsage,
    Phase,
    PhaseRecord,
    PlannerKind,
    RootCause,
)
from flows.reporting.as_json import report_to_dict
from flows.reporting.asked import ReportTexts, run_cost
from flows.reporting.markdown import render_markdown
from flows.reporting.sentences import told_people
from infrastructure.cause_kinds import CauseKind
from tests.unit.report.made import TARGET, incident_report, plan, run_report, step

SYSTEM = "instructions\n" * 200
USAGE = LlmUsage("gpt-x", "https://api", 1, 900, 80, 0.01, 3.2, "plan.v3.md@0123abcd")


def exchange(user: str, answer: str = '{"broken":\n true}') -> Exchange:
    messages = (("system", SYSTEM), ("user", user))
    return Exchange("plan", "gpt-x", "https://api", messages, answer, 1.5, 900, 80)


def told(*exchanges: Exchange, **changes: Any) -> dict[str, Any]:
    made = plan(planner=PlannerKind.LLM, usage=USAGE, exchanges=exchanges, **changes)
    report = run_report("r", incidents=[incident_report(made=made)])
    data: dict[str, Any] = json.loads(json.dumps(report_to_dict(report)))
    found: dict[str, Any] = data["incidents"][0]["plan"]
    return found


def test_messages_and_answers_stand_in_json_word_for_word_and_once() -> None:
    first, second = told(exchange("what\n is wrong?"), exchange("and now?"))["exchanges"]
    assert [m["text"] for m in first["messages"]] == [SYSTEM, "what\n is wrong?"]
    assert first["answer"]["text"] == '{"broken":\n true}'
    assert "text" not in second["messages"][0]
    assert second["messages"][0]["digest"] == first["messages"][0]["digest"]
    assert second["messages"][1]["text"] == "and now?"
    assert (first["promptTokens"], first["outputTokens"], first["seconds"]) == (900, 80, 1.5)


def test_a_report_stays_small_whatever_was_asked_and_says_what_is_left_out() -> None:
    many = [exchange(f"{n} " + "x" * 30_000, "y" * 30_000) for n in range(40)]
    found = told(*many)
    assert len(json.dumps(found)) < 260_000
    assert "leftOut" in found["exchanges"][-1]["messages"][1]
    assert ReportTexts(room=3).text("four") == {"digest": "04efaf080f5a", "leftOut": "4 characters"}


def test_cause_and_phases_are_told() -> None:
    found = told(
        cause=RootCause(CauseKind.OUT_OF_MEMORY, TARGET),
        phases=(PhaseRecord(Phase.ISOLATION, "gpt-x", "looked up get_logs"),),
    )
    assert found["cause"] == {"kind": "OutOfMemory", "target": TARGET}
    assert found["phases"] == [
        {"phase": "isolation", "by": "gpt-x", "finding": "looked up get_logs"}
    ]


def test_what_was_asked_in_vain_costs_and_shows() -> None:
    declined = Declined(
        PlannerKind.LLM, "the answer was refused", USAGE, exchanges=(exchange("?", "prose"),)
    )
    made = plan(planner=PlannerKind.RUNBOOK, declined=(declined,))
    report = run_report("r", incidents=[incident_report(made=made)])
    (found,) = report_to_dict(report)["incidents"][0]["plan"]["declined"]
    assert found["usage"]["promptTokens"] == 900
    assert found["exchanges"][0]["answer"]["text"] == "prose"
    page = render_markdown(report)
    assert "Asked in vain gpt-x (prompt plan.v3.md" in page
    assert "1 request, 900 + 80 tokens, 1.00 ct" in page
    assert page.splitlines()[2] == "Cost: 980 tokens in 1 request, 1.00 ct"
    assert "gpt-x was asked (plan, 900 + 80 tokens, 1.5 s) and said: prose" in page
    assert page.count("<details>") == page.count("</details>")


def test_the_page_is_brief_about_long_answers() -> None:
    made = plan(planner=PlannerKind.LLM, usage=USAGE, exchanges=(exchange("u", "z" * 9000),))
    page = render_markdown(run_report("r", incidents=[incident_report(made=made)]))
    assert "zzz" in page
    assert "z" * 700 not in page
    assert SYSTEM[:12] not in page


def test_a_model_s_claims_are_called_so_and_facts_are_not() -> None:
    evidence = Evidence({}, (), ("exit code 137",))
    made = plan(
        planner=PlannerKind.LLM,
        usage=USAGE,
        diagnosis="it leaks",
        evidence=("the limit is too low",),
        cause=RootCause(CauseKind.OUT_OF_MEMORY, TARGET),
    )
    page = render_markdown(
        run_report("r", incidents=[incident_report(made=made, evidence=evidence)])
    )
    assert "The model says: it leaks (the model's own estimate: 100 %)\n" in page
    assert f"\n\nCause, the model says: OutOfMemory at {TARGET}\n" in page
    assert "- the model says: the limit is too low\n- exit code 137\n" in page
    told = replace(made, steps=(step("escalate_to_human", parameters={"summary": "it leaks"}),))
    assert told_people(told) == "the model says: it leaks"
    rules = plan(cause=RootCause(CauseKind.OUT_OF_MEMORY, TARGET))
    page = render_markdown(run_report("r", incidents=[incident_report(made=rules)]))
    assert f"\n\nCause: OutOfMemory at {TARGET}\n" in page
    assert "model says" not in page


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (replace(USAGE, dollars=0.000018), "980 tokens in 1 request, less than 0.01 ct"),
        (replace(USAGE, dollars=0.00021), "980 tokens in 1 request, 0.02 ct"),
        (replace(USAGE, dollars=0.0, requests=2), "980 tokens in 2 requests, 0.00 ct"),
        (replace(USAGE, dollars=1234.5), "980 tokens in 1 request, 1,234.50 US dollars"),
        (
            replace(USAGE, dollars=None, prompt_tokens=9000),
            "9,080 tokens in 1 request, price unknown",
        ),
        (None, "no model asked"),
    ],
)
def test_cost_is_said_as_people_read_it(usage: LlmUsage | None, text: str) -> None:
    assert run_cost([plan(usage=usage)]) == text


def test_cost_adds_up_over_plans_and_those_who_declined() -> None:
    declined = Declined(PlannerKind.LLM, "refused", replace(USAGE, dollars=None))
    found = run_cost([plan(usage=USAGE), plan(declined=(declined,))])
    assert found == "1,960 tokens in 2 requests, 1.00 ct and more of unknown price"
