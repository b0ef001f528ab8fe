"""The real OCI SDK against a service on loopback that checks signatures and takes its time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor
from infrastructure.errors import (
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    ProtectedObjectError,
    TemporaryError,
    UiciError,
)
from infrastructure.identity import AgentIdentity
from infrastructure.observed import EngineHealth, InstanceState
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.contract.oci_world import BINDING, OciWorld
from tests.contract.world import ENVIRONMENT, LOOP
from tests.fakes.http_server import (
    Behaviour,
    FakeServer,
    closes_early,
    huge,
    slow_drip,
    slow_headers,
)
from tests.fakes.oci_service import COMPARTMENT, Fault, OciService
from tests.fakes.oci_service.resources import now

IMAGE = "ocid1.image.oc1.phx.aaaa"
GIB = 2**30
TIMEOUT = 10.0


@pytest.fixture
def service() -> Iterator[OciService]:
    with OciService() as made:
        yield made
        assert made.refused_signatures == []


@pytest.fixture
def world(service: OciService, tmp_path: Path) -> Iterator[OciWorld]:
    made = OciWorld(service, tmp_path)
    yield made
    made.close()


def declare(name: str, kind: str = "ComputeInstance", **spec: Any) -> Service:
    binding = {"kind": kind, **spec.pop("binding", {})}
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": ENVIRONMENT},
            "spec": {"image": IMAGE, "binding": binding, **spec},
        }
    )


def boxed(name: str, image: str, **spec: Any) -> Service:
    return declare(
        name,
        "ContainerInstance",
        image=image,
        command=list(LOOP),
        **{"binding": dict(BINDING), **spec},
    )


def do(
    executor: Executor,
    target: Service,
    primitive: str,
    *,
    on: str | None = None,
    timeout: float = TIMEOUT,
    **arguments: Any,
) -> PrimitiveResult:
    return executor.call(target, PrimitiveCall(primitive, arguments, on), timeout=timeout)


# ── compute instances ────────────────────────────────────────────────────────────


def test_an_instance_is_seen_in_universal_words(world: OciWorld) -> None:
    thing = world.region.add_instance(
        "web", freeformTags={"team": "a"}, definedTags={"Ops": {"Tier": "1"}}
    )
    (seen,) = world.executor().look(declare("web"), timeout=TIMEOUT).instances
    assert (seen.native.kind, seen.native.id) == ("compute_instance", thing.id)
    assert seen.native.labels == {"team": "a", "Ops.Tier": "1"}
    assert seen.state is InstanceState.RUNNING
    assert seen.spec.image == IMAGE
    assert (seen.spec.memory, seen.spec.cpu) == (16 * GIB, Decimal(2))
    assert seen.started_at is not None


@pytest.mark.parametrize(
    ("primitive", "grace", "action"),
    [
        ("stop", 10, "SOFTSTOP"),
        ("stop", 0, "STOP"),
        ("restart", 10, "SOFTRESET"),
        ("restart", 0, "RESET"),
    ],
)
def test_actions_are_soft_or_hard(world: OciWorld, primitive: str, grace: int, action: str) -> None:
    thing = world.region.add_instance("web")
    executor = world.executor()
    (before,) = executor.look(declare("web"), timeout=TIMEOUT).instances
    result = do(executor, declare("web"), primitive, grace_seconds=grace)
    assert result == PrimitiveResult(changed=True, native_ids=(thing.id,))
    assert world.service.count(rf"^POST .*action={action}$") == 1
    (after,) = executor.look(declare("web"), timeout=TIMEOUT).instances
    if primitive == "stop":
        assert after.state is InstanceState.STOPPED
        assert not do(executor, declare("web"), "stop").changed
        assert do(executor, declare("web"), "start").changed
        assert not do(executor, declare("web"), "start").changed
        (after,) = executor.look(declare("web"), timeout=TIMEOUT).instances
    assert after.state is InstanceState.RUNNING
    assert before.started_at is not None
    assert after.started_at is not None
    assert after.started_at > before.started_at  # noted in a tag: no API tells it
    assert after.native.labels["uici.started-at"]


def test_what_is_in_transition_is_waited_for(world: OciWorld) -> None:
    """Somebody stopped it a moment ago: 409 until it is down."""
    thing = world.region.add_instance("web")
    executor = world.executor()
    executor.check(timeout=TIMEOUT)  # the SDK is there: its import takes longer than stopping
    world.region.transition = 0.3
    world.region.power(thing, "STOP")
    assert do(executor, declare("web"), "restart").changed
    assert thing.state == "RUNNING"
    assert world.service.count("action=START") > 1


def test_a_conflict_that_does_not_end_is_an_error_and_nothing_changes(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.service.faults.append(
        Fault("POST", "action=", 409, "IncorrectState", "it is busy", times=99)
    )
    with pytest.raises(ConflictError, match=r"it is busy \(409 IncorrectState\)"):
        do(world.executor(), declare("web"), "restart")


def test_machines_are_resized(world: OciWorld) -> None:
    thing = world.region.add_instance("web")
    executor = world.executor()
    assert do(executor, declare("web"), "update_resources", memory="32Gi", cpu="4").changed
    assert thing.data["shapeConfig"] == {"ocpus": 2.0, "vcpus": 4, "memoryInGBs": 32.0}
    (seen,) = executor.look(declare("web"), timeout=TIMEOUT).instances
    assert (seen.spec.memory, seen.spec.cpu) == (32 * GIB, Decimal(4))
    assert seen.state is InstanceState.RUNNING
    assert not do(executor, declare("web"), "update_resources", memory="32Gi", cpu="4").changed
    for wrong in ({"memory": 0}, {"cpu": "lots"}, {"cpu": "0.5"}):
        with pytest.raises(PermanentError):
            do(executor, declare("web"), "update_resources", **wrong)


def test_a_fixed_shape_can_not_be_resized(world: OciWorld) -> None:
    world.region.add_instance("web", shape="VM.Standard2.1")
    with pytest.raises(PermanentError, match="flexible"):
        do(world.executor(), declare("web"), "update_resources", cpu="4")
    assert world.service.count("^PUT") == 0


@pytest.mark.parametrize("primitive", ["create", "recreate", "scale", "rollback"])
def test_what_machines_can_not_do_is_refused_with_the_way_out(
    world: OciWorld, primitive: str
) -> None:
    world.region.add_instance("web")
    arguments: dict[str, Any] = {"replicas": 2} if primitive == "scale" else {}
    with pytest.raises(PermanentError, match="not for a ComputeInstance"):
        do(world.executor(), declare("web"), primitive, **arguments)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"image": "nginx:1"}, "OCID of an image"),
        ({"env": {"A": "1"}}, "env has no meaning"),
        ({"command": ["x"]}, "command has no meaning"),
        ({"ports": ["80"]}, "ports has no meaning"),
    ],
)
def test_what_machines_have_no_word_for_is_refused(
    world: OciWorld, spec: dict[str, Any], said: str
) -> None:
    world.region.add_instance("web")
    with pytest.raises(PermanentError, match=said):
        do(world.executor(), declare("web", **spec), "restart")
    assert world.service.count("^POST") == 0


def test_a_command_arrives_word_by_word(world: OciWorld) -> None:
    world.region.add_instance("web")
    result = do(
        world.executor(),
        declare("web"),
        "exec",
        argv=["echo", "a; b", "$HOME", "it's"],
        workdir="/srv/x y",
        user="app",
        timeout_seconds=5,
    )
    assert result.changed
    assert result.output["stdout"] == (
        "cd -- '/srv/x y' && exec sudo -n -u app -- echo 'a; b' '$HOME' 'it'\"'\"'s'"
    )
    assert (result.output["exit_code"], result.output["truncated"]) == (0, False)
    for wrong in ([], "echo a", [1]):
        with pytest.raises(PermanentError, match="list of words"):
            do(world.executor(), declare("web"), "exec", argv=wrong)


def test_a_command_that_does_not_end_is_cancelled(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.region.transition = 60
    with pytest.raises(OutcomeUnknownError, match="did not end in time"):
        do(world.executor(), declare("web"), "exec", argv=["sleep", "60"], timeout=2.0)
    (command,) = world.region.commands.values()
    assert command["canceled"]


def test_looks_that_take_all_their_time_leave_time_to_cancel(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.region.transition = 60
    asked = "/instanceAgentCommands/.*/status"
    world.service.slow.append((asked, 30.0))
    with pytest.raises(OutcomeUnknownError, match="did not end in time"):
        do(world.executor(), declare("web"), "exec", argv=["sleep", "60"], timeout=3.0)
    (command,) = world.region.commands.values()
    assert command["canceled"]


def test_use_of_resources_comes_from_monitoring(world: OciWorld) -> None:
    thing = world.region.add_instance("web")
    world.region.metrics["CpuUtilization", thing.id] = 12.345
    world.region.metrics["MemoryUtilization", thing.id] = 50.0
    output = do(world.executor(), declare("web"), "stats").output
    assert output["instances"] == [
        {
            "instance": "web",
            "memory_limit_bytes": 16 * GIB,
            "cpu_limit_cores": "2",
            "cpu_percent": 12.35,
            "memory_percent": 50.0,
        }
    ]


def test_logs_are_searched_where_the_binding_says(world: OciWorld) -> None:
    world.region.add_instance("web")
    for second, text in enumerate(("INFO up", "ERROR broke", "  in line 3", "INFO again")):
        entry = {
            "datetime": f"2026-01-01T00:00:0{second}Z",
            "logContent": {"time": f"2026-01-01T00:00:0{second}Z", "data": {"message": text}},
        }
        world.region.entries.append({"data": entry})
    target = declare("web", binding={"logs": {"scope": COMPARTMENT, "where": "subject = 'web'"}})
    executor = world.executor()
    assert do(executor, target, "logs", level="error").output.splitlines() == [
        "2026-01-01T00:00:01Z ERROR broke",
        "2026-01-01T00:00:02Z   in line 3",
    ]
    assert do(executor, target, "logs", lines=1).output == "2026-01-01T00:00:03Z INFO again"
    assert do(executor, target, "logs", filter="up").output == "2026-01-01T00:00:00Z INFO up"
    with pytest.raises(PermanentError, match=r"binding\.logs"):
        do(executor, declare("web"), "logs")


def test_work_requests_are_the_events(world: OciWorld) -> None:
    world.region.add_instance("web")
    executor = world.executor()
    do(executor, declare("web"), "update_resources", cpu="4")
    events = do(executor, declare("web"), "events").output["events"]
    assert {e["action"] for e in events} == {"UpdateInstance"}


def test_where_it_answers_is_looked_up_by_lists(world: OciWorld) -> None:
    for number in range(5):
        world.region.add_instance(f"web{number}")
    targets = [declare(f"web{n}", health={"http": {"port": 80}}) for n in range(5)]
    snapshot = world.executor().observe(targets, all_services=True, timeout=TIMEOUT)
    addresses = {s.instances[0].address for s in snapshot.services.values()}
    assert len(addresses) == 5
    assert None not in addresses
    # Instances, attachments, addresses of the subnet; container instances for strays.
    assert len(world.service.seen) == 4


# ── selection ────────────────────────────────────────────────────────────────────


def test_instances_are_selected_by_tags_names_and_ids(world: OciWorld) -> None:
    one = world.region.add_instance("a", freeformTags={"app": "web"})
    two = world.region.add_instance("b", definedTags={"Ops": {"App": "web"}})
    taken = world.region.add_instance(
        "c", freeformTags={"app": "web", "uici-target": f"{ENVIRONMENT}/other"}
    )
    executor = world.executor()

    def ids(select: dict[str, Any]) -> list[str]:
        target = declare("web", binding={"select": select})
        return [i.native.id for i in executor.look(target, timeout=TIMEOUT).instances]

    assert ids({"tags": {"app": "web"}}) == [one.id]
    assert ids({"definedTags": {"Ops": {"App": "web"}}}) == [two.id]
    assert ids({"displayName": "b"}) == [two.id]
    assert ids({"ids": [one.id, two.id, taken.id]}) == [one.id, two.id]
    assert ids({"ids": [one.id], "displayName": "b"}) == []


def test_another_compartment(world: OciWorld) -> None:
    other = "ocid1.compartment.oc1..bbbb"
    thing = world.region.add_instance("web", compartmentId=other)
    assert world.executor().look(declare("web"), timeout=TIMEOUT).instances == ()
    target = declare("web", binding={"compartment": other})
    (seen,) = world.executor().look(target, timeout=TIMEOUT).instances
    assert seen.native.id == thing.id
    both = world.executor(compartments=[COMPARTMENT, other])
    assert len(both.look(declare("web"), timeout=TIMEOUT).instances) == 1


# ── pools ────────────────────────────────────────────────────────────────────────


def test_a_pool_is_the_workload_and_its_instances_the_replicas(world: OciWorld) -> None:
    pool = world.region.add_pool("web", 3)
    world.region.add_instance("stranger")
    seen = world.executor().look(declare("web", "InstancePool", replicas=3), timeout=TIMEOUT)
    assert len(seen.instances) == 3
    assert seen.workload is not None
    assert seen.workload.native.id == pool.id
    assert (seen.workload.replicas, seen.workload.settled) == (3, True)
    assert seen.workload.spec.image == IMAGE
    assert seen.workload.spec.memory == 16 * GIB


def test_a_pool_is_scaled_by_its_size(world: OciWorld) -> None:
    pool = world.region.add_pool("web", 2)
    target = declare("web", "InstancePool", replicas=2)
    executor = world.executor()
    for size in (4, 1):
        assert do(executor, target, "scale", replicas=size).native_ids == (pool.id,)
        seen = executor.look(target, timeout=TIMEOUT)
        assert seen.workload is not None
        assert (seen.workload.replicas, len(seen.instances)) == (size, size)
        assert not do(executor, target, "scale", replicas=size).changed
    with pytest.raises(PermanentError, match="scale it"):
        do(executor, target, "create")


def test_a_pool_is_stopped_started_and_restarted(world: OciWorld) -> None:
    world.region.add_pool("web", 2)
    target = declare("web", "InstancePool", replicas=2)
    executor = world.executor()
    assert do(executor, target, "stop").changed
    assert world.service.count("actions/softstop") == 1
    assert not do(executor, target, "stop").changed
    assert {i.state for i in executor.look(target, timeout=TIMEOUT).instances} == {
        InstanceState.STOPPED
    }
    assert do(executor, target, "start").changed
    assert not do(executor, target, "start").changed
    before = executor.look(target, timeout=TIMEOUT).instances
    assert {i.state for i in before} == {InstanceState.RUNNING}
    assert do(executor, target, "restart").changed
    assert world.service.count("actions/softreset") == 1
    after = executor.look(target, timeout=TIMEOUT).instances
    assert {i.started_at for i in after}.isdisjoint({i.started_at for i in before})
    assert do(executor, target, "restart", grace_seconds=0).changed
    assert world.service.count("actions/reset") == 1


def test_one_instance_of_a_pool(world: OciWorld) -> None:
    world.region.add_pool("web", 2)
    target = declare("web", "InstancePool", replicas=2)
    executor = world.executor()
    first, second = executor.look(target, timeout=TIMEOUT).instances
    result = do(executor, target, "restart", on=first.native.id)
    assert result.native_ids == (first.native.id,)
    after = {i.native.id: i.started_at for i in executor.look(target, timeout=TIMEOUT).instances}
    assert after[first.native.id] != first.started_at
    assert after[second.native.id] == second.started_at


def test_pools_that_can_not_be_told_apart_or_are_not_there(world: OciWorld) -> None:
    target = declare("web", "InstancePool")
    executor = world.executor()
    with pytest.raises(PermanentError, match="no instance pool"):
        do(executor, target, "scale", replicas=2)
    world.region.add_pool("web", 1)
    world.region.add_pool("web", 1)
    with pytest.raises(PermanentError, match="several instance pools"):
        do(executor, target, "scale", replicas=2)


# ── the agent excludes itself ────────────────────────────────────────────────────


def agent(*ids: str) -> AgentIdentity:
    return AgentIdentity(agent="a", names=frozenset({"a-b-c"}), native_ids=frozenset(ids))


def test_a_pool_that_holds_the_agents_instance_is_refused(world: OciWorld) -> None:
    world.region.add_pool("web", 2)
    target = declare("web", "InstancePool", replicas=2)
    first, second = world.executor().look(target, timeout=TIMEOUT).instances
    executor = world.executor(agent(second.native.id))
    before = len([line for line in world.service.seen if not line.startswith("GET")])
    for primitive, arguments in (
        ("stop", {}),
        ("start", {}),
        ("restart", {}),
        ("scale", {"replicas": 1}),
        ("exec", {"argv": ["true"]}),
    ):
        for on in (None, first.native.id):
            with pytest.raises(ProtectedObjectError):
                do(executor, target, primitive, on=on, **arguments)
    assert len([line for line in world.service.seen if not line.startswith("GET")]) == before


def test_the_agents_own_container_is_refused_with_its_instance(world: OciWorld) -> None:
    ident = world.foreign("web")
    (container,) = world.region.containers_of(world.region.machines[ident])
    executor = world.executor(agent(container.id))
    with pytest.raises(ProtectedObjectError):
        do(executor, boxed("web", world.image), "restart")


# ── container instances ──────────────────────────────────────────────────────────


def test_a_replacement_keeps_what_desired_state_does_not_speak_of(world: OciWorld) -> None:
    executor = world.executor()
    target = boxed("web", world.image, env={"A": "1"})
    ident = world.foreign("web", {"team": "x"})
    machine = world.region.machines[ident]
    machine.data |= {
        "containerRestartPolicy": "ON_FAILURE",
        "gracefulShutdownTimeoutInSeconds": 30,
        "volumes": [{"volumeType": "EMPTYDIR", "name": "data", "backingStore": "MEMORY"}],
    }
    (container,) = world.region.containers_of(machine)
    container.data |= {
        "workingDirectory": "/srv",
        "volumeMounts": [{"mountPath": "/data", "volumeName": "data"}],
        "environmentVariables": {"OTHER": "kept"},
        "healthChecks": [
            {"name": "up", "healthCheckType": "HTTP", "port": 80, "path": "/", "status": "HEALTHY"}
        ],
    }
    (new,) = do(executor, target, "recreate").native_ids
    made = world.region.machines[new]
    (inner,) = world.region.containers_of(made)
    for key in ("containerRestartPolicy", "gracefulShutdownTimeoutInSeconds", "volumes", "shape"):
        assert made.data[key] == machine.data[key]
    assert made.data["freeformTags"]["team"] == "x"
    for key in ("workingDirectory", "volumeMounts"):
        assert inner.data[key] == container.data[key]
    assert inner.data["environmentVariables"] == {"OTHER": "kept", "A": "1"}
    assert inner.data["healthChecks"][0]["port"] == 80
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert (seen.native.id, seen.health) == (new, EngineHealth.HEALTHY)
    assert machine.state in ("DELETING", "DELETED")


def test_native_fields_are_seen_and_set(world: OciWorld) -> None:
    native = {"containerRestartPolicy": "NEVER", "container": {"workingDirectory": "/srv"}}
    target, executor = boxed("web", world.image, native=native), world.executor()
    do(executor, target, "create")
    executor.look(boxed("web", world.image), timeout=TIMEOUT)  # remembered without its rest
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert seen.native_config["containerRestartPolicy"] == "NEVER"
    assert seen.native_config["container"]["workingDirectory"] == "/srv"
    machine = declare("vm", native={"region": "phx"})
    world.region.add_instance("vm")
    (vm,) = executor.look(machine, timeout=TIMEOUT).instances
    assert vm.native_config["region"] == "phx"


def test_a_password_that_is_not_told_is_not_lost(world: OciWorld) -> None:
    ident = world.foreign("web")
    machine = world.region.machines[ident]
    machine.data["imagePullSecrets"] = [{"secretType": "BASIC", "registryEndpoint": "r"}]
    with pytest.raises(PermanentError, match="vault"):
        do(world.executor(), boxed("web", world.image), "recreate")
    assert machine.state == "ACTIVE"


def test_a_variable_that_left_git_is_taken_away(world: OciWorld) -> None:
    executor = world.executor()
    do(executor, boxed("web", world.image, env={"OLD": "1", "KEPT": "2"}), "create")
    target = boxed("web", world.image, env={"KEPT": "2"})
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert seen.spec.managed_env == {"OLD", "KEPT"}
    do(executor, target, "recreate")
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert seen.spec.env == {"KEPT": "2"}
    assert seen.spec.managed_env == {"KEPT"}


def test_one_container_of_several(world: OciWorld) -> None:
    ident = world.foreign("web")
    machine = world.region.machines[ident]
    (main,) = world.region.containers_of(machine)
    main.data["displayName"] = "main"
    side = world.region._new_container(machine, {"imageUrl": "side:1", "displayName": "side"})
    side.become("ACTIVE")
    executor = world.executor()
    (unclear,) = executor.look(boxed("web", world.image), timeout=TIMEOUT).instances
    assert unclear.state is InstanceState.UNKNOWN
    assert "binding.container" in unclear.reason
    target = boxed("web", world.other_image, binding={**BINDING, "container": "main"})
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert seen.spec.image == world.image
    (new,) = do(executor, target, "recreate").native_ids
    images = {c.data["imageUrl"] for c in world.region.containers_of(world.region.machines[new])}
    assert images == {"side:1", world.other_image}


def test_a_successor_whose_making_broke_off_is_cleared_away(world: OciWorld) -> None:
    old = world.foreign("web")
    target = boxed("web", world.image)
    left = world.foreign("web", {"uici.target": target.target, "uici.replaces": old})
    executor = world.executor()
    snapshot = executor.observe((target,), all_services=True, timeout=TIMEOUT)
    (seen,) = snapshot.services[target.target].instances
    assert seen.native.id == old
    assert [stray.id for stray in snapshot.orphans] == [left]
    result = do(executor, target, "restart")
    assert result.native_ids == (left, old)
    assert world.region.machines[left].state in ("DELETING", "DELETED")


def test_without_a_shape_nothing_can_be_made(world: OciWorld) -> None:
    target = boxed("web", world.image, binding={"kind": "ContainerInstance"})
    with pytest.raises(PermanentError, match="availabilityDomain, shape, subnet"):
        do(world.executor(), target, "create")


def test_the_log_of_a_container(world: OciWorld) -> None:
    ident = world.foreign("web")
    (container,) = world.region.containers_of(world.region.machines[ident])
    world.region.logs[container.id] = "INFO one\nERROR two\n"
    executor = world.executor()
    target = boxed("web", world.image)
    assert do(executor, target, "logs", level="error").output == "ERROR two"
    wrong: Any
    for wrong in ({"since": "5m"}, {"source": "stderr"}, {"source": "stdout"}):
        with pytest.raises(PermanentError):
            do(executor, target, "logs", **wrong)
    assert do(executor, target, "stats").output["instances"][0]["instance"] == "web"


def test_a_network_address_is_asked_for_once(world: OciWorld) -> None:
    world.foreign("web")
    target = boxed("web", world.image, health={"http": {"port": 8000}})
    executor = world.executor()
    for _ in range(3):
        (seen,) = executor.look(target, timeout=TIMEOUT).instances
        assert (seen.address or "").startswith("10.0.")
    assert world.service.count("/vnics/") == 1
    assert world.service.count("GET /20210415/containers/") == 1


# ── requests ─────────────────────────────────────────────────────────────────────


def test_a_thousand_instances_cost_as_many_requests_as_pages(world: OciWorld) -> None:
    for number in range(1000):
        world.region.add_instance(f"web-{number:04}")
    targets = [declare(f"web-{n:04}") for n in range(1000)]
    executor = world.executor(pageSize=200)
    snapshot = executor.observe(targets, all_services=True, timeout=60)
    assert all(len(s.instances) == 1 for s in snapshot.services.values())
    assert len(world.service.seen) == 5 + 1  # and one for strays among container instances


def test_a_run_has_a_budget(world: OciWorld) -> None:
    world.region.add_instance("web")
    executor = world.executor(requestBudget=2)
    executor.declare(frozenset({"web"}))
    for _ in range(2):
        executor.look(declare("web"), timeout=TIMEOUT)
    with pytest.raises(TemporaryError, match=r"spent its 2 requests .* `requestBudget`"):
        executor.look(declare("web"), timeout=TIMEOUT)
    assert len(world.service.seen) == 2
    executor.declare(frozenset({"web"}))  # the next run
    executor.look(declare("web"), timeout=TIMEOUT)


def test_a_budget_that_ends_while_waiting_leaves_the_outcome_unknown(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.region.transition = 60
    executor = world.executor(requestBudget=5)
    with pytest.raises(OutcomeUnknownError, match="accepted, but this run has spent"):
        do(executor, declare("web"), "restart")


def test_throttling_is_waited_out_as_long_as_the_service_says(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.service.faults.append(
        Fault("GET", "/instances", 429, "TooManyRequests", "slow down", {"retry-after": "1"})
    )
    started = time.monotonic()
    assert world.executor().look(declare("web"), timeout=TIMEOUT).instances
    assert 1.0 <= time.monotonic() - started < 3


def test_throttling_beyond_the_deadline_is_told_at_once(world: OciWorld) -> None:
    world.service.faults.append(
        Fault("GET", "/instances", 429, "TooManyRequests", "slow down", {"retry-after": "60"})
    )
    started = time.monotonic()
    with pytest.raises(TemporaryError, match="slow down"):
        world.executor().look(declare("web"), timeout=5)
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_reads_are_repeated_when_the_service_breaks(world: OciWorld, status: int) -> None:
    world.region.add_instance("web")
    world.service.faults.append(Fault("GET", "/instances", status, times=2))
    assert world.executor().look(declare("web"), timeout=TIMEOUT).instances
    assert len(world.service.seen) == 3


def test_reads_are_repeated_when_the_connection_breaks(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.service.faults.append(Fault("GET", "/instances", 0, hang_up=True))
    assert world.executor().look(declare("web"), timeout=TIMEOUT).instances


@pytest.mark.parametrize("lost", [False, True])
def test_a_create_is_repeated_and_done_once(world: OciWorld, lost: bool) -> None:
    """The answer is lost, the container instance is there: the retry token finds it."""
    world.service.faults.append(
        Fault("POST", "/containerInstances$", 500, after=True, hang_up=lost)
    )
    target = boxed("web", world.image)
    (made,) = do(world.executor(), target, "create").native_ids
    assert list(world.region.machines) == [made]
    assert world.service.count(r"^POST .*/containerInstances$") == 2


@pytest.mark.parametrize("lost", [False, True])
def test_what_has_no_token_is_not_repeated_blindly(world: OciWorld, lost: bool) -> None:
    world.foreign("web")
    world.service.faults.append(Fault("POST", "actions/stop", 500, after=True, hang_up=lost))
    with pytest.raises(OutcomeUnknownError) as caught:
        do(world.executor(), boxed("web", world.image), "stop")
    assert caught.value.remedy
    assert world.service.count("actions/stop") == 1


def test_a_key_that_nobody_has_is_told(tmp_path: Path) -> None:
    with OciService() as service:
        world = OciWorld(service, tmp_path)
        service.keys.clear()
        executor = world.executor()
        with pytest.raises(PermanentError, match=r"401 NotAuthenticated.*fingerprint"):
            executor.check(timeout=TIMEOUT)
        assert service.refused_signatures == ["nobody has this key"]
        world.close()


def test_what_is_not_found_may_be_forbidden(world: OciWorld) -> None:
    world.service.faults.append(
        Fault("GET", "/instances", 404, "NotAuthorizedOrNotFound", "Authorization failed")
    )
    with pytest.raises(NotFoundError, match="policy"):
        world.executor().look(declare("web"), timeout=TIMEOUT)


def test_an_answer_of_another_shape_is_temporary(world: OciWorld) -> None:
    thing = world.region.add_instance("web")
    thing.data["shapeConfig"] = "large"
    with pytest.raises(TemporaryError, match="shapeConfig"):
        world.executor().look(declare("web"), timeout=TIMEOUT)


def test_without_a_configuration_file_it_says_so(world: OciWorld, tmp_path: Path) -> None:
    auth = {"method": "configFile", "file": str(tmp_path / "none"), "profile": "UICI"}
    with pytest.raises(PermanentError, match="no configuration file"):
        world.executor(auth=auth).check(timeout=TIMEOUT)
    wrong = {**auth, "file": str(tmp_path / "config"), "profile": "OTHER"}
    with pytest.raises(PermanentError, match="OTHER"):
        world.executor(auth=wrong).check(timeout=TIMEOUT)


def test_a_service_that_is_not_there_can_not_be_reached(world: OciWorld) -> None:
    executor = world.executor(endpoints={"compute": "http://127.0.0.1:1"})
    with pytest.raises(TemporaryError, match="no connection"):
        executor.check(timeout=1)


@pytest.mark.parametrize("behaviour", [slow_headers, slow_drip, huge, closes_early])
def test_an_answer_without_end_costs_no_more_than_the_deadline(
    world: OciWorld, behaviour: Behaviour
) -> None:
    executor = world.executor()
    executor.check(timeout=TIMEOUT)  # the SDK is there: its import takes longer than this
    with FakeServer(behaviour) as server:
        executor = world.executor(endpoints={"compute": server.url})
        started = time.monotonic()
        with pytest.raises(TemporaryError):
            executor.check(timeout=0.5)
        assert time.monotonic() - started < 1.5


def test_one_that_failed_to_be_made_is_seen_and_can_be_recreated(world: OciWorld) -> None:
    ident = world.foreign("web")
    machine = world.region.machines[ident]
    machine.become("FAILED", lifecycleDetails="no capacity")
    target, executor = boxed("web", world.image), world.executor()
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert (seen.state, seen.reason) == (InstanceState.STOPPED, "no capacity")
    for primitive in ("start", "restart"):
        with pytest.raises(PermanentError, match="recreate it"):
            do(executor, target, primitive)
    assert do(executor, target, "recreate").changed
    (seen,) = executor.look(target, timeout=TIMEOUT).instances
    assert seen.state is InstanceState.RUNNING


def test_a_failed_successor_that_can_not_be_deleted_is_told(world: OciWorld) -> None:
    world.service.faults.append(Fault("DELETE", "/containerInstances/", 403, "Forbidden", "no"))
    target = boxed("web", world.missing_image)
    with pytest.raises(OutcomeUnknownError, match=r"not found.*still there.*no") as caught:
        do(world.executor(), target, "create")
    assert "recreate" in caught.value.remedy


def test_the_sdk_is_imported_late_and_only_what_is_used(world: OciWorld, tmp_path: Path) -> None:
    """In a process of its own: nothing at connecting, no compute for container instances."""
    script = f"""
