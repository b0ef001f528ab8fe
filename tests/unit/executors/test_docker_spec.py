from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.docker.spec import (
    Container,
    Reach,
    cores,
    create_body,
    memory_limit,
    merged,
    observed_instance,
    overlay,
    ports,
    timestamp,
)
from infrastructure.observed import EngineHealth, InstanceState, ObservedInstance
from tests.builders import service

LOCAL = Reach(local=True, host="127.0.0.1")
REMOTE = Reach(local=False, host="engine.example")
MIB = 1024 * 1024


def inspect(**changes: Any) -> dict[str, Any]:
    """The parts of `GET /containers/{id}/json` that are read; `a__b` changes a nested key."""
    answer: dict[str, Any] = {
        "Id": "c" * 64,
        "Name": "/web",
        "RestartCount": 2,
        "Image": "sha256:1",
        "State": {
            "Status": "running",
            "Running": True,
            "OOMKilled": False,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": "2026-11-22T09:24:01.123456789Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "Config": {
            "Image": "web:1",
            "Cmd": ["serve", "-v"],
            "Env": ["A=1", "EMPTY=", "EQUALS=a=b"],
            "Labels": {"team": "trading"},
            "ExposedPorts": {"8000/tcp": {}, "53/udp": {}},
        },
        "HostConfig": {
            "Memory": 64 * MIB,
            "NanoCpus": 500_000_000,
            "NetworkMode": "default",
            "PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "18000"}]},
        },
        "NetworkSettings": {
            "IPAddress": "172.17.0.2",
            "Ports": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18000"}], "53/udp": None},
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = answer
        for parent in parents:
            place = place[parent]
        place[last] = value
    return answer


def seen(reach: Reach = LOCAL, *, keep_native: bool = False, **changes: Any) -> ObservedInstance:
    return observed_instance(inspect(**changes), reach, keep_native=keep_native)


def test_a_running_container_in_universal_words() -> None:
    found = seen()
    assert (found.native.kind, found.native.name) == ("container", "web")
    assert found.native.labels == {"team": "trading"}
    assert (found.state, found.health) == (InstanceState.RUNNING, EngineHealth.NONE)
    assert found.exit_code is None
    assert found.restart_count == 2
    assert found.started_at == datetime(2026, 11, 22, 9, 24, 1, 123456, tzinfo=UTC)
    assert found.finished_at is None
    assert found.spec.image == "web:1"
    assert found.spec.command == ("serve", "-v")
    assert found.spec.env == {"A": "1", "EMPTY": "", "EQUALS": "a=b"}
    assert (found.spec.memory, found.spec.cpu) == (64 * MIB, Decimal("0.5"))
    assert set(found.spec.ports) == {"8000", "18000:8000", "53/udp"}
    assert found.address == "172.17.0.2"
    assert found.published == {8000: ("127.0.0.1", 18000)}
    assert found.native_config == {}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("created", InstanceState.PENDING),
        ("running", InstanceState.RUNNING),
        ("paused", InstanceState.PAUSED),
        ("restarting", InstanceState.RESTARTING),
        ("exited", InstanceState.STOPPED),
        ("dead", InstanceState.STOPPED),
        ("removing", InstanceState.UNKNOWN),
        ("of-a-later-engine", InstanceState.UNKNOWN),
    ],
)
def test_every_state_of_the_engine_has_a_word(status: str, state: InstanceState) -> None:
    assert seen(State__Status=status, State__Running=status == "running").state is state


def test_one_that_failed_to_start_is_stopped_and_says_why() -> None:
    found = seen(
        State__Status="created", State__Running=False, State__Error="port  in\nuse",
        State__ExitCode=128,
    )  # fmt: skip
    assert (found.state, found.reason, found.exit_code) == (
        InstanceState.STOPPED,
        "port in use",
        128,
    )


def test_a_killed_one_tells_its_end() -> None:
    found = seen(
        State__Status="exited",
        State__Running=False,
        State__ExitCode=137,
        State__OOMKilled=True,
        State__FinishedAt="2026-11-22T10:00:00Z",
        State__Health={"Status": "unhealthy"},
    )
    assert (found.exit_code, found.oom_killed) == (137, True)
    assert found.finished_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert found.health is EngineHealth.NONE  # the last verdict before its end is history


def test_health_and_what_the_check_said() -> None:
    log = [{"ExitCode": 1, "Output": "connection\nrefused" + "x" * 500}]
    found = seen(State__Health={"Status": "unhealthy", "Log": log})
    assert found.health is EngineHealth.UNHEALTHY
    assert found.reason.startswith("health check exits 1: connection refused")
    assert len(found.reason) < 300
    assert seen(State__Health={"Status": "starting"}).health is EngineHealth.STARTING
    assert seen(State__Health={"Status": "healthy"}).health is EngineHealth.HEALTHY
    assert seen(State__Health=None).health is EngineHealth.NONE


def test_a_container_with_nothing_set() -> None:
    found = observed_instance({"Id": "c" * 64, "Name": "/web"}, LOCAL, keep_native=True)
    assert found.state is InstanceState.UNKNOWN
    assert (found.spec.memory, found.spec.cpu, found.spec.ports) == (0, Decimal(0), ())
    assert (found.address, found.published) == (None, {})


def test_native_config_has_the_shape_of_a_create_request() -> None:
    found = seen(keep_native=True).native_config
    assert found["Image"] == "web:1"
    assert found["HostConfig"]["NetworkMode"] == "default"
    assert found["NetworkingConfig"]["EndpointsConfig"]["bridge"]["IPAddress"] == "172.17.0.2"


@pytest.mark.parametrize(
    ("host_config", "expected"),
    [
        ({}, "0"),
        ({"NanoCpus": 1_500_000_000}, "1.5"),
        ({"CpuQuota": 50_000}, "0.5"),
        ({"CpuQuota": 50_000, "CpuPeriod": 25_000}, "2"),
        ({"CpuQuota": -1, "CpuPeriod": 100_000}, "0"),
        ({"NanoCpus": 0, "CpuQuota": 0}, "0"),
    ],
)
def test_cores_however_they_were_set(host_config: dict[str, int], expected: str) -> None:
    assert cores(host_config) == Decimal(expected)


def test_ports_keep_the_address_that_was_asked_for() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "81/tcp": [{"HostIp": "", "HostPort": ""}],
    }
    assert ports(None, bindings) == ("80", "81", "127.0.0.1:8080:80")
    assert ports(None, None) == ()


