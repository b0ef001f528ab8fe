"""What the agent may not do, can't see, or does at the same time as others in Oracle Cloud."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor
from executors.deadline import Deadline
from executors.oci.sdk import SdkCloud
from executors.oci.session import Request
from executors.oci.settings import Api
from infrastructure.errors import (
    OutcomeUnknownError,
    PermanentError,
    ProtectedObjectError,
    TemporaryError,
)
from infrastructure.identity import AgentIdentity
from tests.contract.oci_world import OciWorld, connection, write_config
from tests.contract.world import ENVIRONMENT
from tests.fakes.oci_service import Fault, OciService
from tests.fakes.oci_service.resources import Thing
from tests.integration.test_oci_executor import TIMEOUT, boxed, declare, do

OTHER = "ocid1.compartment.oc1..bbbb"


@pytest.fixture
def service() -> Iterator[OciService]:
    with OciService() as made:
        yield made


@pytest.fixture
def world(service: OciService, tmp_path: Path) -> Iterator[OciWorld]:
    made = OciWorld(service, tmp_path)
    yield made
    made.close()


def forbid_deleting(world: OciWorld, *machines: str) -> None:
    """The service answers a lack of rights as it answers a lack of the thing."""
    path = "/containerInstances/" + (f"({'|'.join(machines)})" if machines else "")
    said = "Authorization failed or requested resource not found."
    world.service.faults.append(
        Fault("DELETE", path, 404, "NotAuthorizedOrNotFound", said, times=999)
    )


# ── deleting is forbidden ────────────────────────────────────────────────────────


def test_a_forbidden_delete_is_no_delete(world: OciWorld) -> None:
    kept = {world.foreign("web-1"), world.foreign("web-2")}
    forbid_deleting(world)
    executor = world.executor()
    executor.declare(frozenset({"web"}))
    target = boxed("web", world.image, replicas=2)
    for _ in range(2):
        with pytest.raises(PermanentError, match="manage compute-container-family"):
            do(executor, target, "scale", replicas=1)
    assert set(world.state("web")) == kept


def test_a_replacement_that_may_not_delete_the_old_one_takes_itself_back(world: OciWorld) -> None:
    old = world.foreign("web")
    forbid_deleting(world, old)
    executor = world.executor()
    for _ in range(3):
        with pytest.raises(PermanentError, match=r"manage compute.*as it was before"):
            do(executor, boxed("web", world.other_image), "recreate")
        assert set(world.state("web")) == {old}


def test_where_nothing_may_be_deleted_a_replacement_is_not_tried_again(world: OciWorld) -> None:
    """The successor can't be taken back: that is told, and it stays the only one."""
    world.foreign("web")
    forbid_deleting(world)
    executor = world.executor()
    target = boxed("web", world.other_image)
    with pytest.raises(OutcomeUnknownError, match="runs beside it") as caught:
        do(executor, target, "recreate")
    assert "grant" in caught.value.remedy
    left = set(world.state("web"))
    assert len(left) == 2
    for primitive, arguments in (
        ("recreate", {}),
        ("update_resources", {"memory": "1Gi"}),
        ("scale", {"replicas": 3}),
    ):
        with pytest.raises(PermanentError, match="manage compute-container-family"):
            do(executor, target, primitive, **arguments)
        assert set(world.state("web")) == left
    world.service.faults.clear()  # granted
    assert do(executor, target, "recreate").changed
    assert len(world.state("web")) == 1


def test_an_accepted_delete_that_can_not_be_watched_costs_no_successor(world: OciWorld) -> None:
    old = world.foreign("web")
    path = f"/containerInstances/{old}"
    blind = Fault("GET", path, 403, "NotAllowed", "no", times=99)
    world.service.meddling.append(("^DELETE", lambda: world.service.faults.append(blind)))
    with pytest.raises(OutcomeUnknownError, match="accepted, but"):
        do(world.executor(), boxed("web", world.other_image), "recreate")
    ((_, state, image, *_),) = world.state("web").values()
    assert (state, image) == ("ACTIVE", world.other_image)


