"""The loop with a model as its planner: it proposes, the guard disposes, Git is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.plan_view import preview_data
from flows.command_line.preview import preview
from flows.listener import RunRequest
from flows.plan import PlannerKind
from flows.report import IncidentResult, RunResult, report_path
from flows.reporting.status import TargetStatus
from infrastructure.observed import EngineHealth, InstanceState
from tests.fakes.llm_server import Behaviour, ScriptedLlm, answer, error, refusal
from tests.fakes.llm_setting import KEY, nothing_to_do, plan_answer
from tests.fakes.llm_setting import step as model_step
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

TARGET = f"{ENVIRONMENT}/a"


def step(operation: str = "start", **parameters: Any) -> dict[str, Any]:
    return model_step(operation, TARGET, **parameters)


@contextmanager
def planned_by(server: ScriptedLlm, root: Path, **platform: Any) -> Iterator[LoopWorld]:
    """One service, running; then its container is killed."""
    llm = {
        "baseUrl": server.base_url,
        "apiKey": KEY,
        "retry": {"attempts": 1, "backoff": {"initial": "10ms", "max": "10ms"}},
    }
    with loop_world(root, platform={"llm": llm, **platform}) as world:
        world.commit(a=service_yaml("a"))
        world.engine.run(world.runtime.git.desired().services[TARGET])
        world.run()
        world.engine.calls.clear()
        world.engine.kill("a")
        yield world


def operations(world: LoopWorld) -> list[str]:
    return [call.primitive for _, call in world.engine.calls]


def test_a_good_plan_heals_and_the_report_tells_what_it_cost(tmp_path: Path) -> None:
    with (
        ScriptedLlm(answer(plan_answer(step()), usage=(1500, 100))) as server,
        planned_by(server, tmp_path) as world,
    ):
        report = world.run()
        (told,) = report.incidents
        assert (told.plan.planner, told.result) == (PlannerKind.LLM, IncidentResult.RECOVERED)
        assert operations(world) == ["start"]
        assert told.plan.usage is not None
        assert (told.plan.usage.prompt_tokens, told.plan.usage.output_tokens) == (1500, 100)
        committed = world.file(f"{report_path(report)}.json")
        assert '"promptTokens":1500' in committed
        assert KEY not in committed


BAD: dict[str, Behaviour] = {
    "prose": answer("I would restart it."),
    "500": error(500),
    "a refusal": refusal(),
    "an unknown operation": answer(plan_answer(step("reboot_the_internet"))),
    "another target": answer(plan_answer(model_step("start", f"{ENVIRONMENT}/devops-ai-agent"))),
}


@pytest.mark.parametrize("words", BAD)
def test_what_is_no_plan_leaves_it_to_the_runbooks(tmp_path: Path, words: str) -> None:
    with ScriptedLlm(BAD[words]) as server, planned_by(server, tmp_path) as world:
        (told,) = world.run().incidents
        assert server.requests
        assert (told.plan.planner, told.result) == (PlannerKind.RUNBOOK, IncidentResult.RECOVERED)
        assert operations(world) == ["start"]


def test_a_step_that_the_guard_forbids_is_never_run_and_the_runbook_heals(tmp_path: Path) -> None:
    harmful = plan_answer(step(), step("set_image", image="evil:1"))
    with ScriptedLlm(answer(harmful)) as server, planned_by(server, tmp_path) as world:
        (told,) = world.run().incidents
        assert (told.plan.planner, told.result) == (PlannerKind.RUNBOOK, IncidentResult.RECOVERED)
        assert "the LLM's plan was refused: set_image" in told.plan.planner_reason
        spurned = next(d for d in told.plan.declined if d.planner is PlannerKind.LLM)
        assert spurned.usage is not None
        assert len(spurned.exchanges) == len(server.requests) == 1
        assert operations(world) == ["start"]
        assert world.engine.named("a").image == "a:1.0.0"


def test_a_model_that_is_not_sure_leaves_it_to_the_runbook(tmp_path: Path) -> None:
    unsure = plan_answer(step("restart"), confidence=0.3)
    with ScriptedLlm(answer(unsure)) as server, planned_by(server, tmp_path) as world:
        (told,) = world.run().incidents
        assert (told.plan.planner, told.result) == (PlannerKind.RUNBOOK, IncidentResult.RECOVERED)
        assert "30% sure" in told.plan.planner_reason
        assert operations(world) == ["start"]


def test_a_plan_that_did_not_help_is_not_asked_for_again(tmp_path: Path) -> None:
    policy = {"guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}}
    with (
        ScriptedLlm(answer(plan_answer(step("restart")))) as server,
        planned_by(server, tmp_path, **policy) as world,
    ):
        world.engine.containers[world.engine.named("a").id].command = ("/no/such/program",)
        first, second = world.run(), world.run()
        assert first.incidents[0].plan.planner is PlannerKind.LLM
        assert second.incidents[0].plan.planner is PlannerKind.RUNBOOK
        assert "not asked again" in second.incidents[0].plan.planner_reason
        assert len(server.requests) == 1


def test_a_model_whose_plan_the_guard_refused_is_not_asked_again(tmp_path: Path) -> None:
    policy = {"guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}}}
    harmful = plan_answer(step(), step("set_image", image="evil:1"))
    with (
        ScriptedLlm(answer(harmful)) as server,
        planned_by(server, tmp_path, **policy) as world,
    ):
        world.engine.containers[world.engine.named("a").id].command = ("/no/such/program",)
        first, second = world.run(), world.run()
        assert "the LLM's plan was refused" in first.incidents[0].plan.planner_reason
        assert first.incidents[0].result is IncidentResult.FAILED
        assert "not asked again" in second.incidents[0].plan.planner_reason
        assert len(server.requests) == 1


def test_the_budget_of_the_day_ends_the_asking_and_not_the_healing(tmp_path: Path) -> None:
    with ScriptedLlm(answer(plan_answer(step()))) as server, planned_by(server, tmp_path) as world:
        day = world.root / "data" / "llm" / "devops-ai-agent.json"
        day.parent.mkdir(parents=True, exist_ok=True)
        day.write_text("not what it wrote")  # counts as a spent day
        report = world.run()
        assert (server.requests, report.result) == ([], RunResult.CONVERGED)
        assert "budget" in report.incidents[0].plan.planner_reason


def test_nothing_is_asked_while_nothing_differs(tmp_path: Path) -> None:
    with ScriptedLlm(answer(plan_answer(step()))) as server, planned_by(server, tmp_path) as world:
        world.run()
        asked = len(server.requests)
        for _ in range(3):
            assert world.run().result is RunResult.CONVERGED
        assert len(server.requests) == asked


def sick(world: LoopWorld) -> None:
    """It runs, and the engine's own check of it fails: a soft drift, which may be no fault."""
    container = world.engine.named("a")
    container.state, container.exit_code = InstanceState.RUNNING, None
    container.health = EngineHealth.UNHEALTHY


