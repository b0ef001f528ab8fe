from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import ProtectedObjectError
from infrastructure.identity import AgentIdentity, place_id, runtime_native_ids, with_runtime
from infrastructure.observed import NativeObject
from tests.strategies import names

OWN_ID = "0123456789ab" + "c" * 52
AGENT = AgentIdentity(
    agent="devops-ai-agent",
    names=frozenset({"devops-ai-agent", "uici-agent"}),
    lives_on=frozenset({"prefect-server", "redis"}),
    native_ids=frozenset({OWN_ID}),
    labels={"uici.role": "agent", "uici.team": "platform"},
)


def native(name: str = "shop", id_: str = "f" * 64, **labels: str) -> NativeObject:
    return NativeObject("container", id_, name, labels)


@pytest.mark.parametrize(
    "name",
    [
        "devops-ai-agent",
        "DevOps-AI-Agent",
        "/devops-ai-agent",
        " uici-agent ",
        "uici-agent-1",
        "uici-agent.3",
        "myproject-uici-agent-1",
        "myproject_uici-agent_2",
        "namespace/uici-agent",
        "redis",
        "prefect-server-1",
    ],
)
def test_the_agents_names_are_protected(name: str) -> None:
    assert AGENT.protects_name(name)


@pytest.mark.parametrize(
    "name", ["agent-7", "agent-7-1", "shop-agent-7", "shop_agent-7_2", "redis-2", "redis-2-1"]
)
def test_a_name_that_ends_with_a_number_is_protected_as_it_is(name: str) -> None:
    numbered = AgentIdentity("a", frozenset({"agent-7"}), lives_on=frozenset({"redis-2"}))
    assert numbered.protects_name(name)
    assert not numbered.protects_name(name.replace("7", "8").replace("redis-2", "redis-3"))


@pytest.mark.parametrize(
    "name", ["", "agent", "market-predictor", "market-redis", "redis-exporter", "uici-agents"]
)
def test_other_names_are_not(name: str) -> None:
    assert not AGENT.protects_name(name)


@given(st.sampled_from(sorted(AGENT.names)), names, st.integers(0, 99))
def test_a_project_and_a_replica_number_do_not_get_round_it(
    name: str, project: str, replica: int
) -> None:
    assert AGENT.protects_name(f"{project}-{name}-{replica}")
    assert AGENT.protects_name(f"{project}_{name}_{replica}".upper())


def test_a_renamed_container_is_known_by_its_id() -> None:
    assert "engine id" in str(AGENT.reason(native("shop", OWN_ID)))
    assert "engine id" in str(AGENT.reason(native("shop", OWN_ID[:12])))
    assert AGENT.reason(native("shop", OWN_ID[:11])) is None


def test_a_short_own_id_protects_the_long_one() -> None:
    identity = AgentIdentity("a", frozenset({"a-name"}), native_ids=frozenset({OWN_ID[:12]}))
    assert identity.reason(native("shop", OWN_ID)) is not None


def test_an_object_is_known_by_all_of_the_labels() -> None:
    labels = {"uici.role": "agent", "uici.team": "platform"}
    assert AGENT.reason(NativeObject("container", "f" * 64, "shop", labels)) is not None
    assert AGENT.reason(NativeObject("container", "f" * 64, "shop", {"uici.role": "agent"})) is None


def test_without_identity_labels_no_object_matches_them() -> None:
    assert AgentIdentity("a", frozenset({"a-name"})).reason(native("shop")) is None


@pytest.mark.parametrize(
    "label", ["uici.service", "com.docker.compose.service", "app.kubernetes.io/name", "app"]
)
def test_a_renamed_container_is_known_by_its_service(label: str) -> None:
    marked = NativeObject("container", "f" * 64, "renamed", {label: "uici-agent"})
    with pytest.raises(ProtectedObjectError, match="restart refused on container renamed"):
        AGENT.refuse([native(), marked], action="restart")


def test_other_objects_are_not_refused() -> None:
    AGENT.refuse([native(), native("market-db")], action="restart")


