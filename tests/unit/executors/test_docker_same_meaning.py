"""What the engine spells in another way and means the same is no drift; anything else is."""

from __future__ import annotations

from typing import Any

import pytest

from executors.docker.same_meaning import as_declared, at_creation


def told(
    native: dict[str, Any], host: dict[str, Any], networks: dict[str, Any] | None = None
) -> dict[str, Any]:
    seen = {"HostConfig": host, "NetworkingConfig": {"EndpointsConfig": networks or {}}}
    return as_declared(seen, native)


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"CapAdd": ["A", "CAP_B"]}, {"CapAdd": ["CAP_B", "a"]}),
    ({"ExtraHosts": ["a:1", "b:2"]}, {"ExtraHosts": ["b:2", "a:1"]}),
    ({"Binds": ["a:/a:rw", "/b:/b:ro"]}, {"Binds": ["/b:/b/:ro", "a:/a"]}),
    ({"Binds": ["a:/a:rw"]}, {"Binds": ["a:/a", "anonymous:/x"]}),
    (
        {"Binds": ["/b:/b:ro"]},
        {"Mounts": [{"Type": "bind", "Source": "/b", "Target": "/b", "ReadOnly": True}]},
    ),
    ({"Mounts": [{"Type": "volume", "Source": "a", "Target": "/a"}]}, {"Binds": ["a:/a:rw"]}),
    ({"Binds": ["a:/a:rw,nocopy"]}, {"Binds": ["a:/a:nocopy"]}),
    (
        {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}},
        {"RestartPolicy": {"Name": "", "MaximumRetryCount": 0}},
    ),
    (
        {"DeviceRequests": [{"Count": -1, "Options": {}, "DeviceIDs": None}]},
        {"DeviceRequests": [{"Count": -1, "Driver": "", "DeviceIDs": None}]},
    ),
]


@pytest.mark.parametrize(("native", "host"), SAME)
def test_what_means_the_same_is_told_as_declared(
    native: dict[str, Any], host: dict[str, Any]
) -> None:
    found = told({"HostConfig": native}, host)["HostConfig"]
    assert {key: found[key] for key in native} == native


DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"CapAdd": ["A"]}, {"CapAdd": ["A", "B"]}),
    ({"CapAdd": ["A"]}, {"CapAdd": None}),
    ({"Binds": ["a:/a:rw"]}, {"Binds": ["a:/a:ro"]}),
    ({"Binds": ["a:/a:rw"]}, {"Binds": ["b:/a:rw"]}),
    ({"Binds": ["a:/a:rw", "b:/b:rw"]}, {"Binds": ["a:/a:rw"]}),
    (
        {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
        {"RestartPolicy": {"Name": "", "MaximumRetryCount": 0}},
    ),
    ({"Dns": ["1.1.1.1", "9.9.9.9"]}, {"Dns": ["9.9.9.9", "1.1.1.1"]}),
    ({"NetworkMode": "front"}, {"NetworkMode": "back"}),
]


@pytest.mark.parametrize(("native", "host"), DIFFERENT)
def test_what_differs_is_told_as_it_is(native: dict[str, Any], host: dict[str, Any]) -> None:
    assert told({"HostConfig": native}, host)["HostConfig"] == host


def test_aliases_that_are_all_there_and_a_network_of_several() -> None:
    native = {
        "HostConfig": {"NetworkMode": "front"},
        "NetworkingConfig": {"EndpointsConfig": {"front": {"Aliases": ["web"]}}},
    }
    networks = {"front": {"Aliases": ["abc", "web"]}, "back": {"Aliases": None}}
    found = told(native, {"NetworkMode": "back"}, networks)
    assert found["HostConfig"]["NetworkMode"] == "front"
    assert found["NetworkingConfig"]["EndpointsConfig"]["front"]["Aliases"] == ["web"]
    lacking = {"front": {"Aliases": ["abc"]}}
    found = told(native, {"NetworkMode": "front"}, lacking)
    assert found["NetworkingConfig"]["EndpointsConfig"] == lacking


def test_what_was_observed_is_not_changed() -> None:
    host = {"CapAdd": ["b", "a"]}
    told({"HostConfig": {"CapAdd": ["A", "B"]}}, host)
    assert host == {"CapAdd": ["b", "a"]}


@pytest.mark.parametrize(
    "native",
    [
        {},
        {"HostConfig": "x"},
        {"NetworkingConfig": "x"},
        {"NetworkingConfig": {"EndpointsConfig": {"a": {"Aliases": [["x"]]}}}},
        {"HostConfig": {"NetworkMode": ["x"], "RestartPolicy": "x", "CapAdd": "A"}},
        {"HostConfig": {"Binds": [{"x": 1}], "Mounts": ["x"]}},
        {"HostConfig": {"Mounts": [{"Target": ["x"], "TmpfsOptions": "y", "BindOptions": 1}]}},
    ],
)
def test_odd_native_fields_are_left_to_the_comparison(native: dict[str, Any]) -> None:
    assert told(native, {"A": 1})["HostConfig"] == {"A": 1}


def test_one_network_at_creation_and_the_others_after() -> None:
    body = {
        "HostConfig": {"NetworkMode": "a"},
        "NetworkingConfig": {"EndpointsConfig": {"a": {"x": 1}, "b": {}}},
    }
    first, rest = at_creation(body)
    assert first["NetworkingConfig"] == {"EndpointsConfig": {"a": {"x": 1}}}
    assert rest == {"b": {}}
    alone = {"HostConfig": {}, "Image": "x"}
    assert at_creation(alone) == (alone, {})


@pytest.mark.parametrize(
    ("declared", "networks", "told_as"),
    [
        ("front", {"back": {"NetworkID": "n2"}}, "back"),
        ("front", {"front": {}, "back": {}}, "front"),
        ("n1", {"front": {"NetworkID": "n1"}}, "n1"),
        ("front", {}, "front"),  # told as unhealthy
        ("default", {"bridge": {}}, "default"),
        ("container:0123", {}, "container:0123"),
    ],
)
def test_a_container_that_left_its_network_for_another_is_told_where_it_is(
    declared: str, networks: dict[str, Any], told_as: str
) -> None:
    native = {"HostConfig": {"NetworkMode": declared}}
    found = told(native, {"NetworkMode": declared}, networks)
    assert found["HostConfig"]["NetworkMode"] == told_as
