"""Oracle Cloud that answers wrongly on purpose, most of all after it has accepted a change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor
from infrastructure.errors import NotFoundError, OutcomeUnknownError, PermanentError, TemporaryError
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.contract.oci_world import BINDING, OciWorld
from tests.contract.world import ENVIRONMENT, LOOP
from tests.fakes.oci_service import OciService
from tests.fakes.oci_service.service import Fault

TIMEOUT = 10.0
PERMANENT = [(400, "InvalidParameter"), (403, "Forbidden"), (404, "NotAuthorizedOrNotFound")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OciWorld]:
    with OciService() as service:
        made = OciWorld(service, tmp_path)
        yield made
        made.close()


def declare(name: str, kind: str, **spec: Any) -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": ENVIRONMENT},
            "spec": {"image": "ocid1.image.oc1.phx.aaaa", "binding": {"kind": kind}, **spec},
        }
    )


def boxed(world: OciWorld) -> Service:
    binding = {"binding": dict(BINDING), "image": world.image, "command": list(LOOP)}
    return declare("web", "ContainerInstance", **binding)


MACHINE, POOL = declare("web", "ComputeInstance"), declare("web", "InstancePool")


def do(executor: Executor, target: Service, primitive: str, **given: Any) -> PrimitiveResult:
    return executor.call(target, PrimitiveCall(primitive, given, None), timeout=TIMEOUT)


def refuse_looking(
    world: OciWorld, change: str, path: str, status: int, code: str, *, times: int = 99
) -> None:
    """From the change on, whoever looks at `path` is refused."""

    def begin() -> None:
        world.service.faults.append(Fault("GET", path, status, code, "refused", times=times))

    world.service.meddling.append((change, begin))


# ── accepted, and then it can't be looked at ────────────────────────────────────


@pytest.mark.parametrize(("status", "code"), PERMANENT)
@pytest.mark.parametrize(
    ("primitive", "given", "change", "path"),
    [
        ("restart", {}, "^POST .*action=", r"/instances/ocid"),
        ("stop", {}, "^POST .*action=", r"/instances/ocid"),
        (
            "update_resources",
            {"memory": "32Gi"},
            "^PUT .*/instances/",
            r"/workRequests/|/instances/",
        ),
    ],
)
def test_what_became_of_a_machine_is_unknown(
    world: OciWorld, *, status: int, code: str, primitive: str, given: Any, change: str, path: str
) -> None:
    world.region.add_instance("web")
    executor = world.executor()
    refuse_looking(world, change, path, status, code)
    with pytest.raises(OutcomeUnknownError, match=r"accepted, but .*refused") as caught:
        do(executor, MACHINE, primitive, **given)
    assert caught.value.remedy
    world.service.faults.clear()
    assert executor.look(MACHINE, timeout=TIMEOUT).instances


@pytest.mark.parametrize(("status", "code"), PERMANENT)
@pytest.mark.parametrize(
    ("primitive", "given", "change"),
    [
        ("scale", {"replicas": 3}, "^PUT .*/instancePools/"),
        ("stop", {}, "^POST .*softstop"),
        ("restart", {}, "^POST .*softreset"),
    ],
)
def test_what_became_of_a_pool_is_unknown(
    world: OciWorld, *, status: int, code: str, primitive: str, given: Any, change: str
) -> None:
    world.region.add_pool("web", 2)
    refuse_looking(world, change, r"/instancePools/|/workRequests/", status, code)
    with pytest.raises(OutcomeUnknownError, match="accepted, but "):
        do(world.executor(), POOL, primitive, **given)


@pytest.mark.parametrize(("status", "code"), PERMANENT)
@pytest.mark.parametrize("path", [r"/workRequests/", r"/containerInstances/ocid"])
@pytest.mark.parametrize("primitive", ["stop", "restart", "create", "recreate"])
def test_what_became_of_a_container_instance_is_unknown(
    world: OciWorld, *, status: int, code: str, path: str, primitive: str
) -> None:
    if primitive != "create":
        world.foreign("web")
    refuse_looking(world, "^POST .*/containerInstances", path, status, code)
    with pytest.raises(OutcomeUnknownError, match="accepted, but "):
        do(world.executor(), boxed(world), primitive)


def test_what_failed_has_failed_though_nobody_says_why(world: OciWorld) -> None:
    world.service.faults.append(Fault("GET", "/errors", 404, "NotAuthorizedOrNotFound", times=9))
    target = boxed(world).model_copy(
        update={"spec": boxed(world).spec.model_copy(update={"image": world.missing_image})}
    )
    with pytest.raises(PermanentError, match="its work request failed"):
        do(world.executor(), target, "create")


def test_waiting_without_a_change_tells_the_error_itself(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.service.faults.append(
        Fault("GET", r"/instances/ocid", 404, "NotAuthorizedOrNotFound", "refused", times=9)
    )
    with pytest.raises(NotFoundError, match="refused"):
        do(world.executor(), MACHINE, "wait_healthy")


# ── numbers and shapes that no machine has ──────────────────────────────────────

ABSURD = [float("inf"), float("-inf"), float("nan"), 1e308, -1.0, 10**400, "Infinity", [], {}]


@pytest.mark.parametrize("amount", ABSURD, ids=[str(a)[:9] for a in ABSURD])
@pytest.mark.parametrize("key", ["memoryInGBs", "vcpus", "ocpus"])
def test_an_absurd_size_of_a_machine_makes_the_environment_unknown(
    world: OciWorld, key: str, amount: Any
) -> None:
    thing = world.region.add_instance("web")
    thing.data["shapeConfig"] = {**thing.data["shapeConfig"], key: amount}
    for act in (
        lambda: world.executor().observe((MACHINE,), all_services=True, timeout=TIMEOUT),
        lambda: do(world.executor(), MACHINE, "stop"),
    ):
        with pytest.raises(TemporaryError, match="list instances: the answer is not what"):
            act()
    assert thing.state == "RUNNING"


@pytest.mark.parametrize("amount", ABSURD, ids=[str(a)[:9] for a in ABSURD])
@pytest.mark.parametrize("key", ["memoryLimitInGBs", "vcpusLimit"])
def test_an_absurd_limit_of_a_container_makes_the_environment_unknown(
    world: OciWorld, key: str, amount: Any
) -> None:
    machine = world.region.machines[world.foreign("web")]
    (container,) = world.region.containers_of(machine)
    container.data["resourceConfig"] = {key: amount}
    with pytest.raises(TemporaryError, match="the answer is not what the API promises"):
        world.executor().observe((boxed(world),), all_services=True, timeout=TIMEOUT)


@pytest.mark.parametrize(
    "launch",
    [
        {"launchDetails": {"shapeConfig": {"memoryInGBs": float("inf")}}},
        {"launchDetails": {"shapeConfig": {"vcpus": float("nan")}}},
        {"launchDetails": {"shapeConfig": "large"}},
        {"launchDetails": {"sourceDetails": "image"}},
        {"launchDetails": [1]},
        {"launchDetails": "x"},
    ],
    ids=str,
)
def test_an_instance_configuration_of_another_shape(world: OciWorld, launch: Any) -> None:
    world.region.add_pool("web", 1)
    for configuration in world.region.configurations.values():
        configuration["instanceDetails"] = launch
    with pytest.raises(TemporaryError):
        world.executor().observe((POOL,), all_services=True, timeout=TIMEOUT)
    with pytest.raises(TemporaryError):
        world.executor().look(POOL, timeout=TIMEOUT)


def test_a_word_of_every_error_is_a_sentence(world: OciWorld) -> None:
    """No name of a class of Python's in what a person reads."""
    thing = world.region.add_instance("web")
    thing.data["shapeConfig"] = {"memoryInGBs": float("nan")}
    with pytest.raises(TemporaryError) as caught:
        world.executor().look(MACHINE, timeout=TIMEOUT)
    assert not re.search(r"[A-Z]\w+Error", str(caught.value))
