"""The executor contract: the same tests over every engine.

Each drift is brought about behind UICI's back, seen by observation, repaired by the
primitive that the shipped translations use for it, and seen as repaired.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from executors.contract import Executor
from executors.dry_run import DryRunExecutor
from infrastructure.errors import (
    DeadlineExceededError,
    NotFoundError,
    PermanentError,
    ProtectedObjectError,
    TemporaryError,
)
from infrastructure.identity import AgentIdentity
from infrastructure.observed import EngineHealth, InstanceState, ObservedInstance
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.contract.world import ENVIRONMENT, LOOP, World, unique
from tests.fakes.engine import BROKEN_COMMAND

TIMEOUT = 30.0
MIB = 1024 * 1024


def declare(world: World, name: str, **spec: Any) -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": name, "environment": ENVIRONMENT},
            "spec": {"image": world.image, "command": list(LOOP), **world.spec, **spec},
        }
    )


def needs(world: World, *abilities: str) -> None:
    """Skip what an environment says that it can't do at all."""
    missing = sorted(world.lacks.intersection(abilities))
    if missing:
        pytest.skip(f"this environment has no {', '.join(missing)}")


def mutating_of(world: World) -> dict[str, dict[str, Any]]:
    """The mutating primitives that this environment has."""
    known = world.executor().primitives()
    return {name: args for name, args in MUTATING.items() if name in known}


def do(
    executor: Executor, service: Service, primitive: str, *, on: str | None = None, **args: Any
) -> PrimitiveResult:
    given = taken(executor, primitive, args)
    return executor.call(service, PrimitiveCall(primitive, given, on), timeout=TIMEOUT)


def taken(executor: Executor, primitive: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """`grace_seconds` only where the verb has it: not every engine lets a call say that."""
    known = executor.primitives().get(primitive)
    without = known is not None and "grace_seconds" not in known.arguments
    return {key: args[key] for key in args if not (without and key == "grace_seconds")}


def instances(executor: Executor, service: Service) -> tuple[ObservedInstance, ...]:
    return executor.look(service, timeout=TIMEOUT).instances


def only(executor: Executor, service: Service) -> ObservedInstance:
    (found,) = instances(executor, service)
    return found


# ── drift: brought about, seen, repaired, seen as repaired ──────────────────────


def test_missing_is_seen_and_create_repairs_it(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), env={"A": "1", "SECRET": {"secret": "env:X"}})
    assert instances(executor, service) == ()

    assert do(executor, service, "create").changed

    found = only(executor, service)
    assert found.native.name.startswith(service.metadata.name)
    if "stable names" not in world.lacks:
        assert found.native.name == service.metadata.name
    assert found.state is InstanceState.RUNNING
    assert found.spec.image == world.image
    assert found.spec.env["A"] == "1"
    assert found.spec.env["SECRET"] == "value of env:X"
    assert found.native.labels["uici.target"] == service.target
    assert not do(executor, service, "create").changed


def test_removed_by_hand_is_seen_and_create_repairs_it(world: World) -> None:
    needs(world, "stable names")
    executor = world.executor()
    service = declare(world, unique(), replicas=2)
    do(executor, service, "create")
    world.delete(f"{service.metadata.name}-2")
    assert [i.native.name for i in instances(executor, service)] == [f"{service.metadata.name}-1"]

    assert do(executor, service, "create").changed

    assert [i.native.name for i in instances(executor, service)] == [
        f"{service.metadata.name}-1",
        f"{service.metadata.name}-2",
    ]


def test_waiting_for_one_that_is_not_up_is_no_change(world: World) -> None:
    """With a healthy neighbour, too: a read has no unknown outcome."""
    needs(world, "kill")
    executor = world.executor()
    service = declare(world, unique(), replicas=2)
    do(executor, service, "create")
    do(executor, service, "wait_healthy")
    _, second = instances(executor, service)
    world.kill(second.native.name)
    with pytest.raises(
        (PermanentError, DeadlineExceededError), match=re.escape(second.native.name)
    ):
        do(executor, service, "wait_healthy")


