"""Services that an engine keeps by an object of its own: what differs, and what only rolls."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flows.compare import Comparison, compare
from flows.comparison.drift import HealthStatus, Sync
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import (
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
    Workload,
)
from infrastructure.service import Service
from tests.builders import NOW, comparing, instance_of, observation, service, services

WEB = service("web", replicas=2, env={"A": "1"})


def kept(wanted: Service = WEB, **changes: Any) -> Workload:
    native = NativeObject("Deployment", "d" * 36, wanted.metadata.name)
    spec = instance_of(wanted).spec
    spec = replace(spec, **{k: changes.pop(k) for k in list(changes) if hasattr(spec, k)})
    values: dict[str, Any] = {"native": native, "replicas": wanted.spec.replicas, "spec": spec}
    return Workload(**{**values, **changes})


def judged(
    workload: Workload | None, *instances: ObservedInstance, wanted: Service = WEB
) -> Comparison:
    seen = ObservedService(wanted.target, instances, workload)
    return compare(comparing(services(wanted)), observation([seen]), now=NOW)


def both(**changes: Any) -> tuple[ObservedInstance, ...]:
    return instance_of(WEB, 0, **changes), instance_of(WEB, 1, **changes)


def kinds(found: Comparison) -> list[DriftKind]:
    return [drift.kind for drift in found.drifts]


def test_as_declared_is_no_drift() -> None:
    found = judged(kept(), *both())
    assert found.drifts == ()
    assert found.states[WEB.target].health is HealthStatus.HEALTHY


def test_config_is_judged_by_the_workload_and_not_by_its_pods() -> None:
    rolling = judged(kept(settled=False), *both(image="web:0.9.0"))
    assert rolling.drifts == ()
    assert rolling.states[WEB.target].health is HealthStatus.PROGRESSING
    assert rolling.states[WEB.target].reason == "RollingOut"
    wrong = judged(kept(image="web:0.9.0"), *both())
    (drift,) = wrong.drifts
    assert (drift.kind, drift.field, drift.instance) == (DriftKind.CONFIG_DRIFT, "/image", None)
    assert wrong.states[WEB.target].sync is Sync.DRIFTED


def test_missing_is_what_has_neither_instances_nor_workload() -> None:
    assert kinds(judged(None)) == [DriftKind.MISSING]
    assert kinds(judged(kept(settled=False))) == []  # its pods are being made


def test_scale_is_what_the_workload_is_asked_for() -> None:
    assert kinds(judged(kept(replicas=3), *both())) == [DriftKind.SCALE_DRIFT]
    assert kinds(judged(kept(settled=False), both()[0])) == []  # one is being replaced
    assert kinds(judged(kept(replicas=None), both()[0])) == []  # it has no such number
    (drift,) = judged(kept(replicas=0)).drifts
    assert (drift.kind, drift.field) == (DriftKind.STOPPED, "/replicas")


def test_replicas_that_an_autoscaler_owns_are_no_drift() -> None:
    wanted = service("web", replicas=2, ignoreDifferences=["/replicas"])
    for replicas in (0, 5):
        assert judged(kept(wanted, replicas=replicas), wanted=wanted).drifts == ()


def test_a_roll_out_that_was_given_up_is_unhealthy_with_the_reason() -> None:
    stuck = kept(settled=False, reason="ProgressDeadlineExceeded: no progress")
    (drift,) = judged(stuck, *both()).drifts
    assert drift.kind is DriftKind.UNHEALTHY
    assert "ProgressDeadlineExceeded" in drift.message


@pytest.mark.parametrize(
    ("state", "reason", "kind"),
    [
        (InstanceState.RESTARTING, "CrashLoopBackOff: back-off", DriftKind.CRASH_LOOPING),
        (InstanceState.PENDING, "ImagePullBackOff: no such image", DriftKind.STOPPED),
        (InstanceState.PENDING, "Unschedulable: no node", DriftKind.STOPPED),
    ],
)
def test_a_pod_in_trouble_is_a_drift_with_its_reason(
    state: InstanceState, reason: str, kind: DriftKind
) -> None:
    ill = instance_of(WEB, 1, state=state, reason=reason, restart_count=5)
    (drift,) = judged(kept(settled=False), both()[0], ill).drifts
    assert drift.kind is kind
    assert reason in drift.message


def test_out_of_memory_is_said_so() -> None:
    ill = instance_of(WEB, 1, state=InstanceState.RESTARTING, oom_killed=True, restart_count=5)
    (drift,) = judged(kept(settled=False), both()[0], ill).drifts
    assert "too much memory" in drift.message


def test_a_pod_that_is_merely_not_up_yet_is_no_drift_of_a_roll_out() -> None:
    coming = instance_of(WEB, 1, state=InstanceState.PENDING)
    assert judged(kept(settled=False), both()[0], coming).drifts == ()
    # Nothing is rolled out, and one is down all the same.
    assert kinds(judged(kept(), both()[0], coming)) == [DriftKind.STOPPED]


def test_a_pending_pod_has_the_grace_of_what_is_stopped() -> None:
    wanted = service("web")
    late = instance_of(
        wanted,
        state=InstanceState.PENDING,
        reason="Unschedulable",
        started_at=NOW - timedelta(seconds=5),
    )
    seen = ObservedService(wanted.target, (late,), kept(wanted, settled=False))
    given = comparing(services(wanted))
    grace = given.settings.grace.model_copy(update={"stopped": timedelta(seconds=30)})
    given = replace(given, settings=given.settings.model_copy(update={"grace": grace}))
    found = compare(given, observation([seen]), now=NOW)
    assert found.drifts == ()
    assert [drift.kind for drift in found.pending] == [DriftKind.STOPPED]


def test_native_lists_are_compared_member_by_member() -> None:
    wanted = service("web", native={"pod": {"volumes": [{"name": "data"}]}})
    config = {"pod": {"volumes": [{"name": "data", "emptyDir": {}}]}}
    same = kept(wanted, native_config=config)
    assert judged(same, instance_of(wanted), wanted=wanted).drifts == ()
    config = {"pod": {"volumes": [{"name": "other"}]}}
    (drift,) = judged(kept(wanted, native_config=config), instance_of(wanted), wanted=wanted).drifts
    assert drift.field == "/native/pod/volumes/0/name"
