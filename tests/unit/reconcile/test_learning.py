"""The loop learns: what helped is kept in Git, trusted, doubted, and a person's to change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flows.command_line.knowledge import knowledge_data
from flows.plan import Phase, PlannerKind
from flows.report import IncidentReport, IncidentResult, RunResult
from flows.reporting.status import TargetStatus
from infrastructure.errors import OutcomeUnknownError, PermanentError, TemporaryError
from infrastructure.knowledge import LearnedResolution
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.fakes.llm_server import ScriptedLlm, answer
from tests.fakes.llm_setting import KEY, plan_answer
from tests.fakes.llm_setting import step as model_step
from tests.fakes.loop import ENVIRONMENT, LoopWorld, git, loop_world, service_yaml

TARGET = f"{ENVIRONMENT}/a"
FILE = "knowledge/docker-stopped.yml"
NO_WAIT = {"policy": {"backoff": {"initial": "0s", "max": "0s"}, "maxAttempts": 5}}


@contextmanager
def learning(root: Path, *, operation: str = "restart") -> Iterator[tuple[LoopWorld, ScriptedLlm]]:
    """One running service, and a model that always plans the same."""
    with ScriptedLlm(answer(plan_answer(model_step(operation, TARGET)))) as server:
        llm = {
            "baseUrl": server.base_url,
            "apiKey": KEY,
            "retry": {"attempts": 1, "backoff": {"initial": "10ms", "max": "10ms"}},
            # A question about the endpoint's abilities is not what is counted here.
            "abilities": {"strictSchema": "yes", "tools": "no"},
            "isolation": {"rounds": 0},
        }
        with loop_world(root, platform={"llm": llm, "guard": NO_WAIT}) as world:
            world.commit(a=service_yaml("a"))
            world.engine.run(world.runtime.git.desired().services[TARGET])
            world.run()
            yield world, server


def heal(world: LoopWorld) -> IncidentReport:
    """Break it, and let the loop mend it."""
    world.engine.kill("a")
    (told,) = world.run().incidents
    return told


def known(world: LoopWorld) -> dict[str, LearnedResolution]:
    """Resolutions of the class by their operations."""
    found = world.runtime.git.reported().knowledge.get("docker-stopped")
    resolutions = found.resolutions if found is not None else ()
    return {", ".join(s.operation for s in r.steps): r for r in resolutions}


def status(world: LoopWorld) -> TargetStatus:
    return world.remembered().statuses[TARGET]


def edit(world: LoopWorld, content: str | None, path: str = FILE) -> None:
    """A person's commit on the reports branch; None deletes."""
    work = world.root / "person"
    if not work.exists():
        git(world.root, "clone", "-q", "-b", "uici/reports", str(world.remote), str(work))
    git(work, "pull", "-q")
    file = work / path
    if content is None:
        file.unlink()
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "a person's word")
    git(work, "push", "-q")


def test_after_so_many_recoveries_the_class_is_planned_without_the_model(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, server):
        for _ in range(3):
            assert heal(world).plan.planner is PlannerKind.LLM
        asked = len(server.requests)
        told = heal(world)
        assert (told.plan.planner, told.result) == (PlannerKind.LEARNED, IncidentResult.RECOVERED)
        assert told.plan.learned == "docker-stopped"
        assert "worked 3 times of 3, median " in told.plan.planner_reason
        assert told.plan.phases[0].phase is Phase.TRIAGE
        assert told.plan.usage is None
        assert len(server.requests) == asked
        assert known(world)["restart"].successes == 4
        runtime = world.runtime
        listed = knowledge_data(runtime.git.reported().knowledge, "", 3, runtime.registry)
        assert listed["classes"][0]["resolutions"][0]["state"] == "trusted"


def test_knowledge_goes_with_the_report_s_commit_and_with_no_other(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, _):
        before = len(world.reports())
        heal(world)
        assert len(world.reports()) == before + 2  # the intent, the report
        changed = git(world.remote, "show", "--name-only", "--format=", "uici/reports").split()
        assert FILE in changed
        quiet = world.reports()
        world.run()
        assert world.reports() == quiet


def test_one_failure_puts_the_class_back_on_trial_and_the_next_line_heals(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, server):
        for _ in range(3):
            heal(world)
        asked = len(server.requests)
        world.engine.failures["restart"] = PermanentError("no such device")
        failed = heal(world)
        assert (failed.plan.planner, failed.result) == (PlannerKind.LEARNED, IncidentResult.FAILED)
        found = known(world)["restart"]
        assert (found.successes, found.failures, found.in_a_row) == (3, 1, 0)
        attempts = status(world).attempts
        assert attempts is not None
        assert [past.planner for past in attempts.tried] == ["learned"]
        # The model is asked, plans the same again, and is not followed.
        (told,) = world.run().incidents
        assert len(server.requests) > asked
        assert (told.plan.planner, told.result) == (PlannerKind.RUNBOOK, IncidentResult.RECOVERED)
        assert [step.operation for step in told.plan.steps] == ["start"]
        assert "which did not help" in told.plan.planner_reason
        world.engine.failures.clear()
        assert status(world).attempts is None  # verified recovery: everything may be tried again
        assert heal(world).plan.planner is PlannerKind.LLM
        assert known(world)["start"].successes == 1


