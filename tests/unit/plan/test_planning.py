"""The order of the planners, and why each before the one that planned had no plan."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from flows.comparison.drift import Incident
from flows.llm.planner import NoLlm
from flows.plan import Evidence, Plan, Planner, PlannerKind, PlanStep
from flows.planners.order import plan_incident
from flows.report import IncidentResult
from flows.reporting.status import LastIncident
from tests.fakes.llm_setting import NOW, ROOT, incident, registry


@dataclass
class FixedPlanner:
    """Always says the same; remembers that it was asked."""

    kind: PlannerKind
    says: str
    has_plan: bool = True
    asked: list[Incident] = field(default_factory=list)

    def plan(self, subject: Incident, evidence: Evidence) -> Plan | str:
        self.asked.append(subject)
        if not self.has_plan:
            return self.says
        assert evidence.facts == ("fact",)
        return Plan(
            fingerprint=subject.fingerprint,
            planner=self.kind,
            planner_reason=self.says,
            diagnosis="d",
            confidence=1.0,
            evidence=(),
            steps=(PlanStep("start", subject.root, {}, "why"),),
        )


def llm(*, has_plan: bool = True, says: str = "planned by m") -> FixedPlanner:
    return FixedPlanner(PlannerKind.LLM, says, has_plan)


def runbook(*, has_plan: bool = True) -> FixedPlanner:
    says = "runbook start-stopped" if has_plan else "no runbook fits"
    return FixedPlanner(PlannerKind.RUNBOOK, says, has_plan)


def last(**changes: object) -> LastIncident:
    values: dict[str, object] = {
        "fingerprint": incident().fingerprint,
        "run_id": "r7",
        "plan_digest": "d",
        "planner": "llm",
        "result": "failed",
        "at": NOW,
    }
    return LastIncident.model_validate(values | changes)


def plan(*planners: Planner, before: LastIncident | None = None) -> Plan:
    return plan_incident(incident(), Evidence(facts=("fact",)), planners, before)


def test_the_first_that_has_a_plan_plans_and_the_rest_are_not_asked() -> None:
    second = runbook()
    result = plan(llm(), second)
    assert (result.planner, result.planner_reason) == (PlannerKind.LLM, "planned by m")
    assert second.asked == []


def test_why_the_ones_before_had_none_stands_in_the_reason() -> None:
    result = plan(NoLlm("no LLM configured: the key is empty"), runbook())
    assert result.planner is PlannerKind.RUNBOOK
    assert result.planner_reason == "no LLM configured: the key is empty; runbook start-stopped"


@pytest.mark.parametrize(
    "planners", [(), (llm(has_plan=False, says="x" * 900), runbook(has_plan=False))]
)
def test_nobody_has_a_plan_so_a_person_is_told(planners: tuple[Planner, ...]) -> None:
    result = plan(*planners)
    assert result.planner is PlannerKind.NONE
    assert result.confidence == 0.0
    [step] = result.steps
    assert (step.operation, step.target) == ("escalate_to_human", ROOT)
    assert registry().validate(step.operation, step.parameters) == step.parameters
    assert str(step.parameters["summary"]).startswith(f"{ROOT}: Stopped, Unhealthy")
    assert result.planner_reason


@pytest.mark.parametrize("result", [IncidentResult.FAILED, IncidentResult.UNKNOWN])
def test_the_model_is_not_asked_again_about_the_same_after_its_plan_did_not_help(
    result: IncidentResult,
) -> None:
    model = llm()
    made = plan(model, runbook(), before=last(result=result.value))
    assert model.asked == []
    assert made.planner is PlannerKind.RUNBOOK
    assert made.planner_reason == (
        "the LLM is not asked again about an unchanged incident: the plan of run r7 (llm) "
        f"ended as {result.value}; runbook start-stopped"
    )


@pytest.mark.parametrize(
    "before",
    [
        None,
        last(fingerprint="other"),
        last(result=IncidentResult.RECOVERED.value),
        last(result=IncidentResult.HELD.value),
    ],
)
def test_the_model_is_asked_about_anything_else(before: LastIncident | None) -> None:
    assert plan(llm(), runbook(), before=before).planner is PlannerKind.LLM


def test_only_the_model_is_passed_over() -> None:
    made = plan(runbook(), before=last())
    assert (made.planner, made.planner_reason) == (PlannerKind.RUNBOOK, "runbook start-stopped")


def test_a_run_that_asks_no_model_imports_no_sdk() -> None:
    program = (
        "import sys, flows.planners.order, flows.llm.planner, flows.llm.client\n"
        "print([m for m in ('openai', 'httpx2', 'httpcore2', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