import sys
from pathlib import Path
from executors.contract import ExecutorContext
from executors.oci import connect
from infrastructure.identity import AgentIdentity
from tests.contract.oci_world import connection
from tests.integration.test_oci_executor import boxed
context = ExecutorContext("contract", 4, AgentIdentity("a", frozenset()), str)
executor = connect(connection({world.service.url!r}, Path({str(tmp_path / "config")!r})), context)
assert "oci" not in sys.modules
executor.look(boxed("web", "x"), timeout=30)
loaded = [name for name in sys.modules if name.endswith("_client") and ".of." in name]
assert [name.rpartition(".")[2] for name in loaded] == ["container_instance_client"], loaded
assert not {{"oci.core", "oci.container_instances"}} & sys.modules.keys()  # none of their models
executor.close()
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_wrong_binding_is_one_clear_line(world: OciWorld) -> None:
    for binding, said in (
        ({}, "kind"),
        ({"kind": "Toaster"}, "ComputeInstance"),
        ({"kind": "ComputeInstance", "select": {}}, "give ids"),
        ({"kind": "ComputeInstance", "compartment": "x"}, "binding.compartment"),
    ):
        target = declare("web").model_copy(
            update={"spec": declare("web").spec.model_copy(update={"binding": binding})}
        )
        with pytest.raises(UiciError, match=said) as caught:
            world.executor().look(target, timeout=TIMEOUT)
        assert "\n" not in str(caught.value)


def test_check_names_the_place(world: OciWorld) -> None:
    assert "1 compartment" in world.executor().check(timeout=TIMEOUT)


def test_times_of_the_service_are_read(world: OciWorld) -> None:
    world.region.add_instance("web", freeformTags={"uici-started-at": "yesterday"})
    (seen,) = world.executor().look(declare("web"), timeout=TIMEOUT).instances
    assert seen.started_at is not None
    assert now().startswith(str(seen.started_at.year))