def test_killed_is_seen_with_its_exit_code_and_start_repairs_it(world: World) -> None:
    needs(world, "kill")
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    world.kill(only(executor, service).native.name)
    seen = only(executor, service)
    down = InstanceState.RESTARTING if "stay down" in world.lacks else InstanceState.STOPPED
    assert (seen.state, seen.exit_code) == (down, 0 if "SIGKILL" in world.lacks else 137)
    assert seen.finished_at is not None

    assert do(executor, service, "start").changed

    assert only(executor, service).state is InstanceState.RUNNING
    assert not do(executor, service, "start").changed


def test_paused_is_seen_and_start_or_resume_repairs_it(world: World) -> None:
    needs(world, "pause")
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    for repair in ("start", "resume"):
        world.pause(service.metadata.name)
        assert only(executor, service).state is InstanceState.PAUSED
        assert do(executor, service, repair).changed
        assert only(executor, service).state is InstanceState.RUNNING
        assert not do(executor, service, repair).changed


@pytest.mark.parametrize("repair", ["restart", "recreate"])
def test_unhealthy_is_seen_and_repaired(world: World, repair: str) -> None:
    needs(world, "kill")
    executor = world.executor()
    service = declare(world, unique(), native=dict(world.checked))
    do(executor, service, "create")
    world.make_sick(only(executor, service).native.name)
    assert only(executor, service).health is EngineHealth.UNHEALTHY

    assert do(executor, service, repair).changed

    do(executor, service, "wait_healthy")
    assert only(executor, service).health in (EngineHealth.HEALTHY, EngineHealth.NONE)


def test_memory_changed_by_hand_is_seen_and_repaired_without_a_restart(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), resources={"memory": "64Mi", "cpu": "0.5"})
    do(executor, service, "create")
    world.set_memory(service.metadata.name, 32 * MIB)
    before = only(executor, service)
    assert before.spec.memory == 32 * MIB

    assert do(executor, service, "update_resources", memory=64 * MIB, cpu="0.5").changed

    after = only(executor, service)
    assert (after.spec.memory, after.spec.cpu) == (64 * MIB, Decimal("0.5"))
    if "resize in place" not in world.lacks:
        assert (after.native.id, after.started_at) == (before.native.id, before.started_at)
    assert not do(executor, service, "update_resources", memory="64Mi", cpu=None).changed


def test_limits_can_be_set_where_there_were_none(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    assert only(executor, service).spec.memory == 0
    do(executor, service, "update_resources", memory="48Mi", cpu="250m")
    seen = only(executor, service).spec
    assert (seen.memory, seen.cpu) == (48 * MIB, Decimal("0.25"))


def test_environment_changed_by_hand_is_seen_and_recreate_repairs_it(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), env={"LEVEL": "info"})
    do(executor, service, "create")
    world.replace_env(service, {"LEVEL": "debug", "OTHER": "kept"})
    before = only(executor, service)
    assert before.spec.env["LEVEL"] == "debug"

    assert do(executor, service, "recreate").changed

    after = only(executor, service)
    assert after.spec.env["LEVEL"] == "info"
    assert after.spec.env["OTHER"] == "kept"  # desired state does not speak of it
    assert after.native.id != before.native.id
    if "stable names" not in world.lacks:
        assert after.native.name == before.native.name


def test_set_env_and_set_image_do_nothing_the_second_time(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), env={"LEVEL": "info"})
    do(executor, service, "create")
    assert do(executor, service, "recreate", env={"LEVEL": "debug", "N": "1"}).changed
    assert not do(executor, service, "recreate", env={"LEVEL": "debug", "N": "1"}).changed
    assert only(executor, service).spec.env["LEVEL"] == "debug"
    assert do(executor, service, "recreate", image=world.other_image).changed
    assert not do(executor, service, "recreate", image=world.other_image).changed
    assert only(executor, service).spec.image == world.other_image