def test_a_delete_that_is_put_off_leaves_an_unknown_outcome(world: OciWorld) -> None:
    old = world.foreign("web")
    world.service.faults.append(Fault("DELETE", old, 409, "IncorrectState", "busy", times=99))
    executor = world.executor()
    target = boxed("web", world.other_image)
    with pytest.raises(OutcomeUnknownError, match="successor is up beside it"):
        do(executor, target, "recreate")
    world.service.faults.clear()
    assert do(executor, target, "recreate").changed
    assert len(world.state("web")) == 1


def test_what_is_really_gone_is_deleted(world: OciWorld) -> None:
    gone = world.foreign("web-2")
    world.foreign("web-1")
    executor = world.executor()
    executor.declare(frozenset({"web"}))
    world.service.meddling.append(
        ("^DELETE", lambda: world.region.machines[gone].become("DELETED"))
    )
    target = boxed("web", world.image, replicas=2)
    assert do(executor, target, "scale", replicas=1).native_ids == (gone,)
    assert len(world.state("web")) == 1


# ── pools ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("transition", "work"), [(0.3, False), (0.0, False), (0.3, True)])
def test_a_pool_larger_than_the_concurrency_is_restarted(
    world: OciWorld, transition: float, work: bool
) -> None:
    """Also when it is so quick that nobody sees it down. One list a round, whatever the size."""
    world.region.add_pool("web", 6)
    target = declare("web", "InstancePool", replicas=6)
    executor = world.executor()  # its concurrency is 4
    before = {i.native.id: i.started_at for i in executor.look(target, timeout=TIMEOUT).instances}
    world.region.transition = transition
    world.region.tells_pool_work = work
    assert do(executor, target, "restart", timeout=4).changed
    after = {i.native.id: i.started_at for i in executor.look(target, timeout=TIMEOUT).instances}
    assert len(after) == 6
    ends = [w.data["status"] for w in world.region.work.values() if "Reset" in str(w.data)]
    assert ends == ["SUCCEEDED"] * work
    assert world.service.count("^GET /20160918/instances/ocid1") == 6  # each before its note
    assert all(after[ident] != started for ident, started in before.items())


def test_members_elsewhere_are_seen_and_protected(world: OciWorld) -> None:
    pool = world.region.add_pool("web", 2)
    here, there = (world.region.instances[i] for i in world.region.members[pool.id])
    there.data["compartmentId"] = OTHER
    target = declare("web", "InstancePool", replicas=2)
    seen = world.executor().look(target, timeout=TIMEOUT)
    assert {i.native.id for i in seen.instances} == {here.id, there.id}
    agent = AgentIdentity("a", frozenset(), native_ids=frozenset({there.id}))
    with pytest.raises(ProtectedObjectError):
        do(world.executor(agent), target, "stop")
    # Nor does it help that it can't be looked at.
    world.service.faults.append(
        Fault("GET", f"/instances/{there.id}", 404, "NotAuthorizedOrNotFound", "no", times=99)
    )
    assert len(world.executor().look(target, timeout=TIMEOUT).instances) == 1
    with pytest.raises(ProtectedObjectError):
        do(world.executor(agent), target, "stop")
    assert (here.state, there.state, pool.state) == ("RUNNING", "RUNNING", "RUNNING")


# ── tags ─────────────────────────────────────────────────────────────────────────


def tag(thing: Thing) -> None:
    """Somebody else writes a tag."""
    thing.data["freeformTags"] = {**thing.data["freeformTags"], "team": "x"}
    thing.etag += 1


@pytest.mark.parametrize("moment", ["^POST", "^PUT"])
def test_a_tag_that_somebody_writes_meanwhile_stays(world: OciWorld, moment: str) -> None:
    executor = world.executor()
    machine = world.region.add_instance("vm")
    world.service.meddling.append((moment, lambda: tag(machine)))
    do(executor, declare("vm"), "restart")
    assert machine.data["freeformTags"].keys() == {"team", "uici-started-at"}
    box = world.region.machines[world.foreign("web")]
    world.service.meddling.append((moment, lambda: tag(box)))
    do(executor, boxed("web", world.image), "restart")
    assert box.data["freeformTags"].keys() == {"team", "uici-started-at"}


# ── commands ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["TIMED_OUT", "CANCELED"])
def test_a_command_that_was_ended_may_have_done_something(world: OciWorld, end: str) -> None:
    world.region.add_instance("web")
    world.region.command_end = end
    with pytest.raises(OutcomeUnknownError, match=end):
        do(world.executor(), declare("web"), "exec", argv=["true"])


