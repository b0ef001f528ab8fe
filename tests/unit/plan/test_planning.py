"""The order of the planners, and why each before the one that planned had no plan."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest

from flows.comparison.drift import Incident
from flows.escalation import ESCALATE, MAX_SUMMARY, USUAL_SEVERITY, telling
from flows.llm.planner import NoLlm
from flows.plan import Declined, Evidence, Phase, Plan, Planner, PlannerKind, PlanStep
from flows.planners.order import plan_incident
from flows.planners.runbook import RunbookPlanner
from flows.planners.tried import NOTHING_TRIED, TriedPlans
from flows.report import IncidentResult
from flows.reporting.status import LastIncident, Step, TriedPlan
from infrastructure.drift_kinds import DriftKind
from tests.fakes.llm_setting import NOW, ROOT, incident, registry, services
from tests.unit.operations import shipped


@dataclass
class FixedPlanner:
    """Always says the same; remembers that it was asked."""

    kind: PlannerKind
    says: str
    has_plan: bool = True
    operation: str = "start"
    asked: list[Incident] = field(default_factory=list)

    def plan(self, subject: Incident, evidence: Evidence) -> Plan | Declined:
        self.asked.append(subject)
        if not self.has_plan:
            return Declined(self.kind, self.says)
        assert evidence.facts == ("fact",)
        return Plan(
            fingerprint=subject.fingerprint,
            planner=self.kind,
            planner_reason=self.says,
            diagnosis="d",
            confidence=1.0,
            evidence=(),
            steps=(PlanStep(self.operation, subject.root, {}, "why"),),
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


def plan(
    *planners: Planner,
    before: LastIncident | None = None,
    about: Incident | None = None,
    tried: TriedPlans = NOTHING_TRIED,
) -> Plan:
    evidence = Evidence(facts=("fact",))
    return plan_incident(about or incident(), evidence, planners, before, tried=tried)


def tried(*operations: str, planner: str = "runbook") -> TriedPlans:
    """These were carried out on the root in vain."""
    plans = tuple(
        TriedPlan(
            remedy="",
            planner=planner,
            steps=(Step(operation=name, parameters={}),),
            at=NOW,
            result="did not help",
        )
        for name in operations
    )
    return TriedPlans({ROOT: plans}, registry())


def learned(*, has_plan: bool = True) -> FixedPlanner:
    says = "known class c: worked 3 times of 3" if has_plan else "c: nothing was learned yet"
    return FixedPlanner(PlannerKind.LEARNED, says, has_plan)


def books(done: TriedPlans = NOTHING_TRIED) -> RunbookPlanner:
    """The shipped runbooks, where everything can be done."""
    able = frozenset(registry().names())
    return RunbookPlanner(shipped.runbooks(), services(), lambda _: able, tried=done)


def missing() -> Incident:
    return replace(incident(DriftKind.MISSING), targets=(ROOT,))


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


def test_a_learned_plan_costs_no_question() -> None:
    model = llm()
    made = plan(learned(), model, runbook())
    assert (made.planner, model.asked) == (PlannerKind.LEARNED, [])


def test_that_nothing_was_learned_stands_in_triage_and_not_in_the_reason() -> None:
    made = plan(learned(has_plan=False), llm(), runbook())
    assert (made.planner, made.planner_reason) == (PlannerKind.LLM, "planned by m")
    assert made.phases[0].phase is Phase.TRIAGE
    assert made.phases[0].finding == "c: nothing was learned yet; the model is asked"
    assert [declined.planner for declined in made.declined] == [PlannerKind.LEARNED]


def test_where_the_runbook_suffices_no_model_is_asked_and_the_plan_says_why() -> None:
    model = llm()
    made = plan(model, books(), about=missing())
    assert (made.runbook, model.asked) == ("create-missing", [])
    why = "the LLM is not asked: runbook create-missing fits, and a model could add nothing"
    assert made.declined[0].reason == why
    assert made.phases[0].finding == why
    assert made.planner_reason == f"{why}; runbook create-missing fits Missing"


def test_what_suffices_by_the_book_and_did_not_help_is_put_to_the_model() -> None:
    model = llm()
    before = last(planner="runbook")
    made = plan(model, books(), about=missing(), before=before, tried=tried("create"))
    assert made.planner is PlannerKind.LLM
    assert len(model.asked) == 1


def test_the_model_is_asked_after_a_learned_plan_did_not_help() -> None:
    before = last(planner="learned")
    made = plan(llm(), runbook(), before=before, tried=tried("restart", planner="learned"))
    assert made.planner is PlannerKind.LLM


def test_the_model_is_not_asked_a_second_time_about_the_same() -> None:
    model = llm()
    before = last(planner="learned")
    plan(model, runbook(), before=before, tried=tried("restart", planner="llm"))
    assert model.asked == []


def test_no_model_is_not_the_same_as_a_model_that_was_not_asked() -> None:
    made = plan(NoLlm("no LLM configured: the key is empty"), books(), before=last())
    assert made.declined[0].reason == "no LLM configured: the key is empty"
    assert "not asked" not in made.planner_reason


def test_a_plan_of_the_model_that_was_tried_in_vain_is_declined_with_what_it_cost() -> None:
    done = tried("start")
    made = plan(llm(), books(done), tried=done)
    assert (made.planner, made.runbook) == (PlannerKind.RUNBOOK, "recreate-broken")
    [declined] = made.declined
    assert declined.reason.startswith("llm plans start (runbook) again, which did not help")
    assert made.planner_reason.startswith(declined.reason)


def test_when_everything_was_tried_a_person_is_told_all_of_it() -> None:
    done = tried("start", "recreate")
    stopped = replace(incident(DriftKind.STOPPED), targets=(ROOT,))
    made = plan(llm(), books(done), about=stopped, tried=done)
    assert made.planner is PlannerKind.NONE
    summary = str(made.steps[0].parameters["summary"])
    assert "tried without success: start (runbook), recreate (runbook)" in summary
    assert "UICI acts again when" in summary
    assert registry().validate("escalate_to_human", made.steps[0].parameters)


def test_a_run_that_asks_no_model_imports_no_sdk() -> None:
    program = (
        "import sys, flows.planners.order, flows.llm.planner, flows.llm.client\n"
        "print([m for m in ('openai', 'httpx2', 'httpcore2', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_what_tells_a_person_is_cut_to_what_the_operation_takes() -> None:
    operation = registry().get(ESCALATE)
    assert operation.parameters["properties"]["summary"]["maxLength"] == MAX_SUMMARY
    assert operation.parameters["properties"]["severity"]["default"] == USUAL_SEVERITY
    told = telling("x" * 2000, "critical")
    assert registry().validate(ESCALATE, told) == told
    assert len(told["summary"]) == MAX_SUMMARY
