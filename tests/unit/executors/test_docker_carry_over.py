from __future__ import annotations

from typing import Any

from executors.docker.carry_over import (
    PREVIOUS_IMAGE_ID_LABEL,
    PREVIOUS_IMAGE_LABEL,
    extra_networks,
    lost_primary,
    primary_network,
    remember_image,
    replacement_body,
)
from executors.docker.spec import Container
from tests.builders import service

ID = "c" * 64
IMAGE = {
    "Env": ["PATH=/bin", "DEFAULT=1"],
    "Cmd": ["serve"],
    "Entrypoint": ["/init"],
    "WorkingDir": "/app",
    "User": "app",
    "Labels": {"maintainer": "somebody"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "Healthcheck": {"Test": ["CMD", "true"]},
}


def container(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    networks: dict[str, Any] | None = None,
    mounts: list[dict[str, Any]] | None = None,
) -> Container:
    return Container(
        {
            "Id": ID,
            "Name": "/web",
            "Image": "sha256:old",
            "Config": {**IMAGE, "Image": "web:1", "Hostname": ID[:12], **(config or {})},
            "HostConfig": {"NetworkMode": "default", **(host or {})},
            "NetworkSettings": {"Networks": networks or {}},
            "Mounts": mounts or [],
        }
    )


def body_of(old: Container, **spec: Any) -> dict[str, Any]:
    return replacement_body(old, IMAGE, service("web", image="web:2", **spec), {})


def test_what_came_from_the_old_image_is_left_to_the_new_one() -> None:
    body = body_of(container())
    for key in ("Cmd", "Entrypoint", "WorkingDir", "User", "Healthcheck", "Hostname"):
        assert key not in body
    assert not body.get("Env")
    assert (body["ExposedPorts"], body["Volumes"]) == ({}, {})
    assert "maintainer" not in body["Labels"]
    assert body["Image"] == "web:2"


def test_what_a_person_decided_is_kept() -> None:
    body = body_of(
        container(
            {
                "Env": ["PATH=/bin", "DEFAULT=2", "MINE=1"],
                "User": "root",
                "Hostname": "chosen",
                "Labels": {"maintainer": "somebody", "team": "trading"},
                "StopTimeout": 30,
                "Tty": True,
            },
            {"RestartPolicy": {"Name": "always"}, "CapAdd": ["NET_ADMIN"], "Devices": [{"x": 1}]},
        )
    )
    assert body["Env"] == ["DEFAULT=2", "MINE=1"]
    assert (body["User"], body["Hostname"], body["StopTimeout"]) == ("root", "chosen", 30)
    assert body["Labels"]["team"] == "trading"
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "always"}
    assert body["HostConfig"]["CapAdd"] == ["NET_ADMIN"]
    assert body["HostConfig"]["Devices"] == [{"x": 1}]


def test_a_variable_that_uici_set_and_git_no_longer_names_is_left_out() -> None:
    noted = {"Labels": {"uici.env": "GONE KEPT NATIVE"}}
    old = container({"Env": ["GONE=1", "KEPT=1", "MINE=1", "NATIVE=1", "PATH=/bin"], **noted})
    wanted = service("web", env={"KEPT": "2"}, native={"Env": ["NATIVE=2", "MINE=1"]})
    body = replacement_body(old, IMAGE, wanted, {"KEPT": "2"})
    assert set(body["Env"]) == {"KEPT=2", "MINE=1", "NATIVE=2"}
    assert body["Labels"]["uici.env"] == "* KEPT"


def test_the_last_variable_goes_too() -> None:
    old = container({"Env": ["GONE=1"], "Labels": {"uici.env": "GONE"}})
    body = body_of(old)
    assert body["Env"] == []
    assert body["Labels"]["uici.env"] == ""


def test_an_entrypoint_of_ones_own_keeps_its_command() -> None:
    body = body_of(container({"Entrypoint": ["/mine"]}))
    assert (body["Entrypoint"], body["Cmd"]) == (["/mine"], ["serve"])


def test_desired_state_wins_over_what_was_there() -> None:
    old = container({"Cmd": ["other"]}, {"Memory": 1, "MemorySwap": 1, "CpuQuota": 5})
    body = body_of(old, command=["wanted"], resources={"memory": "64Mi", "cpu": "1"})
    assert body["Cmd"] == ["wanted"]
    assert body["HostConfig"]["Memory"] == 64 * 1024 * 1024
    assert (body["HostConfig"]["NanoCpus"], body["HostConfig"]["CpuQuota"]) == (10**9, 0)