def test_rollback_goes_back_to_the_earlier_image_and_not_forward_again(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    with pytest.raises(PermanentError, match="no earlier image"):
        do(executor, service, "rollback")
    do(executor, service, "recreate", image=world.other_image)
    assert do(executor, service, "rollback").changed
    assert only(executor, service).spec.image == world.image
    with pytest.raises(PermanentError, match="no earlier image"):
        do(executor, service, "rollback")


def test_scale_brings_the_number_to_exactly_what_is_asked(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), replicas=2)
    name = service.metadata.name
    do(executor, service, "create")
    assert do(executor, service, "scale", replicas=4).changed
    assert len(instances(executor, service)) == 4
    assert not do(executor, service, "scale", replicas=4).changed
    assert do(executor, service, "scale", replicas=2).changed
    assert len(instances(executor, service)) == 2
    if "stable names" not in world.lacks:  # the highest go first
        assert [i.native.name for i in instances(executor, service)] == [f"{name}-1", f"{name}-2"]
    assert do(executor, service, "scale", replicas=0).changed
    assert instances(executor, service) == ()


def test_stop_and_restart(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    assert do(executor, service, "stop", grace_seconds=2).changed
    if "stopped instances" in world.lacks:
        stopped = executor.look(service, timeout=TIMEOUT)
        assert stopped.instances == ()
        assert stopped.workload is not None
        assert stopped.workload.replicas == 0
    else:
        assert only(executor, service).state is InstanceState.STOPPED
    assert not do(executor, service, "stop", grace_seconds=2).changed
    assert do(executor, service, "restart", grace_seconds=2).changed  # what is stopped starts
    first = only(executor, service)
    assert first.state is InstanceState.RUNNING
    assert do(executor, service, "restart", grace_seconds=0).changed
    second = only(executor, service)
    assert second.state is InstanceState.RUNNING
    assert second.started_at is not None
    assert first.started_at is not None
    assert second.started_at > first.started_at or second.native.id != first.native.id


def test_pause_does_nothing_the_second_time(world: World) -> None:
    needs(world, "pause")
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    assert do(executor, service, "pause").changed
    assert not do(executor, service, "pause").changed
    assert do(executor, service, "stop", grace_seconds=2).changed  # a frozen one can be stopped
    assert only(executor, service).state is InstanceState.STOPPED


def test_one_instance_of_several(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), replicas=2)
    do(executor, service, "create")
    first, second = instances(executor, service)
    result = do(executor, service, "restart", on=first.native.id, grace_seconds=1)
    assert result.native_ids == (first.native.id,)
    after = {i.native.id: i.started_at for i in instances(executor, service)}
    assert after[second.native.id] == second.started_at
    assert len(after) == 2
    assert after.get(first.native.id) != first.started_at


# ── adoption and strays ─────────────────────────────────────────────────────────