def test_what_the_model_holds_for_no_fault_is_left_alone_and_not_counted(tmp_path: Path) -> None:
    with (
        ScriptedLlm(answer(nothing_to_do(cause_target=TARGET))) as server,
        planned_by(server, tmp_path) as world,
    ):
        sick(world)
        (told,) = world.run().incidents
        assert told.result is IncidentResult.NOTHING_TO_DO
        assert "the model sees nothing to do: It works." in told.summary
        asked = len(server.requests)
        again = world.run()
        assert (again.incidents, again.result) == ((), RunResult.DRIFT_REMAINS)
        assert (operations(world), len(server.requests)) == ([], asked)
        status = TargetStatus.model_validate_json(world.file(f"status/{TARGET}.json"))
        assert status.attempts is None
        assert status.last_incident is not None
        assert status.last_incident.result == "nothing_to_do"
        assert "It works." in status.last_incident.summary
        world.engine.kill("a")  # another fault, so another fingerprint
        assert len(world.run().incidents) == 1


def test_its_word_holds_for_a_time_only_and_each_time_anew(tmp_path: Path) -> None:
    # No abilities to find out: each request is a question about the incident.
    llm = {"nothingToDoFor": "1ms", "abilities": {"strictSchema": "yes", "tools": "no"}}
    with ScriptedLlm(answer(nothing_to_do(cause_target=TARGET))) as server:
        connected = {"baseUrl": server.base_url, "apiKey": KEY, **llm}
        with planned_by(server, tmp_path, llm=connected) as world:
            sick(world)
            times = set()
            for _ in range(2):
                (told,) = world.run().incidents
                assert told.result is IncidentResult.NOTHING_TO_DO
                status = TargetStatus.model_validate_json(world.file(f"status/{TARGET}.json"))
                assert status.last_incident is not None
                times.add(status.last_incident.at)
            assert len(server.requests) == len(times) == 2


def test_a_model_that_is_not_sure_that_nothing_is_wrong_is_not_believed(tmp_path: Path) -> None:
    unsure = answer(nothing_to_do(confidence=0.2, cause_target=TARGET))
    with ScriptedLlm(unsure) as server, planned_by(server, tmp_path) as world:
        sick(world)
        (told,) = world.run().incidents
        assert told.plan.planner is PlannerKind.RUNBOOK
        assert "it sees nothing to do, and is only 20% sure" in told.plan.planner_reason
        assert operations(world) == ["restart"]


PREVIEW = RunRequest(None, None, None, "plan")


def test_a_preview_shows_what_it_cost_and_asks_nobody_if_told_so(tmp_path: Path) -> None:
    planned = answer(plan_answer(step()), usage=(1500, 100))
    with ScriptedLlm(planned) as server, planned_by(server, tmp_path) as world:
        quiet = preview(PREVIEW, world.runtime, unasked="a test")
        assert quiet.cases[0].plan.planner is PlannerKind.RUNBOOK
        assert "the LLM is not asked: a test" in quiet.cases[0].plan.planner_reason
        assert (server.requests, server.checks) == ([], [])
        (told,) = preview_data(preview(PREVIEW, world.runtime))["incidents"]
        assert told["planner"] == "llm"
        assert [(u["promptTokens"], u["outputTokens"]) for u in told["usage"]] == [(1500, 100)]
        assert operations(world) == []


def test_what_was_previewed_is_carried_out_without_asking_again(tmp_path: Path) -> None:
    with (
        ScriptedLlm(answer(plan_answer(step()))) as server,
        planned_by(server, tmp_path) as world,
    ):
        shown = [preview(PREVIEW, world.runtime).cases[0].plan for _ in range(2)]
        asked = len(server.requests)
        (told,) = world.run().incidents
        assert told.plan.planner is PlannerKind.LLM
        assert {plan.digest for plan in shown} == {told.plan.digest}
        assert len(server.requests) == asked == 1
        assert "as it answered the same question at" in told.plan.planner_reason


def test_a_preview_does_not_ask_again_about_what_is_unchanged(tmp_path: Path) -> None:
    calm = answer(nothing_to_do(cause_target=TARGET))
    with ScriptedLlm(calm) as server, planned_by(server, tmp_path) as world:
        sick(world)
        world.run()
        asked = len(server.requests)
        (left,) = preview(PREVIEW, world.runtime).left
        assert "the model sees nothing to do: It works." in left.reason
        assert len(server.requests) == asked
