"""Several environments in one run: each has its own deadline and troubles nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.comparison.drift import HealthStatus, Sync
from flows.report import IncidentResult, RunResult
from flows.reporting.values import Stage
from tests.contract.world import unique
from tests.integration.three_places import CLOUD, CLUSTER, DOCKER, Places, three_places

IMAGES = ("loop:1", "loop:2")
DEADLINES = {DOCKER: "2s", CLOUD: "3s", CLUSTER: "15s"}
LONGEST, SUM = 3.0, 5.0  # of those that hang


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[str]:
    """Address of an engine that takes connections and never answers."""
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(64)
        yield f"unix://{path}"


@pytest.fixture
def places(tmp_path: Path, silent_engine: str) -> Iterator[Places]:
    """Docker and the cloud hang; the cluster answers."""
    with three_places(tmp_path, silent_engine, IMAGES, deadlines=DEADLINES) as made:
        made.cloud.service.silent = True
        yield made


def test_environments_that_hang_are_unknown_and_hold_up_no_other(places: Places) -> None:
    name = unique("wide")
    for environment in (DOCKER, CLOUD, CLUSTER):
        places.declare(f"{name}-{environment}", environment, image=IMAGES[0])
    report = places.loop.run()
    states = report.comparison.states
    for environment in (DOCKER, CLOUD):
        state = states[f"{environment}/{name}-{environment}"]
        assert (state.sync, state.health) == (Sync.UNKNOWN, HealthStatus.UNKNOWN)
        assert state.reason == "EngineUnreachable"
    assert {failure.environment for failure in report.failures} == {DOCKER, CLOUD}
    # The one that answers is healed in the same run, and nothing is done elsewhere.
    (told,) = report.incidents
    assert told.incident.root == f"{CLUSTER}/{name}-{CLUSTER}"
    assert told.result is IncidentResult.RECOVERED
    assert report.result is RunResult.DRIFT_REMAINS
    assert len(places.states(CLUSTER, name)) == 2  # a Deployment and its pod
    assert LONGEST - 0.5 <= report.stage_seconds[Stage.LOOK] < (LONGEST + SUM) / 2 + 0.5
    other = sum(s for stage, s in report.stage_seconds.items() if stage is not Stage.LOOK)
    assert other < LONGEST + SUM


def test_an_environment_that_answers_again_is_looked_after_again(places: Places) -> None:
    name = unique("back")
    service = places.declare(name, CLOUD, image=IMAGES[0])
    assert places.loop.run().comparison.states[service.target].health is HealthStatus.UNKNOWN
    places.cloud.service.silent = False
    report = places.loop.run()
    assert [r.result for r in report.incidents] == [IncidentResult.RECOVERED]
    assert len(places.states(CLOUD, name)) == 1