def test_what_can_be_reached_of_a_remote_engine() -> None:
    found = seen(REMOTE)
    assert found.address is None  # its bridge is not ours
    assert found.published == {8000: ("engine.example", 18000)}
    loopback = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18000"}]}
    assert seen(REMOTE, NetworkSettings__Ports=loopback).published == {}
    assert seen(LOCAL, NetworkSettings__Ports=loopback).published == {8000: ("127.0.0.1", 18000)}


def test_addresses_of_other_networks() -> None:
    networks = {"b": {"IPAddress": "10.0.0.2"}, "a": {"IPAddress": ""}}
    found = seen(NetworkSettings__IPAddress="", NetworkSettings__Networks=networks)
    assert found.address == "10.0.0.2"
    assert seen(HostConfig__NetworkMode="host").address == "127.0.0.1"


def test_times() -> None:
    assert timestamp(None) is timestamp("") is timestamp("0001-01-01T00:00:00Z") is None
    assert timestamp("2026-11-22T10:00:00.5+02:00") == datetime(
        2026, 11, 22, 8, 0, 0, 500_000, tzinfo=UTC
    )


# ── downwards ───────────────────────────────────────────────────────────────────


def test_desired_state_as_a_create_request() -> None:
    wanted = service(
        "web",
        image="web:1",
        command=["serve"],
        resources={"memory": "64Mi", "cpu": "500m"},
        ports=["8000", "127.0.0.1:18001:8001", "53/udp"],
        native={"HostConfig": {"RestartPolicy": {"Name": "always"}}, "Image": "ignored:1"},
    )
    body = create_body(wanted, {"A": "1"})
    assert body == {
        "Image": "web:1",  # the universal word wins over native
        "Cmd": ["serve"],
        "Env": ["A=1"],
        "Labels": {
            "uici.target": wanted.target,
            "uici.service": "web",
            "uici.spec-digest": wanted.spec_digest,
            "uici.env": " ".join(sorted(wanted.spec.env)),
        },
        "ExposedPorts": {"8000/tcp": {}, "8001/tcp": {}, "53/udp": {}},
        "HostConfig": {
            "RestartPolicy": {"Name": "always"},
            "PortBindings": {"8001/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18001"}]},
            "Memory": 64 * MIB,
            "MemorySwap": 128 * MIB,
            "NanoCpus": 500_000_000,
            "CpuQuota": 0,
            "CpuPeriod": 0,
        },
    }


def test_what_desired_state_does_not_say_is_not_in_the_request() -> None:
    body = create_body(service("web"), {})
    assert set(body) == {"Image", "Labels", "HostConfig"}
    assert body["HostConfig"] == {}


