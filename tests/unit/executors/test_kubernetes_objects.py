"""Kubernetes' objects in universal words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from executors.kubernetes.binding import Place, WorkloadKind
from executors.kubernetes.objects import container_of, observed_spec, quantity
from executors.kubernetes.pods import belongs_to, is_instance, observed_pod
from executors.kubernetes.reader import counts, pod_keys, selector_text
from executors.kubernetes.secrets import ANOTHER, FINGERPRINTS, fingerprints
from executors.kubernetes.workloads import roll_out
from infrastructure.observed import EngineHealth, InstanceState, ObservedInstance, ObservedSpec

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PLACE = Place(WorkloadKind.DEPLOYMENT, "shop", "web", None)


def moment(*, ago: float) -> str:
    return (NOW - timedelta(seconds=ago)).isoformat()


def pod(entry: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    statuses = [{"name": "web", **entry}] if entry else []
    return {
        "metadata": {
            "name": "web-abc-x",
            "namespace": "shop",
            "uid": "u-1",
            "creationTimestamp": moment(ago=100),
            "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "web-abc", "uid": "r", "controller": True}
            ],
        },
        "spec": {"containers": [{"name": "web", "image": "web:1"}], "restartPolicy": "Always"},
        "status": {"phase": "Pending", "containerStatuses": statuses, **status},
    }


def seen(item: dict[str, Any]) -> ObservedInstance:
    return observed_pod(item, PLACE, spec=ObservedSpec(), now=NOW)


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": moment(ago=5)}}


def test_a_crash_loop_is_restarting_with_the_reason_of_its_end() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    found = seen(pod({"state": waiting, "lastState": ended(137, "OOMKilled"), "restartCount": 4}))
    assert found.state is InstanceState.RESTARTING
    assert (found.exit_code, found.oom_killed, found.restart_count) == (137, True, 4)
    assert found.reason == "CrashLoopBackOff: back-off 40s"
    assert found.finished_at == NOW - timedelta(seconds=5)


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName"])
def test_an_image_that_can_not_be_pulled_waits_with_a_reason(reason: str) -> None:
    found = seen(pod({"state": {"waiting": {"reason": reason, "message": "no such image"}}}))
    assert found.state is InstanceState.PENDING
    assert found.reason == f"{reason}: no such image"
    assert found.started_at == NOW - timedelta(seconds=100)  # since it was made


def test_one_that_is_being_made_waits_without_a_reason() -> None:
    found = seen(pod({"state": {"waiting": {"reason": "ContainerCreating"}}}))
    assert (found.state, found.reason) == (InstanceState.PENDING, "")


def test_one_that_finds_no_node_says_so() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    found = seen(pod(conditions=[condition]))
    assert (found.state, found.reason) == (
        InstanceState.PENDING,
        "Unschedulable: 0/3 nodes are available",
    )


def test_a_failing_init_container_is_the_reason() -> None:
    init = {"name": "migrate", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    found = seen(pod(initContainerStatuses=[init]))
    assert found.reason == "init container migrate: CrashLoopBackOff"


def test_a_lost_node_is_unknown_and_an_evicted_pod_is_no_instance() -> None:
    assert seen(pod(phase="Unknown")).state is InstanceState.UNKNOWN
    evicted = pod(phase="Failed", reason="Evicted")
    assert seen(evicted).reason == "Evicted"
    assert not is_instance(evicted, WorkloadKind.DEPLOYMENT)
    assert is_instance(evicted, WorkloadKind.JOB)
    going = pod()
    going["metadata"]["deletionTimestamp"] = moment(ago=1)
    assert not is_instance(going, WorkloadKind.DEPLOYMENT)


# As the controller of Kubernetes 1.31 and newer leaves a Job whose pods failed too often.
FAILED_JOB: dict[str, Any] = {
    "metadata": {"name": "tidy", "namespace": "shop", "uid": "j-1", "generation": 1},
    "spec": {"backoffLimit": 1, "completions": 1, "parallelism": 1, "suspend": False},
    "status": {
        "conditions": [
            {
                "lastProbeTime": "2026-11-22T11:00:20Z",
                "lastTransitionTime": "2026-11-22T11:00:20Z",
                "message": "Job has reached the specified backoff limit",
                "reason": "BackoffLimitExceeded",
                "status": "True",
                "type": kind,
            }
            for kind in ("FailureTarget", "Failed")
        ],
        "failed": 2,
        "ready": 0,
        "startTime": "2026-11-22T11:00:00Z",
        "terminating": 0,
        "uncountedTerminatedPods": {},
    },
}


def test_a_job_that_failed_is_not_settled_and_says_why() -> None:
    settled, reason = roll_out(FAILED_JOB, WorkloadKind.JOB)
    assert not settled
    assert reason == "BackoffLimitExceeded: Job has reached the specified backoff limit"


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"active": 1, "ready": 1},
        {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1},
        {"conditions": [{"type": "Failed", "status": "False"}]},
    ],
)
def test_a_job_that_runs_or_is_done_is_settled(status: dict[str, Any]) -> None:
    assert roll_out({**FAILED_JOB, "status": status}, WorkloadKind.JOB) == (True, "")


@pytest.mark.parametrize(
    ("ready", "started", "since", "changed", "expected"),
    [
        (True, True, 500, 400, EngineHealth.HEALTHY),
        (False, True, 500, 100, EngineHealth.UNHEALTHY),  # was ready, is not any more
        (False, True, 5, 5, EngineHealth.STARTING),  # never was, and has time
        (False, True, 500, 500, EngineHealth.UNHEALTHY),  # never was, and had its time
        (False, False, 500, 500, EngineHealth.STARTING),  # its startup probe has not passed
    ],
)
def test_readiness_is_health(
    ready: bool, started: bool, since: float, changed: float, expected: EngineHealth
) -> None:
    running = {"running": {"startedAt": moment(ago=since)}}
    item = pod(
        {"state": running, "ready": ready, "started": started},
        conditions=[{"type": "Ready", "lastTransitionTime": moment(ago=changed)}],
    )
    assert seen(item).health is EngineHealth.NONE  # no probe, no verdict
    item["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"port": 80}}
    assert seen(item).health is expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("64Mi", 64 * 2**20), ("500m", "0.5"), ("2", 2), ("1e3", 1000), ("12500000n", "0.0125")],
)
def test_quantities(text: str, value: str | float) -> None:
    assert quantity(text) == Decimal(str(value))


def test_what_is_no_quantity_is_an_error() -> None:
    with pytest.raises(ValueError, match="lots"):
        quantity("lots")


def test_pods_are_told_apart_by_what_made_them() -> None:
    mine = pod()
    assert belongs_to(mine) == ("Deployment", "web")
    other = pod()
    other["metadata"]["ownerReferences"][0]["name"] = "web-1-abc"
    assert counts(mine, PLACE)
    assert not counts(other, PLACE)
    by_hand = pod()
    by_hand["metadata"]["ownerReferences"] = []
    assert pod_keys(by_hand) == ()
    job = pod()
    job["metadata"]["ownerReferences"][0] |= {"kind": "Job", "name": "tidy-28000"}
    assert ("CronJob", "shop", "tidy") in pod_keys(job)


def test_the_container_is_the_bound_one_the_default_or_the_first() -> None:
    spec = {"containers": [{"name": "proxy"}, {"name": "main"}, {"name": "web"}]}
    bound = Place(WorkloadKind.DEPLOYMENT, "shop", "web", "main")
    nameless = Place(WorkloadKind.DEPLOYMENT, "shop", "shop", None)
    default = {"kubectl.kubernetes.io/default-container": "main"}
    assert container_of({"spec": spec}, bound)["name"] == "main"
    assert container_of({"spec": spec}, PLACE)["name"] == "web"
    assert container_of({"spec": spec}, nameless)["name"] == "proxy"
    annotated = {"metadata": {"annotations": default}, "spec": spec}
    assert container_of(annotated, nameless)["name"] == "main"


def test_a_secret_is_compared_by_its_fingerprint() -> None:
    reference = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "web-uici-env"}}}
    item = {
        "metadata": {"annotations": {FINGERPRINTS: fingerprints(PLACE, {"KEY": "right"})}},
        "spec": {"containers": [{"name": "web", "env": [reference]}]},
    }
    assert observed_spec(item, PLACE, {"KEY": "right"}).env == {"KEY": "right"}
    assert observed_spec(item, PLACE, {"KEY": "rotated"}).env == {"KEY": ANOTHER}
    assert "right" not in str(item)
    somebodys = {"spec": item["spec"]}
    assert observed_spec(somebodys, PLACE, {"KEY": "right"}).env == {"KEY": "right"}
    assert observed_spec(somebodys, PLACE).env == {"KEY": "(secretKeyRef web-uici-env)"}


def test_a_deployment_is_settled_when_its_last_change_is_everywhere() -> None:
    done = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    item: dict[str, Any] = {
        "metadata": {"generation": 3},
        "spec": {"replicas": 2},
        "status": dict(done),
    }
    assert roll_out(item, WorkloadKind.DEPLOYMENT) == (True, "")
    for name, value in (("observedGeneration", 2), ("replicas", 3), ("availableReplicas", 1)):
        item["status"] = {**done, name: value}
        assert roll_out(item, WorkloadKind.DEPLOYMENT) == (False, ""), name
    stuck = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    item["status"] = {**done, "availableReplicas": 1, "conditions": [stuck]}
    settled, reason = roll_out(item, WorkloadKind.DEPLOYMENT)
    assert not settled
    assert reason.startswith("ProgressDeadlineExceeded")


def test_a_stateful_set_and_a_daemon_set_are_judged_by_their_own_counts() -> None:
    stateful = {
        "spec": {"replicas": 1},
        "status": {
            "replicas": 1,
            "readyReplicas": 1,
            "updatedReplicas": 0,
            "currentRevision": "a",
            "updateRevision": "b",
        },
    }
    assert not roll_out(stateful, WorkloadKind.STATEFUL_SET)[0]
    stateful["status"]["currentRevision"] = "b"  # type: ignore[index]  # a mapping
    assert roll_out(stateful, WorkloadKind.STATEFUL_SET)[0]
    daemon = {
        "status": {
            "desiredNumberScheduled": 2,
            "updatedNumberScheduled": 2,
            "numberAvailable": 1,
        }
    }
    assert not roll_out(daemon, WorkloadKind.DAEMON_SET)[0]


def test_selectors_are_spelled_as_the_server_reads_them() -> None:
    selector = {
        "matchLabels": {"a": "b"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["d", "e"]},
            {"key": "f", "operator": "NotIn", "values": ["g"]},
            {"key": "h", "operator": "Exists"},
            {"key": "i", "operator": "DoesNotExist"},
        ],
    }
    assert selector_text(selector) == "a=b,c in (d,e),f notin (g),h,!i"