@pytest.mark.parametrize("key", ["service", "job", "container", "name", "app"])
def test_alerts_about_the_agent_are_its_own(key: str) -> None:
    assert AGENT.owns_alert({"alertname": "Down", key: "devops-ai-agent"})
    assert not AGENT.owns_alert({"alertname": "Down", key: "market-predictor"})


# ── what the runtime says ───────────────────────────────────────────────────────


def runtime(
    files: dict[str, str],
    *,
    hostname: str = "laptop",
    pod: str = "",
    mark: str = "",
    **environ: str,
) -> frozenset[str]:
    def read(path: Path) -> str:
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    given = {"UICI_POD_UID": pod, **environ}
    return runtime_native_ids(
        read=read,
        environ=given,
        hostname=lambda: hostname,
        exists=lambda path: str(path) == mark,
    )


def test_cgroup_v1_tells_the_container() -> None:
    assert runtime({"/proc/self/cgroup": f"12:cpu:/docker/{OWN_ID}\n0::/"}) == {OWN_ID}


def test_cgroup_v2_tells_it_by_the_mounted_hostname() -> None:
    other = "d" * 64
    mounts = (
        f"1 2 8:1 /var/lib/docker/containers/{OWN_ID}/hostname /etc/hostname rw - ext4 /dev/sda1\n"
        f"1 2 0:9 /var/lib/docker/overlay2/{other}/merged / rw - overlay overlay\n"
    )
    assert runtime({"/proc/self/cgroup": "0::/", "/proc/self/mountinfo": mounts}) == {OWN_ID}


def test_the_hostname_may_be_a_container_id() -> None:
    assert runtime({}, hostname=OWN_ID[:12]) == {OWN_ID[:12]}


def test_the_downward_api_tells_the_pod() -> None:
    assert runtime({}, pod="6f1b") == {"6f1b"}


POD = "0f3c1a52-7d5e-4b52-9c1e-2a6f0b1d9e77"
UNIT = POD.replace("-", "_")  # as systemd spells it
SANDBOX = "e" * 64
# containerd and cgroup v2: the container's own id is nowhere, and its cgroup is a root.
CONTAINERD = (
    "900 800 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/containerd/x\n"
    f"901 900 8:1 /var/lib/kubelet/pods/{POD}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
    f"902 900 8:1 /var/lib/kubelet/pods/{POD}/containers/agent/1f2e /dev/termination-log rw"
    " - ext4 /dev/sda1 rw\n"
    f"903 900 8:1 /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{SANDBOX}/hostname"
    " /etc/hostname rw - ext4 /dev/sda1 rw\n"
)
IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def test_a_pod_is_told_by_what_its_kubelet_mounted() -> None:
    files = {"/proc/self/cgroup": "0::/", "/proc/self/mountinfo": CONTAINERD}
    assert runtime(files, **IN_CLUSTER) == {POD, SANDBOX}


@pytest.mark.parametrize(
    "group",
    [
        f"/kubepods/burstable/pod{POD}/{OWN_ID}",
        f"/kubepods.slice/kubepods-burstable-pod{UNIT}.slice/cri-containerd-{OWN_ID}.scope",
        f"/kubelet.slice/kubelet-kubepods-pod{UNIT}.slice/cri-containerd-{OWN_ID}.scope",
    ],
)
def test_a_pod_is_told_by_its_control_group(group: str) -> None:
    assert runtime({"/proc/self/cgroup": f"0::{group}\n"}, **IN_CLUSTER) == {POD, OWN_ID}
    mounts = f"905 900 0:30 {group} /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
    assert POD in runtime({"/proc/self/mountinfo": mounts}, **IN_CLUSTER)


def test_the_files_of_other_pods_are_not_ones_own() -> None:
    """An agent that has the node's kubelet directory mounted sees what all pods have."""
    other = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    mounts = (
        f"904 900 8:1 /var/lib/kubelet/pods/{other}/volumes/x"
        f" /node/pods/{other}/volumes/x rw - ext4 /dev/sda1 rw\n"
    )
    assert runtime({"/proc/self/mountinfo": CONTAINERD + mounts}, **IN_CLUSTER) == {POD, SANDBOX}


