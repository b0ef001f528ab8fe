from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import ProtectedObjectError
from infrastructure.identity import AgentIdentity, runtime_native_ids, with_runtime
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


def runtime(files: dict[str, str], *, hostname: str = "laptop", pod: str = "") -> frozenset[str]:
    def read(path: Path) -> str:
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    return runtime_native_ids(read=read, environ={"UICI_POD_UID": pod}, hostname=lambda: hostname)


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


def test_outside_of_any_container_there_is_nothing() -> None:
    assert runtime({"/proc/self/cgroup": "0::/user.slice/session-1.scope"}) == frozenset()


def test_this_very_process_can_be_asked() -> None:
    assert all(re.fullmatch(r"\S+", each) for each in runtime_native_ids())


def test_the_runtimes_word_is_added_to_the_configuration() -> None:
    united = with_runtime(AGENT, ["e" * 64])
    assert united.native_ids == {OWN_ID, "e" * 64}
    assert united.names == AGENT.names