@pytest.mark.parametrize(
    ("status", "code"), [(403, "NotAllowed"), (401, "NotAuthenticated"), (400, "InvalidParameter")]
)
def test_a_refusal_to_tell_the_end_of_a_command_is_told_at_once(
    world: OciWorld, status: int, code: str
) -> None:
    world.region.add_instance("web")
    world.service.faults.append(Fault("GET", "/status", status, code, "no", times=99))
    with pytest.raises(OutcomeUnknownError, match=code):
        do(world.executor(), declare("web"), "exec", argv=["true"])
    assert world.service.count("^GET .*/status") == 1


def test_the_end_of_a_command_is_not_there_at_first(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.service.faults += [
        Fault("GET", "/status", 404, "NotAuthorizedOrNotFound", "not yet", times=2),
        Fault("GET", "/status", 500, times=1),
    ]
    output = do(world.executor(), declare("web"), "exec", argv=["true"]).output
    assert output["exit_code"] == 0


def test_a_budget_that_ends_ends_the_wait_for_a_command(world: OciWorld) -> None:
    world.region.add_instance("web")
    world.region.transition = 60
    executor = world.executor(requestBudget=5)
    with pytest.raises(OutcomeUnknownError, match="spent its 5 requests"):
        do(executor, declare("web"), "exec", argv=["sleep", "60"])


# ── logs, strays, the SDK itself ─────────────────────────────────────────────────


def test_every_replica_has_its_newest_lines(world: OciWorld) -> None:
    executor = world.executor()
    executor.declare(frozenset({"web"}))
    for name in ("web-1", "web-2"):
        (box,) = world.region.containers_of(world.region.machines[world.foreign(name)])
        lines = [f"{'ERROR' if n % 2 else 'INFO'} {n}" for n in range(10)]
        world.region.logs[box.id] = "\n".join(lines)
    target = boxed("web", world.image, replicas=2)
    assert do(executor, target, "logs", lines=2, level="error").output.splitlines() == [
        "[web-1] ERROR 7",
        "[web-1] ERROR 9",
        "[web-2] ERROR 7",
        "[web-2] ERROR 9",
    ]
    assert do(executor, target, "logs", filter="web-1").output == ""  # no line says so


def test_a_stray_container_instance_is_told_where_none_is_declared(world: OciWorld) -> None:
    stray = world.foreign("old", {"uici.target": f"{ENVIRONMENT}/old"})
    world.region.add_instance("web")
    executor = world.executor()
    snapshot = executor.observe((declare("web"),), all_services=True, timeout=TIMEOUT)
    assert [orphan.id for orphan in snapshot.orphans] == [stray]
    nothing_left = executor.observe((), all_services=True, timeout=TIMEOUT)
    assert [orphan.id for orphan in nothing_left.orphans] == [stray]
    # An agent for machines alone needs no right to list container instances.
    world.service.faults.append(
        Fault("GET", "/containerInstances", 404, "NotAuthorizedOrNotFound", "no", times=99)
    )
    snapshot = executor.observe((declare("web"),), all_services=True, timeout=TIMEOUT)
    assert snapshot.orphans == ()
    assert len(snapshot.services[declare("web").target].instances) == 1


def test_what_nobody_foresaw_is_an_error_of_the_contract(world: OciWorld, tmp_path: Path) -> None:
    cloud = SdkCloud(connection(world.service.url, write_config(tmp_path)))
    strange: dict[str, Any] = {"arguments": (threading.Lock(), {}, "too many")}
    for mutates, error in ((False, TemporaryError), (True, OutcomeUnknownError)):
        request = Request(Api.COMPUTE, "get_instance", what="x", mutates=mutates, **strange)
        with pytest.raises(error, match="broke: TypeError"):
            cloud.ask(request, Deadline(TIMEOUT))
    cloud.close()


def test_waiting_for_a_pool_changes_nothing(world: OciWorld) -> None:
    pool = world.region.add_pool("web", 2)
    executor: Executor = world.executor()
    result = do(executor, declare("web", "InstancePool", replicas=2), "create")
    assert (result.changed, result.native_ids) == (False, (pool.id,))
    assert world.service.count("^(POST|PUT|DELETE)") == 0