def test_anonymous_volumes_keep_their_data() -> None:
    mounts: list[dict[str, Any]] = [
        {"Type": "volume", "Name": "abc", "Destination": "/data", "RW": True},
        {"Type": "volume", "Name": "def", "Destination": "/ro", "RW": False},
        {"Type": "volume", "Name": "named", "Destination": "/named", "RW": True},
        {"Type": "volume", "Name": "ghi", "Destination": "/mounted", "RW": True},
        {"Type": "bind", "Source": "/host", "Destination": "/bound"},
    ]
    host = {
        "Binds": ["named:/named", "/host:/bound"],
        "Mounts": [{"Type": "volume", "Target": "/mounted"}, {"Type": "tmpfs", "Target": "/t"}],
    }
    kept = body_of(container(host=host, mounts=mounts))["HostConfig"]
    assert kept["Binds"] == ["named:/named", "/host:/bound", "abc:/data", "def:/ro:ro"]
    assert kept["Mounts"] == [
        {"Type": "volume", "Target": "/mounted", "Source": "ghi"},
        {"Type": "tmpfs", "Target": "/t"},
    ]


def test_networks_with_what_was_chosen_and_not_what_was_assigned() -> None:
    networks = {
        "front": {
            "Aliases": ["web", ID[:12]],
            "IPAMConfig": {"IPv4Address": "10.1.0.9"},
            "IPAddress": "10.1.0.9",
            "NetworkID": "n1",
        },
        "back": {"Aliases": None, "IPAddress": "10.2.0.3", "NetworkID": "n2"},
    }
    old = container(host={"NetworkMode": "front"}, networks=networks)
    chosen = {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.1.0.9"}}
    assert body_of(old)["NetworkingConfig"] == {"EndpointsConfig": {"front": chosen}}
    assert extra_networks(old) == {"back": {}}
    assert lost_primary(old) is None


def test_a_network_mode_may_be_an_id() -> None:
    old = container(host={"NetworkMode": "n1"}, networks={"front": {"NetworkID": "n1"}})
    assert primary_network(old) == "front"
    assert lost_primary(old) is None


def test_a_primary_network_that_was_left_is_left_again() -> None:
    old = container(networks={"back": {"NetworkID": "n2"}})
    assert lost_primary(old) == "bridge"
    assert extra_networks(old) == {"back": {}}


def test_modes_that_are_no_network() -> None:
    for mode in ("host", "none", "container:abc"):
        old = container(host={"NetworkMode": mode}, networks={mode: {}})
        assert extra_networks(old) == {}
        assert lost_primary(old) is None
        assert "NetworkingConfig" not in body_of(old)


def test_links_are_given_as_they_are_taken() -> None:
    old = container(host={"Links": ["/db:/web/database"]})
    assert body_of(old)["HostConfig"]["Links"] == ["db:database"]


def test_the_earlier_image_is_noted_when_it_changes_and_only_then() -> None:
    old = container()
    body = body_of(old)
    remember_image(body, old, "sha256:old")
    assert PREVIOUS_IMAGE_LABEL not in body["Labels"]
    remember_image(body, old, "sha256:new")
    assert body["Labels"][PREVIOUS_IMAGE_LABEL] == "web:1"
    assert body["Labels"][PREVIOUS_IMAGE_ID_LABEL] == "sha256:old"


def test_the_old_container_is_not_changed() -> None:
    old = container(host={"Binds": ["a:/a"], "Memory": 5})
    before = repr(old.inspect)
    body_of(old, resources={"memory": "8Mi"}, ports=["80:80"])
    assert repr(old.inspect) == before


def test_the_network_that_git_names_is_joined_and_not_the_one_of_before() -> None:
    networks = {"other": {"NetworkID": "n1", "Aliases": [ID[:12]]}}
    old = container(host={"NetworkMode": "other"}, networks=networks)
    body = body_of(old, native={"HostConfig": {"NetworkMode": "declared"}})
    assert body["HostConfig"]["NetworkMode"] == "declared"
    assert not body.get("NetworkingConfig", {}).get("EndpointsConfig")
    kept = body_of(old, native={"HostConfig": {"NetworkMode": "other"}})
    assert "other" in kept["NetworkingConfig"]["EndpointsConfig"]
