"""A class of incidents earns and loses its trust on a real Docker Engine and real Git."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from executors.contract import Executor, ExecutorContext, load_executor_module
from flows.local_stack import docker
from flows.plan import PlannerKind
from flows.report import IncidentReport, IncidentResult, RunResult
from infrastructure.drift_kinds import DriftKind
from tests.fakes.llm_server import ScriptedLlm, answer
from tests.fakes.llm_setting import KEY, plan_answer, step
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml

pytestmark = pytest.mark.real
NAME = "uici-learning-service"
TARGET = f"{ENVIRONMENT}/{NAME}"
TRUST_AFTER = 2


@dataclass
class Place:
    """The loop over a real engine, and the model that it asks."""

    host: str
    loop: LoopWorld
    model: ScriptedLlm

    def inside(self, command: str) -> None:
        """Do something within the service as its owner would."""
        docker(self.host, "exec", NAME, "/bin/busybox", "sh", "-c", command)

    def heal(self) -> IncidentReport:
        """One run over one incident."""
        (told,) = self.loop.run().incidents
        return told


@pytest.fixture
def place(tmp_path: Path, docker_host: str, demo_image: str) -> Iterator[Place]:
    """One healthy service, created by the loop itself."""
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(ScriptedLlm(answer(plan_answer(step("restart", TARGET)))))
        platform = {
            # The same fault comes again and again here, from outside.
            "learning": {"trustAfter": TRUST_AFTER, "relapseWithin": "1ms"},
            "llm": {"baseUrl": model.base_url, "apiKey": KEY, "isolation": {"rounds": 0}},
            "guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}},
            "verify": {"deadline": "5s", "interval": "100ms"},
        }
        made = stack.enter_context(loop_world(tmp_path, platform=platform))
        module = load_executor_module("docker")
        executor: Executor = module.connect(
            module.Connection.model_validate({"host": docker_host}),
            ExecutorContext(ENVIRONMENT, 4, made.runtime.identity, made.runtime.secrets.resolve),
        )
        stack.callback(executor.close)
        made.runtime = replace(made.runtime, executors={ENVIRONMENT: executor})
        health = {"http": {"port": 8000, "path": "/health", "timeout": "2s"}}
        made.commit(**{NAME: service_yaml(NAME, image=demo_image, health=health)})
        stack.callback(docker, docker_host, "rm", "--force", NAME)
        assert made.run().result is RunResult.CONVERGED
        yield Place(docker_host, made, model)


def test_trusted_after_recoveries_on_trial_after_a_failure(place: Place) -> None:
    for number in range(1, TRUST_AFTER + 1):
        place.inside(": >/tmp/fault-health")
        told = place.heal()
        assert {d.kind for d in told.incident.drifts} == {DriftKind.UNHEALTHY}
        assert (told.plan.planner, told.result) == (PlannerKind.LLM, IncidentResult.RECOVERED)
        assert len(place.model.requests) == number

    place.inside(": >/tmp/fault-health")
    told = place.heal()
    assert (told.plan.planner, told.result) == (PlannerKind.LEARNED, IncidentResult.RECOVERED)
    assert f"worked {TRUST_AFTER} times of {TRUST_AFTER}" in told.plan.planner_reason
    assert len(place.model.requests) == TRUST_AFTER  # 0 requests more, 0 tokens

    # From now on the fault outlives a restart of the container, and not its replacement.
    place.inside("busybox sed -i 's|^busybox rm -f.*|: >/tmp/fault-health|' /service/run")
    place.inside(": >/tmp/fault-health")
    told = place.heal()
    assert (told.plan.planner, told.result) == (PlannerKind.LEARNED, IncidentResult.FAILED)
    file = yaml.safe_load(place.loop.file(f"knowledge/{told.plan.learned}.yml"))
    (found,) = file["resolutions"]
    assert (found["successes"], found["failures"], found["inARow"]) == (TRUST_AFTER + 1, 1, 0)

    told = place.heal()
    assert (told.plan.planner, told.result) == (PlannerKind.RUNBOOK, IncidentResult.RECOVERED)
    assert [s.operation for s in told.plan.steps] == ["recreate"]
    assert len(place.model.requests) == TRUST_AFTER + 1  # asked, and its restart not repeated
    assert place.loop.run().result is RunResult.CONVERGED
