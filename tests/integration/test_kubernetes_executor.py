"""The Kubernetes executor over HTTP: what the contract suite has no word for.

Conflicts with other field managers, faults of the API server, kinds other than Deployments,
troubles of pods, self-exclusion by everything that a pod lives in.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from executors.contract import Authorised, Executor, ExecutorContext
from executors.kubernetes import Connection, connect
from executors.kubernetes.errors import FieldConflictError
from executors.kubernetes.objects import quantity
from flows.command_line.doctor import _engines
from flows.command_line.finding import Finding, Level
from flows.comparison.workload_judgement import roll_out_drifts
from infrastructure.drift_kinds import DriftKind
from infrastructure.errors import (
    DeadlineExceededError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    ProtectedObjectError,
    TemporaryError,
)
from infrastructure.identity import UNKNOWN_POD, AgentIdentity, place_id
from infrastructure.observed import InstanceState, ObservedService
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from tests.builders import service
from tests.fakes.engine import NOBODY
from tests.fakes.kubernetes_server import LIMITS, FakeKubernetes, Fault, kubelet
from tests.unit.infrastructure.config_folder import ConfigFolder
from tests.unit.infrastructure.test_binding import CLUSTER

ENVIRONMENT, NAMESPACE = "local-docker", "shop"
PLUGIN = "client.authentication.k8s.io/v1"
T = TypeVar("T")


@pytest.fixture
def server() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def make(server: FakeKubernetes, tmp_path: Path) -> Iterator[Callable[..., Executor]]:
    made: list[Executor] = []
    kubeconfig = server.kubeconfig(tmp_path)

    def connected(identity: AgentIdentity = NOBODY, **more: Any) -> Executor:
        place = {"kubeconfig": str(kubeconfig), "namespaces": [NAMESPACE]}
        given = {**LIMITS, **place, "firstPause": "10ms"}
        context = ExecutorContext(ENVIRONMENT, 4, identity, lambda name: f"value of {name}")
        made.append(connect(Connection.model_validate({**given, **more}), context))
        return made[-1]

    yield connected
    for executor in made:
        executor.close()


def do(
    executor: Executor, wanted: Service, primitive: str, *, on: str | None = None, **given: Any
) -> PrimitiveResult:
    return executor.call(wanted, PrimitiveCall(primitive, given, on), timeout=20)


def once(look: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """What is seen when it holds at last."""
    limit = time.monotonic() + 15
    while not holds(found := look()):
        assert time.monotonic() < limit, found
        time.sleep(0.02)
    return found


def settled(executor: Executor, wanted: Service) -> ObservedService:
    return once(
        lambda: executor.look(wanted, timeout=10),
        lambda seen: (
            seen.workload is not None
            and seen.workload.settled
            and all(i.state is InstanceState.RUNNING for i in seen.instances)
        ),
    )


def by_hand(server: FakeKubernetes, edit: Callable[[Any], None], *, manager: str) -> None:
    server.store.change("deployments", NAMESPACE, "web", edit, manager=manager)


WEB = service("web", env={"LEVEL": "info"})


# ── field managers ──────────────────────────────────────────────────────────────


def test_an_autoscalers_number_is_not_fought_over(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make(takeOver=["kubectl-edit"])
    do(executor, WEB, "create")
    by_hand(server, lambda item: item["spec"].update(replicas=4), manager="hpa")
    with pytest.raises(FieldConflictError, match=r"hpa owns spec\.replicas"):
        do(executor, WEB, "scale", replicas=1)
    assert server.store.get("deployments", NAMESPACE, "web")["spec"]["replicas"] == 4
    # What is not about the number does not touch it.
    assert do(executor, WEB, "update_resources", memory="64Mi").changed
    assert server.store.get("deployments", NAMESPACE, "web")["spec"]["replicas"] == 4


def test_a_persons_change_is_taken_back_only_where_the_connection_says_so(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    do(make(), WEB, "create")

    def edit(item: Any) -> None:
        item["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "debug"

    by_hand(server, edit, manager="kubectl-edit")
    with pytest.raises(FieldConflictError, match="kubectl-edit owns"):
        do(make(), WEB, "recreate")
    assert do(make(takeOver=["kubectl-edit"]), WEB, "recreate").changed
    container = server.store.get("deployments", NAMESPACE, "web")["spec"]["template"]["spec"]
    assert container["containers"][0]["env"] == [{"name": "LEVEL", "value": "info"}]


def test_a_change_is_made_anew_when_the_object_changed_in_between(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, WEB, "create")
    server.faults.append(Fault(409, path="deployments/web", method="PATCH", times=2))
    assert do(executor, WEB, "scale", replicas=3).changed
    assert server.store.get("deployments", NAMESPACE, "web")["spec"]["replicas"] == 3


# ── secrets ─────────────────────────────────────────────────────────────────────


def test_a_secret_is_in_no_workload_and_a_changed_one_is_seen(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    wanted = service("web", env={"KEY": {"secret": "env:KEY"}, "A": "1"})
    executor = make()
    do(executor, wanted, "create")
    seen = settled(executor, wanted)
    assert seen.instances[0].spec.env == {"KEY": "value of env:KEY", "A": "1"}
    shown = str(server.store.all("deployments") + server.store.all("pods"))
    assert "value of env:KEY" not in shown
    kept = server.store.get("secrets", NAMESPACE, "web-uici-env")["data"]["KEY"]
    assert base64.b64decode(kept) == b"value of env:KEY"

    rotated = service("web", env={"KEY": {"secret": "env:NEW"}, "A": "1"})
    workload = executor.look(rotated, timeout=10).workload
    assert workload is not None
    assert workload.spec.env["KEY"] != "value of env:NEW"
    assert do(executor, rotated, "recreate").changed
    assert settled(executor, rotated).instances[0].spec.env["KEY"] == "value of env:NEW"
    assert not [asked for asked in server.requests if asked.path.endswith("/secrets")]


# ── faults of the server ────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_read_is_tried_again(
    server: FakeKubernetes, make: Callable[..., Executor], status: int
) -> None:
    executor = make()
    do(executor, WEB, "create")
    server.faults.append(Fault(status, method="GET", times=2))
    assert executor.look(WEB, timeout=10).workload is not None
    server.faults.append(Fault(status, method="GET", times=9))
    with pytest.raises(TemporaryError):
        executor.look(WEB, timeout=10)


def test_a_server_that_wants_a_long_pause_gets_it_or_a_temporary_error(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    server.faults.append(Fault(429, method="GET", headers={"Retry-After": "60"}))
    began = time.monotonic()
    with pytest.raises(TemporaryError):
        make().look(WEB, timeout=2)
    assert time.monotonic() - began < 2


def test_a_change_whose_answer_is_lost_has_an_unknown_outcome(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, WEB, "create")
    settled(executor, WEB)  # nobody else changes it now
    server.faults.append(Fault(500, path="deployments/web", method="PATCH", after=True))
    with pytest.raises(OutcomeUnknownError):
        do(executor, WEB, "scale", replicas=3)
    assert server.store.get("deployments", NAMESPACE, "web")["spec"]["replicas"] == 3
    assert not do(executor, WEB, "scale", replicas=3).changed


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"items": 3}', b'{"items": [{}]}'])
def test_an_answer_of_another_shape_is_never_nothing_there(
    server: FakeKubernetes, make: Callable[..., Executor], raw: bytes
) -> None:
    executor = make()
    do(executor, WEB, "create")
    server.faults.append(Fault(200, path="/pods", method="GET", raw=raw))
    with pytest.raises(TemporaryError, match="not as a Kubernetes API server"):
        executor.look(WEB, timeout=5)


def pods_of(**changes: object) -> bytes:
    metadata = {"name": "web-1", "namespace": NAMESPACE, "uid": "1", "labels": {"app": "web"}}
    pod = {"metadata": metadata | changes, "status": {"phase": "Pending"}}
    return json.dumps({"metadata": {}, "items": [pod]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        pods_of(ownerReferences=["x"]),
        pods_of(ownerReferences=5),
        pods_of(labels=["a"]),
        pods_of(uid=None),
        b'{"metadata": "abc", "items": []}',
        b'{"metadata": {}, "items": ["x"]}',
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_hostile_shapes_are_unknown_or_ignored_and_never_another_error(
    server: FakeKubernetes, make: Callable[..., Executor], raw: bytes, whole: bool
) -> None:
    """What gets out of an executor is one of our errors: anything else would end the run."""
    executor = make()
    do(executor, WEB, "create")
    server.faults.append(Fault(200, path="/pods", method="GET", raw=raw))
    with contextlib.suppress(TemporaryError):
        seen = executor.observe((WEB,), all_services=whole, timeout=5)
        assert set(seen.services) == {WEB.target}


@pytest.mark.parametrize("text", ["1e30000000", "1.2.3", "9" * 40, "Infinity"])
def test_a_quantity_that_is_none_is_refused_at_once(text: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        quantity(text)


def test_what_is_forbidden_says_which_right(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, WEB, "create")
    settled(executor, WEB)
    server.denied = {"delete pods"}
    with pytest.raises(PermanentError, match="cannot delete"):
        do(executor, WEB, "restart")
    missing = executor.missing_rights(["restart", "logs"], timeout=10)  # type: ignore[attr-defined]  # Authorised
    assert missing == ("delete pods in shop",)


# ── everything at once ──────────────────────────────────────────────────────────


def declared(number: int) -> Service:
    return service(f"s{number}", replicas=2)


def test_large_lists_are_paged_one_a_kind_and_one_that_expires_is_listed_anew(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make(pageSize=4)
    wanted = [declared(number) for number in range(6)]
    for each in wanted:
        do(executor, each, "create")
    for each in wanted:
        settled(executor, each)
    server.requests.clear()
    server.expire_after = 1
    seen = executor.observe(wanted, all_services=True, timeout=10)
    assert {len(found.instances) for found in seen.services.values()} == {2}
    assert all(found.workload is not None for found in seen.services.values())
    plain = [a.path.rpartition("/")[2] for a in server.requests if not a.one("continue")]
    assert set(plain) == {"deployments", "pods"}
    for found in seen.services.values():
        alone = executor.look(wanted[0], timeout=10)
        if found.target == alone.target:
            assert found == alone


def test_several_namespaces_and_a_list_across_the_cluster(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    other = service("web", binding={"namespace": "other"})
    for more in ({}, {"clusterWide": True}):
        executor = make(namespaces=[NAMESPACE, "other"], **more)
        do(executor, other, "create")
        settled(executor, other)
        seen = executor.observe((WEB, other, declared(1)), all_services=True, timeout=10)
        assert seen.services[other.target].workload is not None
    assert server.store.get("deployments", "other", "web")
    with pytest.raises(PermanentError, match=r"namespace other is not in `connection\.namespaces`"):
        make().look(other, timeout=5)


def test_contexts_of_one_kubeconfig_and_one_that_is_not_there(
    make: Callable[..., Executor],
) -> None:
    assert "v1.36" in make(context="other").check(timeout=5)
    with pytest.raises(PermanentError, match="connection"):
        make(context="nowhere").check(timeout=5)
    with pytest.raises(PermanentError):
        make(kubeconfig="/no/such/file").check(timeout=5)
    with pytest.raises(PermanentError, match="pod's own cluster"):
        make(kubeconfig=None).check(timeout=5)


# ── kinds ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_kinds_are_created_changed_and_rolled_back(
    make: Callable[..., Executor], kind: str
) -> None:
    wanted = service("web", binding={"kind": kind})
    executor = make()
    do(executor, wanted, "create")
    settled(executor, wanted)
    assert do(executor, wanted, "recreate", image="web:2").changed

    def images(seen: ObservedService) -> list[str | None]:
        return [instance.spec.image for instance in seen.instances]

    once(lambda: settled(executor, wanted), lambda seen: images(seen) == ["web:2"])
    assert do(executor, wanted, "rollback").changed
    once(lambda: settled(executor, wanted), lambda seen: images(seen) == ["web:1.0.0"])
    with pytest.raises(PermanentError, match="no earlier image"):
        do(executor, wanted, "rollback")
    assert do(executor, wanted, "restart", strategy="rolling").changed


def test_what_a_kind_can_not_do_is_refused(make: Callable[..., Executor]) -> None:
    daemon = service("web", binding={"kind": "DaemonSet"})
    executor = make()
    do(executor, daemon, "create")
    with pytest.raises(PermanentError, match="DaemonSet"):
        do(executor, daemon, "stop")
    with pytest.raises(PermanentError, match="DaemonSet"):
        do(executor, daemon, "scale", replicas=2)


def test_a_job_is_suspended_resumed_and_made_anew(make: Callable[..., Executor]) -> None:
    wanted = service("tidy", binding={"kind": "Job"})
    executor = make()
    do(executor, wanted, "create")
    before = once(lambda: executor.look(wanted, timeout=5), lambda seen: bool(seen.instances))
    assert before.workload is not None
    assert do(executor, wanted, "stop").changed
    once(lambda: executor.look(wanted, timeout=5), lambda seen: not seen.instances)
    assert do(executor, wanted, "start").changed
    once(lambda: executor.look(wanted, timeout=5), lambda seen: bool(seen.instances))
    assert do(executor, wanted, "recreate").changed
    after = executor.look(wanted, timeout=5)
    assert after.workload is not None
    assert after.workload.native.id != before.workload.native.id
    assert do(executor, wanted, "recreate", image="tidy:2", env={"B": "2"}).changed
    again = executor.look(wanted, timeout=5).workload
    assert again is not None
    assert (again.spec.image, again.spec.env) == ("tidy:2", {"B": "2"})
    with pytest.raises(PermanentError, match="no earlier revisions"):
        do(executor, wanted, "rollback")
    with pytest.raises(PermanentError, match="recreate it"):
        do(executor, wanted, "update_resources", memory="1Gi")


def test_a_cron_job_is_suspended_and_not_missed(make: Callable[..., Executor]) -> None:
    wanted = service(
        "nightly", binding={"kind": "CronJob"}, native={"workload": {"schedule": "0 3 * * *"}}
    )
    executor = make()
    do(executor, wanted, "create")
    seen = executor.look(wanted, timeout=5)
    assert seen.workload is not None
    assert (seen.workload.replicas, seen.workload.settled) == (None, True)
    assert seen.workload.native_config["workload"]["schedule"] == "0 3 * * *"
    assert do(executor, wanted, "stop").changed
    assert not do(executor, wanted, "stop").changed
    stopped = executor.look(wanted, timeout=5).workload
    assert stopped is not None
    assert stopped.replicas == 0


# ── troubles ────────────────────────────────────────────────────────────────────


def test_a_missing_image_and_a_program_that_is_not_there_keep_the_old_pods(
    make: Callable[..., Executor],
) -> None:
    executor = make()
    do(executor, WEB, "create")
    (old,) = settled(executor, WEB).instances
    do(executor, WEB, "recreate", image=kubelet.MISSING_IMAGE)
    seen = once(
        lambda: executor.look(WEB, timeout=5),
        lambda seen: any("ImagePullBackOff" in i.reason for i in seen.instances),
    )
    assert old.native.id in {i.native.id for i in seen.instances}
    with pytest.raises(DeadlineExceededError, match="ImagePullBackOff"):
        executor.call(WEB, PrimitiveCall("wait_healthy"), timeout=1)
    assert do(executor, WEB, "rollback").changed
    (back,) = settled(executor, WEB).instances
    assert back.native.id == old.native.id


def test_a_pod_without_a_node_says_why(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    server.controllers.unschedulable = True
    executor = make()
    do(executor, WEB, "create")
    seen = once(lambda: executor.look(WEB, timeout=5), lambda seen: bool(seen.instances))
    seen = once(lambda: executor.look(WEB, timeout=5), lambda s: bool(s.instances[0].reason))
    assert seen.instances[0].state is InstanceState.PENDING
    assert "Insufficient memory" in seen.instances[0].reason


def test_a_roll_out_that_nobody_gives_up_is_stuck_after_its_time(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    server.controllers.frozen = True  # pods are made, and never reported about
    executor = make(progressDeadline="1ms")
    wanted = service("web", binding={"kind": "StatefulSet"})
    do(executor, wanted, "create")
    seen = once(
        lambda: executor.look(wanted, timeout=5),
        lambda seen: seen.workload is not None and bool(seen.workload.reason),
    )
    assert seen.workload is not None
    assert "has not come up" in seen.workload.reason


def test_a_workload_that_is_removed_by_hand_is_missing_and_gone_in_mid_flight(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, WEB, "create")
    settled(executor, WEB)
    server.store.delete("deployments", NAMESPACE, "web")
    seen = executor.look(WEB, timeout=5)
    assert (seen.workload, seen.instances) == (None, ())
    with pytest.raises(NotFoundError, match="create it first"):
        do(executor, WEB, "restart")
    assert do(executor, WEB, "create").changed


# ── evidence ────────────────────────────────────────────────────────────────────


def test_logs_are_of_all_pods_and_of_the_container_before(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    wanted = service("web", replicas=2)
    executor = make()
    do(executor, wanted, "create")
    first, second = settled(executor, wanted).instances
    text = do(executor, wanted, "logs").output
    assert f"[{first.native.name}] ready" in text
    assert f"[{second.native.name}] ready" in text

    def kill(item: Any) -> None:
        item["metadata"].setdefault("annotations", {})[kubelet.KILLED] = "1"

    server.store.change("pods", NAMESPACE, first.native.name, kill, manager="person")
    once(lambda: executor.look(wanted, timeout=5), lambda s: s.instances[0].restart_count > 0)
    assert "before the crash" in do(executor, wanted, "logs", level="error").output
    previous = do(executor, wanted, "logs", previous=True).output
    assert "ready" not in previous
    with pytest.raises(PermanentError, match="stdout and stderr as one"):
        do(executor, wanted, "logs", source="stderr")


def test_use_of_resources_where_there_is_a_metrics_api(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    wanted = service("web", resources={"memory": "20Mi"})
    executor = make()
    do(executor, wanted, "create")
    settled(executor, wanted)
    (used,) = do(executor, wanted, "stats").output["instances"]
    assert (used["memory_bytes"], used["memory_share"], used["cpu_cores"]) == (
        10 * 2**20,
        0.5,
        0.013,
    )
    server.metrics = False
    assert "no metrics API" in do(executor, wanted, "stats").output["note"]


def test_events_are_of_the_target_and_not_of_its_namesakes(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, WEB, "create")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = [
        ("Pod", "web-5d4cf56db6-abcde", now, "BackOff"),
        ("Deployment", "web", now, "ScalingReplicaSet"),
        ("Pod", "web-1-5d4cf56db6-abcde", now, "NotOurs"),
        ("Deployment", "web-1", now, "NotOurs"),
        ("Pod", "web-5d4cf56db6-abcde", "2020-01-01T00:00:00Z", "LongAgo"),
    ]
    for number, (kind, name, moment, reason) in enumerate(about):
        event = {
            "metadata": {"name": f"e{number}", "namespace": NAMESPACE},
            "involvedObject": {"kind": kind, "name": name},
            "lastTimestamp": moment,
            "reason": reason,
        }
        server.store.create("events", event, manager="kubelet")
    found = do(executor, WEB, "events").output["events"]
    assert {event["action"] for event in found} == {"BackOff", "ScalingReplicaSet"}


def test_a_command_tells_its_exit_code_and_is_never_a_shell_line(
    make: Callable[..., Executor],
) -> None:
    executor = make()
    do(executor, WEB, "create")
    settled(executor, WEB)
    failed = do(executor, WEB, "exec", argv=["false"]).output
    assert (failed["exit_code"], failed["stderr"]) == (1, "went wrong\n")
    for name in ("user", "workdir"):
        with pytest.raises(PermanentError, match=name):
            do(executor, WEB, "exec", argv=["echo"], **{name: "x"})


# ── self-exclusion ──────────────────────────────────────────────────────────────

AGENT = AgentIdentity(agent="agent", names=frozenset({"the-agent"}))
CHANGES: dict[str, dict[str, Any]] = {
    "start": {},
    "stop": {},
    "restart": {},
    "create": {},
    "recreate": {},
    "scale": {"replicas": 0},
    "update_resources": {"memory": "16Mi"},
    "rollback": {},
    "exec": {"argv": ["echo"]},
}


def refused(executor: Executor, wanted: Service, server: FakeKubernetes) -> None:
    before = server.store.version
    server.controllers.frozen = True
    for primitive, arguments in CHANGES.items():
        with pytest.raises(ProtectedObjectError):
            do(executor, wanted, primitive, **arguments)
    assert server.store.version == before
    server.controllers.frozen = False


def test_the_agents_pod_is_refused_by_uid_by_container_and_with_its_controller(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    do(make(), WEB, "create")
    settled(make(), WEB)
    (pod,) = server.store.all("pods")
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    controller = server.store.get("deployments", NAMESPACE, "web")["metadata"]["uid"]
    for known in (pod["metadata"]["uid"], container, controller):
        refused(make(replace(AGENT, native_ids=frozenset({known}))), WEB, server)


def test_the_agents_namespace_is_its_own(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    do(make(), WEB, "create")
    settled(make(), WEB)
    inside = replace(AGENT, native_ids=frozenset({place_id("namespace", NAMESPACE)}))
    refused(make(inside), WEB, server)
    assert do(make(inside), WEB, "inspect").output["workload"]["name"] == "web"
    assert do(make(inside, agentNamespace="shared"), WEB, "scale", replicas=2).changed
    namesake = replace(AGENT, native_ids=frozenset({place_id("namespace", "sho")}))
    assert do(make(namesake), WEB, "scale", replicas=1).changed


def test_an_alias_by_binding_does_not_get_round_protection(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    do(make(), service("the-agent"), "create")
    settled(make(), service("the-agent"))
    alias = service("harmless", binding={"name": "the-agent"})
    refused(make(AGENT), alias, server)


def test_a_pod_on_its_way_out_may_still_be_the_agent(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    do(make(), WEB, "create")
    settled(make(), WEB)
    (pod,) = server.store.all("pods")
    server.controllers.frozen = True

    def end(item: Any) -> None:
        item["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"

    server.store.change("pods", NAMESPACE, pod["metadata"]["name"], end, manager="person")
    known = replace(AGENT, native_ids=frozenset({pod["metadata"]["uid"]}))
    with pytest.raises(ProtectedObjectError):
        do(make(known), WEB, "scale", replicas=0)


def test_the_doctor_names_missing_rights(
    server: FakeKubernetes, make: Callable[..., Executor], tmp_path: Path
) -> None:
    make()  # writes the kubeconfig
    folder = ConfigFolder.make(tmp_path / "config")
    folder.append("environments", CLUSTER.replace("/nowhere", str(tmp_path / "kubeconfig")))
    config = folder.load()

    def told() -> Finding:
        (found,) = (
            f for f in _engines(config, (), SecretResolver()) if f.name == "cluster: permissions"
        )
        return found

    assert told().level is Level.OK
    server.denied = {"patch deployments"}
    assert told().level is Level.ERROR
    assert "patch deployments.apps in shop" in told().detail


def test_an_agent_that_can_not_tell_its_own_pod_changes_nothing(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    do(make(), WEB, "create")
    settled(make(), WEB)
    blind = make(replace(AGENT, native_ids=frozenset({UNKNOWN_POD})))
    refused(blind, WEB, server)
    assert do(blind, WEB, "inspect").output["workload"]["name"] == "web"
    with pytest.raises(ProtectedObjectError, match="UICI_POD_UID by the downward API"):
        blind.check(timeout=5)  # the doctor's


@pytest.mark.parametrize("kind", ["initContainerStatuses", "ephemeralContainerStatuses"])
def test_the_agent_may_be_any_container_of_its_pod(
    server: FakeKubernetes, make: Callable[..., Executor], kind: str
) -> None:
    do(make(), WEB, "create")
    settled(make(), WEB)
    server.controllers.frozen = True
    (pod,) = server.store.all("pods")
    entry = {"name": "beside", "containerID": f"containerd://{'b' * 64}"}
    status = {**pod["status"], kind: [entry]}
    server.store.status("pods", NAMESPACE, pod["metadata"]["name"], status)
    refused(make(replace(AGENT, native_ids=frozenset({"b" * 64}))), WEB, server)


# ── Jobs ────────────────────────────────────────────────────────────────────────

TIDY = service("tidy", binding={"kind": "Job"}, env={"KEY": {"secret": "env:KEY"}})
HAND_MADE: dict[str, Any] = {
    "metadata": {"name": "tidy", "namespace": NAMESPACE, "labels": {"team": "night"}},
    "spec": {
        "backoffLimit": 2,
        "template": {
            "metadata": {"labels": {"team": "night"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "cleaner",
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
                "containers": [
                    {
                        "name": "tidy",
                        "image": "tidy:0",
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    },
                    {"name": "proxy", "image": "proxy:1"},
                ],
            },
        },
    },
}


def adopted_job(server: FakeKubernetes) -> Any:
    server.store.create("jobs", HAND_MADE, manager="kubectl-create")
    return once(lambda: server.store.get("jobs", NAMESPACE, "tidy"), lambda job: "status" in job)


def test_a_job_made_anew_keeps_what_others_gave_it(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    before = adopted_job(server)
    assert do(make(), TIDY, "recreate").changed
    after = server.store.get("jobs", NAMESPACE, "tidy")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["metadata"]["labels"]["team"] == "night"
    assert after["spec"]["backoffLimit"] == 2
    pod = after["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["volumes"][0]["name"]) == ("cleaner", "data")
    main, proxy = pod["containers"]
    assert (main["image"], main["volumeMounts"][0]["mountPath"]) == ("tidy:1.0.0", "/data")
    assert proxy["image"] == "proxy:1"
    seen = once(lambda: make().look(TIDY, timeout=5), lambda seen: bool(seen.instances))
    assert seen.instances[0].spec.image == "tidy:1.0.0"
    assert [job["metadata"]["name"] for job in server.store.all("jobs")] == ["tidy"]


def test_a_job_that_would_not_be_accepted_is_not_deleted(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    before = adopted_job(server)
    with pytest.raises(PermanentError, match="invalid"):
        do(make(), service("tidy", binding={"kind": "Job"}, native=REFUSED), "recreate")
    kept = server.store.get("jobs", NAMESPACE, "tidy")
    assert kept["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_job_that_is_deleted_and_not_made_is_no_failure_without_effect(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    adopted_job(server)
    server.faults.append(Fault(403, path="jobs/tidy", method="PATCH", skip=1))
    with pytest.raises(OutcomeUnknownError, match="is deleted and not made again, then: "):
        do(make(), TIDY, "recreate")
    assert not server.store.all("jobs")


def test_what_passes_does_not_leave_a_job_deleted(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    adopted_job(server)
    server.faults.append(Fault(503, path="jobs/tidy", method="PATCH", skip=1, times=2))
    assert do(make(), TIDY, "recreate").changed
    assert server.store.get("jobs", NAMESPACE, "tidy")


def test_a_job_that_failed_is_a_drift(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, TIDY, "create")
    server.controllers.frozen = True
    status = {
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }
            for kind in ("FailureTarget", "Failed")
        ],
        "failed": 3,
    }
    server.store.status("jobs", NAMESPACE, "tidy", status)
    workload = executor.look(TIDY, timeout=5).workload
    assert workload is not None
    assert not workload.settled
    (drift,) = roll_out_drifts(TIDY, workload)
    assert (drift.kind, drift.observed) == (
        DriftKind.UNHEALTHY,
        "BackoffLimitExceeded: Job has reached the specified backoff limit",
    )
    with pytest.raises(PermanentError, match="has failed: BackoffLimitExceeded"):
        do(executor, TIDY, "wait_healthy")


# ── secrets and their workloads ─────────────────────────────────────────────────

REFUSED = {"container": {"resources": {"limits": {"memory": "no quantity"}}}}


@pytest.mark.parametrize("there", [True, False])
def test_a_workload_that_is_not_accepted_leaves_its_secret_as_it_was(
    server: FakeKubernetes, make: Callable[..., Executor], there: bool
) -> None:
    executor = make()
    if there:
        do(executor, service("web", env={"KEY": {"secret": "env:KEY"}}), "create")
        settled(executor, WEB)
    before = server.store.all("secrets")
    bad = service("web", env={"KEY": {"secret": "env:NEW"}}, native=REFUSED)
    with pytest.raises(PermanentError, match="invalid"):
        do(executor, bad, "recreate" if there else "create")
    assert server.store.all("secrets") == before


def test_a_secret_that_is_written_before_its_workload_fails_is_told(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, service("web", env={"KEY": {"secret": "env:KEY"}}), "create")
    settled(executor, WEB)
    server.faults.append(Fault(403, path="deployments/web", method="PATCH", skip=1))
    with pytest.raises(OutcomeUnknownError, match="Secret shop/web-uici-env is written, then: "):
        do(executor, service("web", env={"KEY": {"secret": "env:NEW"}}), "recreate")
    kept = server.store.get("secrets", NAMESPACE, "web-uici-env")["data"]["KEY"]
    assert base64.b64decode(kept) == b"value of env:NEW"


# ── what nobody declares any more ───────────────────────────────────────────────


def test_what_is_left_of_a_kind_that_no_service_has_any_more_is_seen(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make(kinds=["Deployment", "StatefulSet"], pageSize=1)
    do(executor, WEB, "create")
    for name in ("a", "b", "c"):
        do(executor, service(name, binding={"kind": "StatefulSet"}), "create")
    server.expire_after = 1  # and then everything is told again
    seen = executor.observe([WEB], all_services=True, timeout=10)
    assert [(o.kind, o.name) for o in seen.orphans] == [("StatefulSet", n) for n in "abc"]
    assert not executor.observe([WEB] * 3, all_services=False, timeout=10).orphans


# ── rights ──────────────────────────────────────────────────────────────────────


def test_lists_across_the_cluster_take_the_right_in_all_namespaces(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    server.denied_across = {"list pods"}
    assert missing_of(make()) == ()
    assert missing_of(make(clusterWide=True)) == ("list pods in all namespaces",)


def missing_of(executor: Executor) -> tuple[str, ...]:
    assert isinstance(executor, Authorised)
    return executor.missing_rights(["events", "restart"], timeout=10)


# ── credentials ─────────────────────────────────────────────────────────────────


def test_a_credentials_plugin_that_sleeps_keeps_nobody_beyond_their_time(
    server: FakeKubernetes, make: Callable[..., Executor], tmp_path: Path
) -> None:
    answer = {"kind": "ExecCredential", "apiVersion": PLUGIN, "status": {"token": "late"}}
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\nsleep 2\necho '{json.dumps(answer)}'\n")
    plugin.chmod(0o700)
    found = json.loads(server.kubeconfig(tmp_path).read_text())
    for user in found["users"]:
        user["user"] = {"exec": {"apiVersion": PLUGIN, "command": str(plugin), "args": []}}
    path = tmp_path / "with-plugin"
    path.write_text(json.dumps(found))
    executor = make(kubeconfig=str(path))
    for _ in range(2):  # the second waits for the first one's plugin
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError, match="credentials"):
            executor.look(WEB, timeout=0.3)
        assert time.monotonic() - began < 1
    with pytest.raises(DeadlineExceededError, match="credentials"):
        executor.call(WEB, PrimitiveCall("create"), timeout=0.2)
    # What it says in the end is used by who still waits, and it is not asked again.
    assert executor.look(WEB, timeout=10).workload is None


# ── rolling ─────────────────────────────────────────────────────────────────────


def test_a_pod_that_is_being_replaced_may_crash(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    """The old pod is there until the new one is ready: waiting is not for the old one."""
    executor = make()
    do(executor, WEB, "create")
    (old,) = settled(executor, WEB).instances
    crash(server, old.native.name)
    once(lambda: executor.look(WEB, timeout=5), crashing)
    with pytest.raises(PermanentError, match="CrashLoopBackOff"):
        do(executor, WEB, "wait_healthy")
    server.controllers.frozen = True
    do(executor, WEB, "recreate", image="web:2")
    both = once(lambda: executor.look(WEB, timeout=5), lambda seen: len(seen.instances) == 2)
    assert old.native.id in {i.native.id for i in both.instances}
    with pytest.raises(DeadlineExceededError):  # not: it crashes
        executor.call(WEB, PrimitiveCall("wait_healthy"), timeout=1)
    server.controllers.frozen = False
    do(executor, WEB, "wait_healthy")
    (new,) = settled(executor, WEB).instances
    assert new.spec.image == "web:2"


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_pod_of_an_earlier_revision_is_not_judged(
    server: FakeKubernetes, make: Callable[..., Executor], kind: str
) -> None:
    executor = make()
    wanted = service(
        "web",
        binding={"kind": kind},
        native={"workload": {"updateStrategy": {"type": "OnDelete"}}},
    )
    do(executor, wanted, "create")
    (old,) = settled(executor, wanted).instances
    crash(server, old.native.name)
    once(lambda: executor.look(wanted, timeout=5), crashing)
    with pytest.raises(PermanentError, match="CrashLoopBackOff"):
        do(executor, wanted, "wait_healthy")

    def edit(item: Any) -> None:
        item["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"

    server.store.change(f"{kind.lower()}s", NAMESPACE, "web", edit, manager="person")
    with pytest.raises(DeadlineExceededError, match="not rolled out"):
        executor.call(wanted, PrimitiveCall("wait_healthy"), timeout=1)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
@pytest.mark.parametrize(
    ("primitive", "arguments"),
    [
        ("restart", {"strategy": "rolling"}),
        ("recreate", {}),
        ("recreate", {"image": "web:2"}),
        ("update_resources", {"memory": "64Mi"}),
        ("rollback", {}),
    ],
)
def test_what_would_replace_no_pod_is_refused(
    server: FakeKubernetes,
    make: Callable[..., Executor],
    kind: str,
    primitive: str,
    arguments: dict[str, Any],
) -> None:
    executor = make()
    wanted = service("web", binding={"kind": kind})
    do(executor, wanted, "create")
    (old,) = settled(executor, wanted).instances
    plural = f"{kind.lower()}s"

    def edit(item: Any) -> None:
        item["spec"]["updateStrategy"] = {"type": "OnDelete"}

    server.store.change(plural, NAMESPACE, "web", edit, manager="person")
    before = server.store.get(plural, NAMESPACE, "web")["spec"]
    with pytest.raises(PermanentError, match="updateStrategy OnDelete"):
        do(executor, wanted, primitive, **arguments)
    assert server.store.get(plural, NAMESPACE, "web")["spec"] == before
    assert do(executor, wanted, "restart", strategy="force").changed
    (new,) = once(
        lambda: settled(executor, wanted),
        lambda seen: bool(seen.instances) and seen.instances[0].native.id != old.native.id,
    ).instances
    assert new.state is InstanceState.RUNNING


def crash(server: FakeKubernetes, pod: str) -> None:
    def kill(item: Any) -> None:
        item["metadata"].setdefault("annotations", {})[kubelet.KILLED] = "1"

    server.store.change("pods", NAMESPACE, pod, kill, manager="person")


def crashing(seen: ObservedService) -> bool:
    return any(i.state is InstanceState.RESTARTING for i in seen.instances)


def test_a_rolling_restart_replaces_every_pod_and_keeps_the_number(
    make: Callable[..., Executor],
) -> None:
    wanted = service("web", replicas=3)
    executor = make()
    do(executor, wanted, "create")
    before = {i.native.id for i in settled(executor, wanted).instances}
    assert do(executor, wanted, "restart", strategy="rolling").changed
    do(executor, wanted, "wait_healthy")
    after = {i.native.id for i in settled(executor, wanted).instances}
    assert len(after) == 3
    assert not before & after


def test_a_stop_is_remembered(make: Callable[..., Executor]) -> None:
    wanted = service("web", replicas=3)
    executor = make()
    do(executor, wanted, "create")
    do(executor, wanted, "scale", replicas=2)
    do(executor, wanted, "stop")
    assert not do(executor, wanted, "create").changed  # stopped on purpose
    assert do(executor, wanted, "start").changed
    assert len(once(lambda: settled(executor, wanted), lambda s: bool(s.instances)).instances) == 2
