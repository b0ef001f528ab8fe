"""What the loop makes of an instance pool in each of its lifecycle states."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from executors.oci.answers import Instance, Pool
from executors.oci.spec import observed_machine, observed_pool
from flows.comparison.drift import HealthStatus
from flows.comparison.target_judgement import TargetFacts, judge_target
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import ObservedService
from infrastructure.service import Service
from tests.builders import compare_settings

IMAGE = "ocid1.image.oc1.phx.aaaa"
SERVICE = Service.model_validate(
    {
        "apiVersion": "uici/v1",
        "kind": "Service",
        "metadata": {"name": "web", "environment": "cloud"},
        "spec": {"image": IMAGE, "replicas": 2, "binding": {"kind": "InstancePool"}},
    }
)
W, S = HealthStatus, DriftKind


@pytest.mark.parametrize(
    ("pool_state", "member_state", "settled", "health", "kinds"),
    [
        ("RUNNING", "RUNNING", True, W.HEALTHY, set()),
        ("PROVISIONING", "PROVISIONING", False, W.PROGRESSING, set()),
        ("SCALING", "PROVISIONING", False, W.PROGRESSING, set()),
        ("SCALING", "RUNNING", False, W.PROGRESSING, set()),
        ("STARTING", "STARTING", False, W.PROGRESSING, set()),
        ("STARTING", "RUNNING", False, W.PROGRESSING, set()),
        ("STOPPING", "RUNNING", False, W.PROGRESSING, set()),
        ("TERMINATING", "RUNNING", False, W.PROGRESSING, set()),
        ("STOPPED", "STOPPED", True, W.DEGRADED, {S.STOPPED, S.UNHEALTHY}),
        ("TERMINATED", "RUNNING", True, W.DEGRADED, {S.UNHEALTHY}),
        # While the pool is at work, what really is down is a drift all the same.
        ("SCALING", "STOPPED", False, W.DEGRADED, {S.STOPPED}),
    ],
)
def test_a_pool_at_work_is_not_called_broken(
    pool_state: str, member_state: str, settled: bool, health: HealthStatus, kinds: set[DriftKind]
) -> None:
    now = datetime.now(UTC)
    pool = Pool(id="ocid1.instancepool.a", display_name="web", lifecycle_state=pool_state, size=2)
    workload = observed_pool(pool, None)
    other = Instance(
        id="i2",
        display_name="web-2",
        lifecycle_state="RUNNING",
        time_created=now - timedelta(days=1),
    )
    one = replace(other, id="i1", lifecycle_state=member_state)
    seen = tuple(observed_machine(i, address=None, keep_native=False) for i in (one, other))
    assert workload.settled is settled
    assert bool(workload.reason) is (pool_state in ("STOPPED", "TERMINATED"))
    judged = judge_target(
        SERVICE,
        TargetFacts(engine=ObservedService(SERVICE.target, seen, workload=workload)),
        settings=compare_settings(),
        secrets={},
        now=now,
    )
    assert {drift.kind for drift in (*judged.drifts, *judged.pending)} == kinds
    assert judged.state.health is health
