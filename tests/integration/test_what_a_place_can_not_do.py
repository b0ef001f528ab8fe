"""Operations that an environment, or one target in it, does not have: never tried, always told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.listener import RunRequest
from flows.plan import PlannerKind
from flows.report import IncidentResult, RunResult
from infrastructure.operations import OperationCall
from tests.contract.world import unique
from tests.fakes.llm_server import ScriptedLlm, answer
from tests.fakes.llm_setting import KEY, plan_answer, step
from tests.integration.three_places import CLOUD, CLUSTER, DOCKER, three_places

NOWHERE, IMAGES = "unix:///nowhere", ("loop:1", "loop:2")
MACHINE: dict[str, Any] = {
    "image": "ocid1.image.oc1.phx.aaaa",
    "binding": {"kind": "ComputeInstance"},
}


def test_a_machine_that_is_gone_is_told_to_a_person_and_nothing_is_tried(tmp_path: Path) -> None:
    with three_places(tmp_path, NOWHERE, IMAGES, only=(CLOUD,)) as places:
        service = places.declare(unique("machine"), CLOUD, **MACHINE)
        report = places.loop.run()
        assert report.result is RunResult.DRIFT_REMAINS
        (told,) = report.incidents
        assert told.result is IncidentResult.ESCALATED
        assert told.plan.planner is PlannerKind.NONE
        reason = "create can't be done now: not for a ComputeInstance: UICI makes no machines"
        assert told.plan.diagnosis.startswith(reason)
        assert f"{service.target}: Missing; {reason}" in told.summary
        assert places.cloud.service.seen
        assert places.cloud.service.count("^(POST|PUT|DELETE)") == 0
        assert places.loop.run().incidents == ()  # told once


@pytest.mark.parametrize(
    ("environment", "spec", "operation", "reason"),
    [
        (CLOUD, MACHINE, OperationCall("scale", "", {"replicas": 1}), "make the service an Inst"),
        (CLOUD, MACHINE, OperationCall("create", ""), "UICI makes no machines"),
        (CLOUD, MACHINE, OperationCall("start", ""), None),
        (
            CLOUD,
            {"image": "i:1"},
            OperationCall("execute_command", "", {"argv": ["id"]}),
            "no commands in container instances",
        ),
        (
            CLUSTER,
            {"image": "i:1", "binding": {"kind": "DaemonSet"}},
            OperationCall("scale", "", {"replicas": 1}),
            "a DaemonSet has no number of replicas",
        ),
        (
            CLUSTER,
            {"image": "i:1", "binding": {"kind": "Job"}},
            OperationCall("set_resources", "", {"memory": "1Gi"}),
            "can't be changed",
        ),
        (CLUSTER, {"image": "i:1"}, OperationCall("scale", "", {"replicas": 1}), None),
        (DOCKER, {"image": "i:1"}, OperationCall("pause", ""), None),
        # What is wrong otherwise is for other rules to say.
        (CLOUD, MACHINE, OperationCall("scale", "", {"replicas": -1}), None),
        (CLUSTER, {"image": "i:1"}, OperationCall("pause", ""), None),
    ],
)
def test_what_a_target_is_decides_what_it_can_do(
    tmp_path: Path,
    environment: str,
    spec: dict[str, Any],
    operation: OperationCall,
    reason: str | None,
) -> None:
    with three_places(tmp_path, NOWHERE, IMAGES) as places:
        service = places.declare(unique("what"), environment, **spec)
        request = RunRequest(None, None, None, "look")
        interface = places.loop.runtime.open_world(request).interface
        call = OperationCall(operation.operation, service.target, operation.parameters)
        found = interface.refusal(call)
        assert (reason is None) == (found is None), found
        assert reason is None or reason in str(found)


def test_a_model_that_asks_for_what_is_not_there_is_refused_and_a_runbook_heals(
    tmp_path: Path,
) -> None:
    with ScriptedLlm(answer({})) as server:
        llm = {
            "baseUrl": server.base_url,
            "apiKey": KEY,
            "retry": {"attempts": 1, "backoff": {"initial": "10ms", "max": "10ms"}},
        }
        with three_places(
            tmp_path, NOWHERE, IMAGES, only=(CLUSTER,), platform={"llm": llm}
        ) as places:
            service = places.declare(unique("web"), CLUSTER, image="loop:1")
            assert places.loop.run().result is RunResult.CONVERGED
            server.then(answer(plan_answer(step("pause", service.target))))
            places.cluster.scale(service.metadata.name, 3)
            report = places.loop.run()
            (told,) = report.incidents
            assert (told.plan.planner, told.result) == (
                PlannerKind.RUNBOOK,
                IncidentResult.RECOVERED,
            )
            assert report.result is RunResult.CONVERGED
