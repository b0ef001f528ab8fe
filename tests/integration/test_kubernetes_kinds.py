"""Which kinds a cluster has and shows: desired state says which are needed, and one that is
missing or forbidden blinds nobody but the services that are bound to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.contract import Executor, ExecutorContext
from executors.kubernetes import Connection, connect
from executors.kubernetes.errors import UnservedError
from flows.command_line.doctor import _engines
from flows.command_line.finding import Finding, Level
from flows.command_line.import_kubernetes import import_kubernetes
from flows.command_line.rbac import manifest
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import PermanentError, TemporaryError
from infrastructure.operations import PrimitiveCall
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from tests.builders import service
from tests.fakes.engine import NOBODY
from tests.fakes.kubernetes_server import LIMITS, FakeKubernetes, Fault, kubelet
from tests.unit.infrastructure.config_folder import ConfigFolder
from tests.unit.infrastructure.test_binding import CLUSTER

NAMESPACE = "shop"
WEB = service("web")
LEDGER = service("ledger", binding={"kind": "StatefulSet"})
NIGHTLY = service("nightly", binding={"kind": "CronJob"})
EVERY = [WEB, LEDGER, NIGHTLY]


@pytest.fixture
def server() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def make(server: FakeKubernetes, tmp_path: Path) -> Iterator[Callable[..., Executor]]:
    made: list[Executor] = []
    kubeconfig = server.kubeconfig(tmp_path)

    def connected(**more: Any) -> Executor:
        place = {"kubeconfig": str(kubeconfig), "namespaces": [NAMESPACE]}
        given = Connection.model_validate({**LIMITS, **place, "firstPause": "10ms", **more})
        made.append(connect(given, ExecutorContext("local-docker", 4, NOBODY, str)))
        return made[-1]

    yield connected
    for executor in made:
        executor.close()


@pytest.fixture
def config(server: FakeKubernetes, tmp_path: Path) -> UniversalConfig:
    folder = ConfigFolder.make(tmp_path / "config")
    kubeconfig = server.kubeconfig(tmp_path)
    folder.append("environments", CLUSTER.replace("/nowhere", str(kubeconfig)))
    return folder.load()


def do(executor: Executor, wanted: Service, primitive: str, **given: Any) -> Any:
    return executor.call(wanted, PrimitiveCall(primitive, given, None), timeout=20).output


def in_cluster(wanted: Service) -> Service:
    metadata = wanted.metadata.model_copy(update={"environment": "cluster"})
    return wanted.model_copy(update={"metadata": metadata})


# ── what is not there, or not allowed ───────────────────────────────────────────


@pytest.mark.parametrize("cause", ["not served", "forbidden"])
@pytest.mark.parametrize("asked", [EVERY, EVERY[1:]])
def test_only_what_is_bound_to_a_kind_that_cant_be_listed_is_unknown(
    server: FakeKubernetes, make: Callable[..., Executor], cause: str, asked: list[Service]
) -> None:
    if cause == "forbidden":
        server.denied = {"list cronjobs", "get cronjobs"}
    else:
        server.unserved = {"cronjobs"}
    seen = make().observe(asked, all_services=len(asked) == 3, timeout=10)
    assert seen.services.keys() == {each.target for each in asked} - {NIGHTLY.target}
    assert seen.unseen.keys() == {NIGHTLY.target}


def test_a_kind_that_is_only_looked_through_for_strays_blinds_nobody(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    server.unserved = {"cronjobs"}
    executor = make(kinds=["Deployment", "CronJob"])
    seen = executor.observe([WEB], all_services=True, timeout=10)
    assert seen.services.keys() == {WEB.target}
    assert not seen.unseen


def test_an_unserved_kind_is_not_an_object_that_is_missing(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    """Nothing would be made of it, again and again."""
    server.unserved = {"cronjobs"}
    with pytest.raises(UnservedError, match="could not find the requested resource"):
        make().look(NIGHTLY, timeout=10)
    with pytest.raises(UnservedError):
        do(make(), NIGHTLY, "create")


def test_where_no_kind_can_be_listed_the_engine_does_not_answer(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    server.denied = {"list deployments", "get deployments"}
    with pytest.raises(PermanentError, match="grant it"):
        make().observe([WEB], all_services=True, timeout=10)


# ── the kinds come from desired state ───────────────────────────────────────────


def test_the_doctor_asks_about_the_kinds_that_services_are_bound_to(
    server: FakeKubernetes, config: UniversalConfig
) -> None:
    def told(name: str, *services: Service) -> Finding:
        here = [in_cluster(each) for each in services]
        (found,) = (
            f for f in _engines(config, here, SecretResolver()) if f.name == f"cluster: {name}"
        )
        return found

    assert told("permissions", *EVERY).level is Level.OK
    assert told("kinds", *EVERY).level is Level.OK
    server.denied = {"list statefulsets"}
    assert told("permissions", WEB).level is Level.OK
    refused = told("permissions", WEB, LEDGER)
    assert refused.level is Level.ERROR
    assert "list statefulsets.apps in shop" in refused.detail
    server.unserved = {"cronjobs"}
    lacking = told("kinds", *EVERY)
    assert lacking.level is Level.ERROR
    assert "no CronJob in batch/v1, as Kubernetes has it from 1.21 on" in lacking.detail


def test_roles_hold_the_kinds_that_services_are_bound_to(config: UniversalConfig) -> None:
    def plurals(*services: Service) -> set[str]:
        text = manifest(config, "cluster", "ops/agent", [in_cluster(s) for s in services])
        return {p for p in ("deployments", "statefulsets", "cronjobs") if f"- {p}" in text}

    assert plurals() == {"deployments"}
    assert plurals(LEDGER) == {"statefulsets"}
    assert plurals(*EVERY) == {"deployments", "statefulsets", "cronjobs"}


# ── what an import can't take along ─────────────────────────────────────────────


def test_an_import_names_what_it_does_not_take(
    server: FakeKubernetes, config: UniversalConfig
) -> None:
    template = {
        "spec": {"containers": [{"name": "main", "image": "a:1"}], "restartPolicy": "Never"}
    }
    job = {"spec": {"template": template}}
    for plural, name, spec in (
        ("jobs", "once", job["spec"]),
        ("cronjobs", "nightly", {"schedule": "@daily", "jobTemplate": job}),
    ):
        item = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
        server.store.create(plural, item, manager="kubectl")
    found = import_kubernetes(config, "cluster", NOBODY)
    told = sorted(sentence.partition(":")[0] for sentence in found.left_out)
    assert told == ["CronJob shop/nightly", "Job shop/once"]
    server.unserved = {"cronjobs"}
    (unread,) = (s for s in import_kubernetes(config, "cluster", NOBODY).left_out if "every" in s)
    assert unread.startswith("every CronJob: ")


# ── a command that never ran, pods that say nothing ─────────────────────────────


def test_a_refusal_before_the_upgrade_has_done_nothing(
    server: FakeKubernetes, make: Callable[..., Executor]
) -> None:
    executor = make()
    do(executor, WEB, "create")
    do(executor, WEB, "wait_healthy")
    said = b'{"kind":"Status","message":"error dialing backend: connection refused","code":500}'
    server.faults.append(Fault(500, "/exec", raw=said))
    with pytest.raises(TemporaryError) as caught:
        do(executor, WEB, "exec", argv=["touch", "/x"])
    assert str(caught.value).endswith(": error dialing backend: connection refused")
    assert server.files == {}


def test_pods_that_have_nothing_to_tell_say_why(make: Callable[..., Executor]) -> None:
    broken = service("web", image=kubelet.MISSING_IMAGE)
    executor = make()
    do(executor, broken, "create")
    limit = time.monotonic() + 15
    while "ImagePullBackOff" not in (output := do(executor, broken, "logs")):
        assert time.monotonic() < limit, output
        time.sleep(0.05)
    assert "[no lines: web-" in output
    assert "is pending: " in output
    events = do(executor, broken, "events")
    if not events["events"]:
        assert "is pending" in events["note"]