def test_a_pod_that_nothing_tells_of_is_known_to_be_unknown() -> None:
    found = runtime({"/proc/self/cgroup": "0::/"}, **IN_CLUSTER)
    assert not with_runtime(AGENT, found).knows_its_pod
    told = runtime({"/proc/self/cgroup": "0::/"}, pod="6f1b", **IN_CLUSTER)
    assert with_runtime(AGENT, told).knows_its_pod
    assert AGENT.knows_its_pod


def test_the_namespace_is_the_service_accounts() -> None:
    path = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
    assert runtime({path: "shop\n"}) == {place_id("namespace", "shop")}


def test_outside_of_any_container_there_is_nothing() -> None:
    assert runtime({"/proc/self/cgroup": "0::/user.slice/session-1.scope"}) == frozenset()


def test_this_very_process_can_be_asked() -> None:
    assert all(re.fullmatch(r"\S+", each) for each in runtime_native_ids())


def test_the_runtimes_word_is_added_to_the_configuration() -> None:
    united = with_runtime(AGENT, ["e" * 64])
    assert united.native_ids == {OWN_ID, "e" * 64}
    assert united.names == AGENT.names


OVERLAY = "100 99 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l"
DISK = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"


@pytest.mark.parametrize(
    ("files", "mark"),
    [
        ({"/proc/self/mountinfo": OVERLAY}, "/.dockerenv"),
        ({"/proc/self/mountinfo": OVERLAY}, "/run/.containerenv"),
        ({}, "/.dockerenv"),
        # A disk that is a layer of an engine's driver.
        (
            {"/proc/self/mountinfo": "9 1 253:1 / / rw - ext4 /dev/mapper/docker-253:1-9-x rw"},
            "/.dockerenv",
        ),
        ({"/proc/self/cgroup": "0::/lxc.payload.agent/x", "/proc/self/mountinfo": DISK}, ""),
        ({"/proc/self/cgroup": "4:memory:/docker/cut-short"}, ""),
    ],
)
def test_a_container_that_nobody_names_is_an_unknown_one(files: dict[str, str], mark: str) -> None:
    found = runtime(files, mark=mark)
    blind = AgentIdentity("agent", frozenset({"agent"}), native_ids=found)
    assert not blind.knows_its_container
    with pytest.raises(ProtectedObjectError, match="can't tell in which"):
        blind.refuse([native("shop")], action="restart")
    # An id in agents.yml tells what the runtime does not.
    told = AgentIdentity("agent", frozenset({"agent"}), native_ids=found | {OWN_ID})
    assert told.knows_its_container
    told.refuse([native("shop")], action="restart")


@pytest.mark.parametrize(
    ("files", "mark"),
    [
        ({"/proc/self/mountinfo": DISK}, ""),
        # A machine whose disk was made from a container's files still has the mark.
        ({"/proc/self/mountinfo": DISK}, "/.dockerenv"),
        ({"/proc/self/cgroup": "0::/system.slice/docker.service"}, ""),
        ({"/proc/self/cgroup": "0::/user.slice/session-1.scope"}, ""),
    ],
)
def test_what_is_no_container_is_none(files: dict[str, str], mark: str) -> None:
    assert runtime(files, mark=mark) == frozenset()


def test_a_container_that_is_named_is_known() -> None:
    found = runtime({"/proc/self/cgroup": f"0::/docker/{OWN_ID}"}, mark="/.dockerenv")
    assert found == {OWN_ID}


def test_ids_in_text_are_recognised_from_twelve_characters_on() -> None:
    assert AGENT.protects_id(OWN_ID)
    assert AGENT.protects_id(OWN_ID[:12])
    assert not AGENT.protects_id(OWN_ID[:11])
    assert not AGENT.protects_id("f" * 12)
