"""One Service moves from Docker to Kubernetes to Oracle Cloud by a change of two lines in Git.

In each place it is broken by hand and healed by the same loop and the same runbooks. What it
leaves behind is told as an orphan and not touched: only people remove declared capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.local_stack import STACK_LABEL, remove_stack
from flows.report import IncidentResult, RunReport, RunResult
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import InstanceState
from infrastructure.service import Service
from tests.contract.world import World, import_images, unique
from tests.integration.three_places import CLOUD, CLUSTER, DOCKER, Places, three_places

pytestmark = pytest.mark.real

MIB = 2**20
SPEC: Mapping[str, Any] = {
    "env": {"LOG_LEVEL": "info", "PORT": "8000"},
    "resources": {"memory": "64Mi"},
    "ports": ["8000"],
}


@pytest.fixture(scope="module")
def images(docker_host: str) -> Iterator[tuple[str, str]]:
    stack = unique("move")
    yield import_images(docker_host, f"{STACK_LABEL}={stack}")
    remove_stack(docker_host, stack)


@pytest.fixture
def places(tmp_path: Path, docker_host: str, images: tuple[str, str]) -> Iterator[Places]:
    with three_places(tmp_path, docker_host, images) as made:
        yield made


# ── what goes wrong, in each place as it does there ─────────────────────────────

Damage = Callable[[Places, Service], None]


def _instance(places: Places, service: Service) -> str:
    return str(places.seen(service).instances[0].native.name)


def _killed(places: Places, service: Service) -> None:
    worlds: Mapping[str, World] = {DOCKER: places.docker, CLOUD: places.cloud}
    worlds[service.metadata.environment].kill(_instance(places, service))


def _stopped(places: Places, service: Service) -> None:
    places.cluster.scale(service.metadata.name, 0)


def _one_more(places: Places, service: Service) -> None:
    """Somebody has asked for another replica."""
    name = service.metadata.name
    match service.metadata.environment:
        case "cluster":
            places.cluster.scale(name, 3)
        case "cloud":
            places.cloud.foreign(f"{name}-7", {"uici.target": service.target})
        case _:
            places.docker.foreign(f"{name}-7", {"uici.target": service.target})


def _other_env(places: Places, service: Service) -> None:
    places.cluster.replace_env(service, {"LOG_LEVEL": "debug", "PORT": "8000"})


def _other_limit(places: Places, service: Service) -> None:
    places.docker.set_memory(_instance(places, service), 32 * MIB)


def _deleted(places: Places, service: Service) -> None:
    match service.metadata.environment:
        case "cluster":
            places.cluster.remove(service.metadata.name)
        case "cloud":
            for instance in places.seen(service).instances:
                places.cloud.delete(instance.native.name)
        case _:
            for instance in places.seen(service).instances:
                places.docker.delete(instance.native.name)


# place → what is done there, the drift it is told as, the operations that mend it
FAULTS: Mapping[str, tuple[tuple[Damage, DriftKind, str], ...]] = {
    DOCKER: (
        (_killed, DriftKind.STOPPED, "start"),
        (_one_more, DriftKind.SCALE_DRIFT, "scale recreate"),
        (_other_limit, DriftKind.CONFIG_DRIFT, "set_resources"),
        (_deleted, DriftKind.MISSING, "create"),
    ),
    CLUSTER: (
        (_stopped, DriftKind.STOPPED, "start"),
        (_one_more, DriftKind.SCALE_DRIFT, "scale"),
        (_other_env, DriftKind.CONFIG_DRIFT, "recreate"),
        (_deleted, DriftKind.MISSING, "create"),
    ),
    CLOUD: (
        (_killed, DriftKind.STOPPED, "start"),
        (_one_more, DriftKind.SCALE_DRIFT, "scale recreate"),
        (_deleted, DriftKind.MISSING, "create"),
    ),
}


def test_a_service_moves_through_three_environments_and_heals_in_each(places: Places) -> None:
    name = unique("move")
    left_behind: list[str] = []
    for environment in (DOCKER, CLUSTER, CLOUD):
        before = {e: places.states(e, name) for e in left_behind}
        service = places.declare(name, environment, image=places.docker.image, replicas=2, **SPEC)
        report = places.loop.run()
        _converged(report, service, DriftKind.MISSING, "create")
        _as_declared(places, service)
        for damage, kind, operations in FAULTS[environment]:
            damage(places, service)
            _converged(places.loop.run(), service, kind, operations)
            _as_declared(places, service)
        # Nothing differs any more, so nothing is done and nothing is committed but the orphans.
        quiet = places.loop.run()
        assert quiet.result is RunResult.CONVERGED
        assert quiet.incidents == ()
        assert quiet.intent_commit is None
        orphans = {d.target for d in quiet.comparison.drifts if d.kind is DriftKind.ORPHAN}
        assert {target.partition("/")[0] for target in orphans} == set(left_behind)
        assert {e: places.states(e, name) for e in left_behind} == before
        left_behind.append(environment)
    _moves_back(places, name)


def _moves_back(places: Places, name: str) -> None:
    """What was left in the first place is as declared: nothing is made twice or removed."""
    before = {e: places.states(e, name) for e in (DOCKER, CLUSTER, CLOUD)}
    service = places.declare(name, DOCKER, image=places.docker.image, replicas=2, **SPEC)
    report = places.loop.run()
    assert (report.result, report.incidents) == (RunResult.CONVERGED, ())
    orphans = {d.target for d in report.comparison.drifts if d.kind is DriftKind.ORPHAN}
    assert {target.partition("/")[0] for target in orphans} == {CLUSTER, CLOUD}
    assert {e: places.states(e, name) for e in before} == before
    _as_declared(places, service)


def _converged(report: RunReport, service: Service, kind: DriftKind, operations: str) -> None:
    """One incident of this kind, its operations, verified; told in Git before and after."""
    assert report.result is RunResult.CONVERGED, (report.incidents, report.errors)
    (told,) = report.incidents
    assert told.incident.root == service.target
    assert kind in {drift.kind for drift in told.incident.drifts}
    assert told.result is IncidentResult.RECOVERED
    assert told.execution is not None
    assert [o.call.operation for o in told.execution.outcomes] == operations.split()
    assert told.verification is not None
    assert {check.name for check in told.verification.checks} >= {"engine", "spec"}
    assert report.intent_commit
    assert report.report_commit


def _as_declared(places: Places, service: Service) -> None:
    """The world itself, and Git, and not only what the report says."""
    seen = places.seen(service)
    assert len(seen.instances) == service.spec.replicas
    for instance in seen.instances:
        assert instance.state is InstanceState.RUNNING
        assert instance.spec.image == service.spec.image
        assert instance.spec.memory == 64 * MIB
        assert instance.spec.env["LOG_LEVEL"] == "info"
    status = places.loop.file(f"status/{service.target}.json")
    assert '"Ready"' in status