@pytest.mark.parametrize(
    "error",
    [TemporaryError("busy"), OutcomeUnknownError("gone", remedy="look")],
)
def test_what_is_not_certain_teaches_nothing(tmp_path: Path, error: Exception) -> None:
    with learning(tmp_path) as (world, _):
        world.engine.failures["restart"] = error  # type: ignore[assignment]  # both are UiciError
        assert heal(world).result is not IncidentResult.RECOVERED
        assert known(world) == {}
        attempts = status(world).attempts
        assert attempts is not None
        assert (attempts.count, attempts.tried) == (1, ())


@pytest.mark.parametrize(
    "error",
    [TemporaryError("busy"), OutcomeUnknownError("gone", remedy="look")],
)
def test_a_trusted_class_whose_end_nobody_sees_leaves_attempts_for_the_next_planner(
    tmp_path: Path, error: Exception
) -> None:
    with learning(tmp_path, operation="start") as (world, _):
        restart = HOSTILE.replace("OPERATION", "restart").replace("PARAMETERS", "{}")
        edit(world, restart)
        world.engine.failures["restart"] = error  # type: ignore[assignment]  # both are UiciError
        planners = [heal(world).plan.planner]
        planners += [world.run().incidents[0].plan.planner for _ in range(2)]
        assert planners == [PlannerKind.LEARNED, PlannerKind.LEARNED, PlannerKind.LLM]
        assert status(world).attempts is None  # the model's plan has helped
        assert known(world)["start"].successes == 1
        assert known(world)["restart"].in_a_row == 99  # nothing was learned of it


def test_a_recovery_to_which_the_plan_added_nothing_earns_nothing(tmp_path: Path) -> None:
    with learning(tmp_path, operation="start") as (world, _):
        original = world.engine.call

        def idle(service: Service, call: PrimitiveCall, **more: float) -> PrimitiveResult:
            """Somebody else was faster."""
            done = original(service, call, **more)
            return replace(done, changed=False) if call.primitive == "start" else done

        world.engine.call = idle  # type: ignore[method-assign]  # an engine that had nothing to do
        assert heal(world).result is IncidentResult.RECOVERED
        assert known(world) == {}
        assert status(world).history[-1].idle


class Killed(BaseException):
    """As kill -9: nothing catches it, nothing is written any more."""


def test_a_run_that_is_killed_counts_neither_as_success_nor_is_it_lost(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, server):
        for _ in range(3):
            heal(world)
        before = world.file(FILE)
        asked = len(server.requests)
        original = world.engine.call

        def kill(service: Service, call: PrimitiveCall, **more: float) -> PrimitiveResult:
            if call.primitive == "restart":
                raise Killed
            return original(service, call, **more)

        world.engine.call = kill  # type: ignore[method-assign]  # the process ends there
        with pytest.raises(Killed):
            heal(world)
        world.engine.call = original  # type: ignore[method-assign]  # the next process
        assert world.file(FILE) == before
        past = status(world).history[-1]
        assert (past.result, past.planner, past.seconds) == (
            IncidentResult.INTERRUPTED,
            "learned",
            None,
        )
        attempts = status(world).attempts
        assert attempts is not None
        assert (attempts.count, attempts.tried) == (1, ())
        (told,) = world.run().incidents
        assert (told.plan.planner, told.result) == (PlannerKind.LEARNED, IncidentResult.RECOVERED)
        assert known(world)["restart"].in_a_row == 4
        assert len(server.requests) == asked
        results = [past.result for past in status(world).history]
        assert results == ["recovered"] * 3 + ["interrupted", "recovered"]


def test_the_history_of_a_target_is_kept_and_bounded(tmp_path: Path) -> None:
    with loop_world(tmp_path, platform={"learning": {"history": 2}, "guard": NO_WAIT}) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        for _ in range(3):
            assert heal(world).result is IncidentResult.RECOVERED
        history = status(world).history
        assert len(history) == 2
        assert {(p.incident_class, p.kinds, p.planner) for p in history} == {
            ("docker-stopped", ("Stopped",), "runbook")
        }
        assert [p.steps[0].operation for p in history] == ["start", "start"]
        assert all(p.seconds is not None and p.seconds >= 0 for p in history)


def test_a_person_may_disable_trust_and_delete(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, _):
        heal(world)
        text = world.file(FILE)
        edit(
            world, text.replace("  planner: llm", "  trusted: true\n  reason: mine\n  planner: llm")
        )
        assert heal(world).plan.planner is PlannerKind.LEARNED
        assert "trusted: true" in world.file(FILE)
        edit(world, world.file(FILE).replace("trusted: true", "disabled: true"))
        assert heal(world).plan.planner is PlannerKind.LLM
        edit(world, None)
        assert world.runtime.git.desired() is not None
        assert known(world) == {}
        assert heal(world).plan.planner is PlannerKind.LLM
        assert known(world)["restart"].successes == 1


