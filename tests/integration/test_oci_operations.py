"""The shipped operations over Oracle Cloud, each through its translation, judged by stage 2.

A service is moved here from another environment by changing `environment` and `binding`
alone; whatever is changed behind UICI's back is a drift, and the operation that a runbook
names for it makes the drift go.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor
from executors.translator import CommandTranslator
from flows.comparison.drift import Drift
from flows.comparison.target_judgement import TargetFacts, judge_target
from infrastructure.drift_kinds import DriftKind
from infrastructure.operation_registry import OperationRegistry
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.service import Service
from infrastructure.universal_interface import UniversalInfrastructureInterface
from tests.builders import compare_settings
from tests.contract.oci_world import BINDING, OciWorld
from tests.contract.world import ENVIRONMENT, LOOP, resolve_secret
from tests.fakes.oci_service import OciService
from tests.unit.operations import shipped

ON_DOCKER: dict[str, Any] = {
    "apiVersion": "uici/v1",
    "kind": "Service",
    "metadata": {"name": "shop", "environment": "local-docker"},
    "spec": {
        "image": OciWorld.image,
        "command": list(LOOP),
        "replicas": 2,
        "env": {"LEVEL": "info", "KEY": {"secret": "env:KEY"}},
        "resources": {"memory": "256Mi", "cpu": "0.5"},
        "ports": ["8000"],
    },
}


class Bench:
    """One service in Oracle Cloud, with everything between an operation's name and the SDK."""

    def __init__(self, world: OciWorld, service: Service) -> None:
        self.service = service
        self.executor: Executor = world.executor()
        self.executor.declare(frozenset({service.metadata.name}))
        self.interface = UniversalInfrastructureInterface(
            OperationRegistry(shipped.operations()),
            CommandTranslator(shipped.translations()),
            engines={ENVIRONMENT: ("oci", self.executor)},
            platform=self.executor,  # not called: nothing here is the platform's
            services={service.target: service},
        )

    def run(self, operation: str, **parameters: Any) -> OperationOutcome:
        outcome = self.interface.run(OperationCall(operation, self.service.target, parameters))
        assert outcome.status is OutcomeStatus.SUCCEEDED, outcome.error
        return outcome

    def drifts(self) -> list[Drift]:
        engine = self.executor.look(self.service, timeout=10)
        judged = judge_target(
            self.service,
            TargetFacts(engine=engine),
            settings=compare_settings(),
            secrets={"env:KEY": resolve_secret("env:KEY")},
            now=datetime.now(UTC),
        )
        return [*judged.drifts, *judged.pending]

    def kinds(self) -> set[tuple[DriftKind, str]]:
        return {(drift.kind, drift.field) for drift in self.drifts()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OciWorld]:
    with OciService() as service:
        made = OciWorld(service, tmp_path)
        yield made
        made.close()


@pytest.fixture
def bench(world: OciWorld) -> Bench:
    moved = {
        **ON_DOCKER,
        "metadata": {**ON_DOCKER["metadata"], "environment": ENVIRONMENT},
        "spec": {**ON_DOCKER["spec"], "binding": BINDING},
    }
    return Bench(world, Service.model_validate(moved))


def test_a_service_that_moved_here_converges(bench: Bench) -> None:
    assert bench.kinds() == {(DriftKind.MISSING, "")}
    assert bench.run("create").changed
    assert bench.drifts() == []
    assert not bench.run("create").changed


def test_each_drift_is_seen_and_its_operation_makes_it_go(world: OciWorld, bench: Bench) -> None:
    bench.run("create")

    world.kill("shop-1")
    assert bench.kinds() == {(DriftKind.STOPPED, "")}
    bench.run("start")
    assert bench.drifts() == []

    world.delete("shop-2")
    assert bench.kinds() == {(DriftKind.SCALE_DRIFT, "/replicas")}
    bench.run("scale", replicas=2)
    assert bench.drifts() == []

    world.set_memory("shop-1", 2**29)
    assert bench.kinds() == {(DriftKind.CONFIG_DRIFT, "/resources/memory")}
    bench.run("set_resources", memory="256Mi", cpu="0.5")
    assert bench.drifts() == []

    bench.run("set_env", env={"LEVEL": "debug"})
    assert bench.kinds() == {(DriftKind.CONFIG_DRIFT, "/env/LEVEL")}
    bench.run("recreate")
    assert bench.drifts() == []

    bench.run("set_image", image=world.other_image)
    assert bench.kinds() == {(DriftKind.CONFIG_DRIFT, "/image")}
    bench.run("rollback_service")
    assert bench.drifts() == []


@pytest.mark.parametrize("strategy", ["graceful", "force", "rolling"])
def test_every_way_to_restart(bench: Bench, strategy: str) -> None:
    bench.run("create")
    before = bench.executor.look(bench.service, timeout=10).instances
    outcome = bench.run("restart", strategy=strategy)
    after = bench.executor.look(bench.service, timeout=10).instances
    assert set(outcome.native_ids) == {i.native.id for i in before}
    # What verification asks for: every instance is a new start.
    starts = {(i.native.id, i.started_at) for i in before}
    assert starts.isdisjoint({(i.native.id, i.started_at) for i in after})
    assert bench.drifts() == []


def test_reads(bench: Bench) -> None:
    bench.run("create")
    assert len(bench.run("get_status").output["instances"]) == 2
    assert "ready" in bench.run("get_logs", lines=5).output
    assert len(bench.run("check_resources").output["instances"]) == 2
    assert bench.run("get_events").output["events"]


def test_what_is_not_here_is_not_offered(bench: Bench) -> None:
    capabilities = bench.interface.capabilities(ENVIRONMENT)
    assert capabilities.isdisjoint({"pause", "resume"})
    assert {"create", "restart", "scale", "execute_command"} <= capabilities
    outcome = bench.interface.run(
        OperationCall("execute_command", bench.service.target, {"argv": ["true"]})
    )
    assert outcome.status is OutcomeStatus.FAILED
    assert "runs no commands in container instances" in outcome.error
