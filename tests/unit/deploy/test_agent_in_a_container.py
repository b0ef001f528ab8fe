"""Where an agent in a container of its own finds the services of its host's engine."""

from __future__ import annotations

import pytest

from executors.contract import ExecutorContext
from executors.docker.sdk import Connection, connect
from executors.docker.spec import Reach, observed_instance
from infrastructure.identity import UNKNOWN_CONTAINER, AgentIdentity, place_id

OWN = "4f" * 32
HOST = "unix:///var/run/docker.sock"
PUBLISHED = {
    "Id": "ab" * 32,
    "Name": "/shop",
    "State": {"Status": "running"},
    "Config": {},
    "HostConfig": {},
    "NetworkSettings": {
        "Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]},
        "Networks": {"market": {"IPAddress": "172.20.0.3"}},
    },
}


def reach(native_ids: set[str], **connection: str) -> Reach:
    context = ExecutorContext(
        environment="local-docker",
        concurrency=1,
        identity=AgentIdentity("agent", frozenset({"agent"}), native_ids=frozenset(native_ids)),
        resolve_secret=str,
    )
    settings = Connection.model_validate({"host": HOST, **connection})
    return connect(settings, context)._reach


def test_on_the_host_published_ports_are_asked() -> None:
    seen = observed_instance(PUBLISHED, reach(set()), keep_native=False)
    assert seen.published == {8000: ("127.0.0.1", 8000)}


@pytest.mark.parametrize("own", [OWN, OWN[:12], UNKNOWN_CONTAINER])
def test_in_a_container_the_services_containers_are_asked(own: str) -> None:
    """Its own loopback is not the host's: a sound service would look dead, and be restarted."""
    seen = observed_instance(PUBLISHED, reach({own}), keep_native=False)
    assert seen.published == {}
    assert seen.address == "172.20.0.3"


def test_what_else_an_agent_is_known_by_is_no_container() -> None:
    for known in ("ocid1.instance.oc1..aaaa", place_id("node", "n1"), "11111111-aaaa-bbbb-cccc-1"):
        assert reach({known}).published


def test_whoever_names_the_host_of_published_ports_means_it() -> None:
    assert reach({OWN}, publishedHost="host.docker.internal").published
    assert reach({OWN}, host="tcp://engine.example:2375").published