HOSTILE = """\
apiVersion: uici/v1
kind: Knowledge
class: docker-stopped
when: {executor: docker, kinds: [Stopped]}
resolutions:
- planner: a person
  successes: 99
  failures: 0
  inARow: 99
  steps:
  - {operation: OPERATION, parameters: PARAMETERS}
"""


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("set_image", "{image: evil:1}"),
        ("scale", "{replicas: 0}"),
        ("stop", "{}"),
        ("execute_command", "{argv: [rm, -rf, /]}"),
        ("rollback_service", "{}"),
        ("format_disk", "{}"),
        ("scale", "{replicas: '{{ service.spec.nothing }}'}"),
    ],
)
def test_a_hostile_file_heals_nothing_and_harms_nothing(
    tmp_path: Path, operation: str, parameters: str
) -> None:
    with learning(tmp_path) as (world, _):
        heal(world)
        world.engine.calls.clear()
        hostile = HOSTILE.replace("OPERATION", operation).replace("PARAMETERS", parameters)
        edit(world, hostile)
        told = heal(world)
        assert (told.plan.planner, told.result) == (PlannerKind.LLM, IncidentResult.RECOVERED)
        assert [call.primitive for _, call in world.engine.calls] == ["restart"]
        assert world.engine.named("a").image == "a:1.0.0"


@pytest.mark.parametrize("content", ["{", "kind: Other\n", HOSTILE.replace("Stopped", "Missing")])
def test_a_damaged_file_is_told_in_the_report_and_left_as_it_is(
    tmp_path: Path, content: str
) -> None:
    with learning(tmp_path) as (world, _):
        heal(world)
        edit(world, content)
        world.engine.kill("a")
        report = world.run()
        assert report.result is RunResult.CONVERGED
        assert {p.file for p in report.desired.problems} == {FILE}
        assert world.file(FILE) == content.strip()


def test_what_others_learned_meanwhile_is_kept_when_ours_is_made_again(tmp_path: Path) -> None:
    """The remote moves on while the agent can't push: both sides' trials count."""
    with learning(tmp_path) as (world, _):
        for _ in range(3):
            heal(world)
        text = world.file(FILE)
        away = world.root / "away.git"
        world.remote.rename(away)
        assert heal(world).result is IncidentResult.RECOVERED  # committed here only
        away.rename(world.remote)
        theirs = (
            text.replace("failures: 0", "failures: 1").replace("inARow: 3", "inARow: 0").rstrip()
            + "\n  - run: other\n    target: t\n    at: '2100-01-01T00:00:00Z'\n    helped: false\n"
        )
        edit(world, theirs)
        world.run()
        found = known(world)["restart"]
        assert (found.successes, found.failures, found.in_a_row) == (4, 1, 0)
        assert "other" in world.file(FILE)


def test_a_class_that_a_person_deleted_meanwhile_stays_forgotten(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, _):
        for _ in range(3):
            heal(world)
        away = world.root / "away.git"
        world.remote.rename(away)
        heal(world)
        away.rename(world.remote)
        edit(world, None)
        world.run()
        assert known(world) == {}


def test_a_resolution_that_a_person_took_out_meanwhile_stays_out(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, _):
        for _ in range(3):
            heal(world)
        away = world.root / "away.git"
        world.remote.rename(away)
        heal(world)
        away.rename(world.remote)
        other = HOSTILE.replace("OPERATION", "recreate").replace("PARAMETERS", "{}")
        edit(world, f"{other}  disabled: true\n  reason: it loses data\n")
        world.run()
        found = known(world)
        assert set(found) == {"recreate"}, world.file(FILE)
        assert found["recreate"].disabled


def test_a_status_of_an_older_version_is_read(tmp_path: Path) -> None:
    with learning(tmp_path) as (world, _):
        heal(world)
        path = f"status/{TARGET}.json"
        old = json.loads(world.file(path))
        old.pop("history")
        edit(world, json.dumps(old), path)
        assert heal(world).result is IncidentResult.RECOVERED
        assert len(status(world).history) == 1


def test_everything_was_tried_so_a_person_is_told_once_and_of_all_of_it(tmp_path: Path) -> None:
    with loop_world(tmp_path, platform={"guard": NO_WAIT}) as world:
        world.commit(a=service_yaml("a"))
        world.run()
        world.engine.kill("a")
        for primitive in ("start", "recreate"):
            world.engine.failures[primitive] = PermanentError(f"can't {primitive}")
        reports = [world.run() for _ in range(4)]
        told = [report.incidents[0] if report.incidents else None for report in reports]
        assert [each.result if each else None for each in told] == [
            IncidentResult.FAILED,
            IncidentResult.FAILED,
            IncidentResult.ESCALATED,
            None,
        ]
        last = told[2]
        assert last is not None
        assert "start (runbook), recreate (runbook)" in last.summary
        stalled = [c for c in status(world).conditions if c.type.value == "Stalled"]
        assert stalled[0].message.endswith("tried without success: start, recreate")
        world.engine.failures.clear()
        world.commit(a=service_yaml("a", env={"NEW": "1"}))
        assert world.run().result is RunResult.CONVERGED