def test_an_overlay_leaves_its_base_alone() -> None:
    base = {"HostConfig": {"Memory": 1}, "Labels": {"a": "b"}, "Env": ["A=0", "KEPT=1"]}
    body = overlay(base, service("web", resources={"memory": "8Mi"}), {"A": "1"})
    assert base["HostConfig"] == {"Memory": 1}
    assert body["Env"] == ["A=1", "KEPT=1"]
    assert body["Labels"]["a"] == "b"


@pytest.mark.parametrize(
    ("memory", "current", "expected"),
    [
        (64, {}, {"Memory": 64, "MemorySwap": 128}),
        (64, {"Memory": 32, "MemorySwap": 64}, {"Memory": 64, "MemorySwap": 128}),
        (64, {"Memory": 32, "MemorySwap": 32}, {"Memory": 64, "MemorySwap": 64}),
        (64, {"Memory": 32, "MemorySwap": 40}, {"Memory": 64, "MemorySwap": 72}),
        (64, {"Memory": 32, "MemorySwap": -1}, {"Memory": 64, "MemorySwap": -1}),
        (0, {"Memory": 32, "MemorySwap": 64}, {"Memory": 0, "MemorySwap": 0}),
        (0, {"MemorySwap": -1}, {"Memory": 0, "MemorySwap": -1}),
    ],
)
def test_a_memory_limit_keeps_the_policy_for_swap(
    memory: int, current: dict[str, int], expected: dict[str, int]
) -> None:
    assert memory_limit(memory, current) == expected


@given(memory=st.integers(1, 2**40), old=st.integers(0, 2**40), swap=st.integers(-1, 2**41))
def test_the_swap_limit_is_never_below_the_memory_limit(memory: int, old: int, swap: int) -> None:
    limit = memory_limit(memory, {"Memory": old, "MemorySwap": swap})["MemorySwap"]
    assert limit == -1 or limit >= memory


_json = st.recursive(
    st.integers(0, 3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(
    base=st.dictionaries(st.sampled_from("abc"), _json),
    over=st.dictionaries(st.sampled_from("abc"), _json),
)
def test_merging_twice_is_merging_once(base: dict[str, Any], over: dict[str, Any]) -> None:
    once = merged(dict(base), over)
    assert merged(dict(once), over) == once


memories = st.integers(6, 4096).map(lambda n: n * MIB)
cpus = st.integers(1, 6400).map(lambda n: Decimal(n) / 100)


@given(
    memory=memories,
    cpu=cpus,
    env=st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(max_size=8)),
    port=st.integers(1, 65535),
)
def test_what_is_created_is_observed_as_the_same(
    memory: int, cpu: Decimal, env: dict[str, str], port: int
) -> None:
    """A body read back, as the engine stores it, gives the universal words it was made of."""
    wanted = service(
        "web", command=["a"], resources={"memory": memory, "cpu": cpu}, ports=[f"{port}:{port}"]
    )
    body = create_body(wanted, env)
    stored = {"Id": "c" * 64, "Name": "/web", "Config": body, "HostConfig": body["HostConfig"]}
    found = observed_instance(stored, LOCAL, keep_native=False).spec
    assert (found.memory, found.cpu, found.command) == (memory, cpu, ("a",))
    assert found.env == env
    assert str(wanted.spec.ports[0]) in found.ports


def test_a_container_knows_whether_it_is_up() -> None:
    assert Container(inspect()).is_up
    assert not Container(inspect(State__Health={"Status": "starting"})).is_up
    assert not Container(inspect(State__Status="exited")).is_up
    assert Container(inspect()).stop_timeout == 10
    assert Container(inspect(Config__StopTimeout=0)).stop_timeout == 0


@pytest.mark.parametrize(
    ("mode", "networks", "health"),
    [
        ("front", {}, EngineHealth.UNHEALTHY),
        ("default", {}, EngineHealth.UNHEALTHY),
        ("front", {"back": {"NetworkID": "n2"}}, EngineHealth.NONE),
        ("front", None, EngineHealth.NONE),  # it did not say
        ("none", {}, EngineHealth.NONE),
        ("host", {}, EngineHealth.NONE),
        ("container:0123", {}, EngineHealth.NONE),
    ],
)
def test_a_running_container_that_was_cut_off_from_every_network_is_unhealthy(
    mode: str, networks: dict[str, Any] | None, health: EngineHealth
) -> None:
    answer = inspect()
    answer["HostConfig"]["NetworkMode"] = mode
    answer["NetworkSettings"] = {"Networks": networks}
    found = observed_instance(answer, LOCAL, keep_native=False)
    assert found.health is health
    assert ("connected to no network" in found.reason) is (health is EngineHealth.UNHEALTHY)
    answer["State"].update(Running=False, Status="exited")
    assert observed_instance(answer, LOCAL, keep_native=False).health is EngineHealth.NONE