def test_what_others_made_is_adopted_by_name(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    made = world.foreign(service.metadata.name)
    assert only(executor, service).native.id == made
    assert do(executor, service, "recreate").changed
    assert only(executor, service).native.labels["uici.target"] == service.target


def test_containers_of_others_are_adopted_by_name_and_by_compose_service(world: World) -> None:
    needs(world, "compose")
    executor = world.executor()
    by_name, by_compose = declare(world, unique()), declare(world, unique())
    alone = world.foreign(by_name.metadata.name)
    composed = world.foreign(
        f"project_{by_compose.metadata.name}_1",
        {
            "com.docker.compose.service": by_compose.metadata.name,
            "com.docker.compose.project": "project",
        },
    )
    snapshot = executor.observe((by_name, by_compose), all_services=False, timeout=TIMEOUT)
    assert snapshot.services[by_name.target].instances[0].native.id == alone
    assert snapshot.services[by_compose.target].instances[0].native.id == composed


def test_a_container_of_another_target_is_not_adopted(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    world.foreign(service.metadata.name, {"uici.target": "elsewhere/other"})
    assert instances(executor, service) == ()


def test_a_service_is_no_replica_of_another_to_an_executor_that_saw_neither(world: World) -> None:
    """A run on one target, in a process of its own, leaves its neighbour's container alone."""
    web = declare(world, unique(), replicas=2)
    name = web.metadata.name
    neighbour = declare(world, f"{name}-1")
    foreign = world.foreign(f"{name}-1")
    untouched = world.state(f"{name}-1")
    both = frozenset({name, neighbour.metadata.name})

    def cold() -> Executor:
        executor = world.executor()
        executor.declare(both)
        return executor

    partly = cold().observe((web,), all_services=False, timeout=TIMEOUT)
    assert partly.services[web.target].instances == ()
    assert do(cold(), web, "create").changed
    assert do(cold(), web, "recreate").changed
    assert do(cold(), web, "scale", replicas=3).changed
    assert len(instances(cold(), web)) == 3
    assert do(cold(), web, "scale", replicas=0).changed
    assert instances(cold(), web) == ()
    assert world.state(f"{name}-") == untouched
    assert only(cold(), neighbour).native.id == foreign


def test_until_told_of_all_services_no_number_makes_a_replica(world: World) -> None:
    """Nor does having been asked about one service, or about all of them."""
    needs(world, "numbered replicas")
    service = declare(world, unique())
    name = service.metadata.name
    own, foreign = world.foreign(name), world.foreign(f"{name}-1")
    before = world.state(name)
    executor = world.executor()
    executor.observe((service,), all_services=True, timeout=TIMEOUT)
    assert only(executor, service).native.id == own
    assert do(executor, service, "scale", replicas=0).native_ids == (own,)
    assert world.state(name) == {foreign: before[foreign]}

    executor.declare(frozenset({name}))
    assert only(executor, service).native.id == foreign
    executor.declare(frozenset({name, f"{name}-1"}))  # the last call counts
    assert instances(executor, service) == ()


def test_a_dry_run_passes_on_what_is_declared(world: World) -> None:
    needs(world, "numbered replicas")
    service = declare(world, unique())
    foreign = world.foreign(f"{service.metadata.name}-1")
    executor = DryRunExecutor(world.executor())
    assert do(executor, service, "restart").native_ids == ()
    executor.declare(frozenset({service.metadata.name}))
    assert do(executor, service, "restart").native_ids == (foreign,)


def test_adopted_ones_go_last_when_scaling_down(world: World) -> None:
    needs(world, "numbered replicas")
    executor = world.executor()
    service = declare(world, unique())
    executor.declare(frozenset({service.metadata.name}))
    adopted = world.foreign(f"{service.metadata.name}-9")
    do(executor, service, "scale", replicas=2)
    do(executor, service, "scale", replicas=1)
    assert only(executor, service).native.id == adopted


def test_orphans_are_told_only_when_all_were_asked_for(world: World) -> None:
    executor = world.executor()
    service, gone = declare(world, unique()), declare(world, unique("gone"))
    do(executor, service, "create")
    do(executor, gone, "create")
    partly = executor.observe((service,), all_services=False, timeout=TIMEOUT)
    fully = executor.observe((service,), all_services=True, timeout=TIMEOUT)
    assert partly.orphans == ()
    assert gone.metadata.name in {o.name for o in fully.orphans}
    assert service.metadata.name not in {o.name for o in fully.orphans}


# ── faults ──────────────────────────────────────────────────────────────────────


def test_what_is_not_there_can_only_be_created(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    verbs = {"start", "stop", "restart", "recreate", "pause", "update_resources"}
    for primitive in sorted(verbs - world.lacks):
        with pytest.raises(PermanentError, match=service.metadata.name):
            do(executor, service, primitive)


def test_an_instance_that_is_gone_is_not_found_and_nothing_changes(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique(), replicas=2)
    do(executor, service, "create")
    first, _ = instances(executor, service)
    world.delete(first.native.name)
    before = world.state(service.metadata.name)
    with pytest.raises(NotFoundError):
        do(executor, service, "restart", on=first.native.id)
    assert world.state(service.metadata.name) == before


def test_a_missing_image_is_an_error_with_a_remedy_and_nothing_changes(world: World) -> None:
    needs(world, "image check")
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    before = world.state(service.metadata.name)
    with pytest.raises(PermanentError, match=world.missing_image):
        do(executor, service, "recreate", image=world.missing_image)
    assert world.state(service.metadata.name) == before
    absent = declare(world, unique(), image=world.missing_image)
    with pytest.raises(PermanentError, match=world.missing_image):
        do(executor, absent, "create")
    assert instances(executor, absent) == ()


def test_a_create_that_fails_leaves_nothing_behind(world: World) -> None:
    needs(world, "start check")
    executor = world.executor()
    service = declare(world, unique(), command=list(BROKEN_COMMAND))
    with pytest.raises((PermanentError, TemporaryError)):
        do(executor, service, "create")
    assert world.state(service.metadata.name) == {}


@pytest.mark.parametrize("running", [True, False])
def test_a_recreate_that_fails_puts_the_old_container_back(world: World, running: bool) -> None:
    needs(world, "start check")
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    if not running:
        do(executor, service, "stop", grace_seconds=1)
    before = only(executor, service)
    broken = service.model_copy(
        update={"spec": service.spec.model_copy(update={"command": BROKEN_COMMAND})}
    )
    with pytest.raises(PermanentError, match="as it was before"):
        do(executor, broken, "recreate")
    after = only(executor, service)
    assert (after.native.id, after.native.name) == (before.native.id, before.native.name)
    assert after.state is before.state
    assert len(world.state(service.metadata.name)) == 1


def test_strange_primitives_and_arguments_are_refused(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    before = world.state(service.metadata.name)
    with pytest.raises(PermanentError, match="no primitive"):
        do(executor, service, "format_disk")
    with pytest.raises(PermanentError, match="takes no"):
        do(executor, service, "restart", everything=True)
    with pytest.raises(PermanentError, match="replicas"):
        do(executor, service, "scale", replicas=-1)
    assert world.state(service.metadata.name) == before


def test_every_call_ends_within_its_time(world: World) -> None:
    executor = world.silent()
    service = declare(world, unique())
    for action in (
        lambda: executor.observe((service,), all_services=True, timeout=0.3),
        lambda: executor.look(service, timeout=0.3),
        lambda: executor.call(service, PrimitiveCall("inspect"), timeout=0.3),
        lambda: executor.call(service, PrimitiveCall("restart"), timeout=0.3),
        lambda: executor.check(timeout=0.3),
    ):
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):  # only asked so far: nothing was sent
            action()
        assert time.monotonic() - started < 1.3


# ── self-exclusion, layer 5 ─────────────────────────────────────────────────────

MUTATING: dict[str, dict[str, Any]] = {
    "start": {},
    "stop": {"grace_seconds": 0},
    "restart": {"grace_seconds": 0},
    "pause": {},
    "resume": {},
    "create": {},
    "recreate": {},
    "remove": {"grace_seconds": 0},
    "scale": {"replicas": 0},
    "update_resources": {"memory": "16Mi"},
    "rollback": {},
    "exec": {"argv": ["touch", "/dev/shm/harm"]},
}


def test_the_list_of_mutating_primitives_is_complete(world: World) -> None:
    mutating = {p.name for p in world.executor().primitives().values() if p.mutates}
    assert mutating == set(mutating_of(world))


def _identities(native_id: str, name: str) -> dict[str, AgentIdentity]:
    agent = AgentIdentity(agent="agent", names=frozenset({"no-such-agent"}))
    return {
        "id": replace(agent, native_ids=frozenset({native_id})),
        "short id": replace(agent, native_ids=frozenset({native_id[:12]})),
        "name": replace(agent, names=frozenset({name})),
        "what it lives on": replace(agent, lives_on=frozenset({name})),
        "label": replace(agent, labels={"role": "the-agent"}),
    }


def test_a_protected_object_is_refused_with_nothing_changed(world: World) -> None:
    """Whichever way it is known, whatever the primitive, and for the whole target."""
    service = declare(world, unique(), replicas=2)
    name = service.metadata.name
    if "numbered replicas" in world.lacks:
        protected = world.foreign(name, {"role": "the-agent"})
    else:
        world.foreign(f"{name}-1")
        protected = world.foreign(f"{name}-2", {"role": "the-agent"})
    before = world.state(name)
    for ground, identity in _identities(protected, name).items():
        executor = world.executor(identity)
        executor.declare(frozenset({name}))
        first = instances(executor, service)[0]
        for primitive, arguments in mutating_of(world).items():
            for instance in (None, first.native.id):  # also when aimed at its neighbour
                with pytest.raises(ProtectedObjectError):
                    do(executor, service, primitive, on=instance, **arguments)
        assert world.state(name) == before, ground


def test_a_rename_does_not_get_round_protection(world: World) -> None:
    """The agent's container under a service's name; and a service under the agent's."""
    needs(world, "rename")
    service = declare(world, unique())
    agent = world.foreign(unique("agent"))
    identity = AgentIdentity(
        agent="agent", names=frozenset({unique("agent")}), native_ids=frozenset({agent})
    )
    executor = world.executor(identity)
    world.rename(world.state("uict-agent")[agent][0].lstrip("/"), service.metadata.name)
    before = world.state(service.metadata.name)
    for primitive, arguments in mutating_of(world).items():
        with pytest.raises(ProtectedObjectError):
            do(executor, service, primitive, **arguments)
    assert world.state(service.metadata.name) == before


def test_a_protected_name_is_never_given_to_a_new_container(world: World) -> None:
    service = declare(world, unique())
    name = service.metadata.name
    executor = world.executor(AgentIdentity(agent="agent", names=frozenset({name})))
    for primitive in ("create", "scale"):
        arguments: dict[str, Any] = {"replicas": 1} if primitive == "scale" else {}
        with pytest.raises(ProtectedObjectError):
            do(executor, service, primitive, **arguments)
    assert world.state(name) == {}


def test_reading_about_a_protected_object_is_allowed(world: World) -> None:
    service = declare(world, unique())
    native_id = world.foreign(service.metadata.name)
    identity = AgentIdentity(
        agent="a", names=frozenset({"a-b-c"}), native_ids=frozenset({native_id})
    )
    executor = world.executor(identity)
    assert do(executor, service, "inspect").native_ids == (native_id,)


# ── evidence, exec, dry run ─────────────────────────────────────────────────────


def test_reads_never_change_anything(world: World) -> None:
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    before = world.state(service.metadata.name)
    for primitive in executor.primitives().values():
        if not primitive.mutates and primitive.name not in world.lacks:
            assert not do(executor, service, primitive.name).changed
    assert world.state(service.metadata.name) == before


def test_exec_runs_words_and_not_a_shell_line(world: World) -> None:
    needs(world, "exec")
    executor = world.executor()
    service = declare(world, unique())
    do(executor, service, "create")
    output = do(executor, service, "exec", argv=["echo", "a; b", "$HOME"]).output
    assert output["stdout"] == "a; b $HOME\n"
    assert (output["exit_code"], output["truncated"]) == (0, False)
    cut = do(executor, service, "exec", argv=["echo", "0123456789"], max_output_bytes=4).output
    assert (cut["stdout"], cut["truncated"]) == ("0123", True)
    wrong: Any
    for wrong in ([], "echo a"):
        with pytest.raises(PermanentError, match="list of words"):
            do(executor, service, "exec", argv=wrong)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(world: World) -> None:
    service = declare(world, unique())
    native_id = world.foreign(service.metadata.name)
    inner = world.executor()
    executor = DryRunExecutor(inner)
    before = world.state(service.metadata.name)
    for primitive, arguments in mutating_of(world).items():
        result = do(executor, service, primitive, **arguments)
        assert result.changed
        assert result.native_ids == (native_id,)
        assert result.output["would_call"] == primitive
        assert result.output["arguments"] == taken(inner, primitive, arguments)
    assert world.state(service.metadata.name) == before
    assert only(executor, service).native.id == native_id
    assert do(executor, service, "inspect").output == do(inner, service, "inspect").output


def test_a_dry_run_refuses_what_a_real_run_would(world: World) -> None:
    service = declare(world, unique())
    native_id = world.foreign(service.metadata.name)
    identity = AgentIdentity(
        agent="a", names=frozenset({"a-b-c"}), native_ids=frozenset({native_id})
    )
    executor = DryRunExecutor(world.executor(), identity=identity)
    with pytest.raises(ProtectedObjectError):
        do(executor, service, "restart")


def test_closing_twice_is_fine(world: World) -> None:
    executor = world.executor()
    assert executor.check(timeout=TIMEOUT)
    executor.close()
    executor.close()
