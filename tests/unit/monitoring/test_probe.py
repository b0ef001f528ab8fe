"""HTTP probes of instances, against real sockets."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from infrastructure.config_models import ProbeSettings
from infrastructure.observed import (
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ProbeReading,
    Reading,
)
from infrastructure.service import Service
from monitoring.probe import address, probe_services, unprobed
from tests.builders import service
from tests.fakes.http_server import (
    Behaviour,
    Exchange,
    FakeServer,
    huge,
    raw,
    silent,
    slow_headers,
    text,
)

SETTINGS = ProbeSettings(concurrency=8)


def probed(path: str = "/health", timeout: str = "2s") -> Service:
    return service(health={"http": {"port": 8000, "path": path, "timeout": timeout}})


def instance(port: int | None, name: str = "i", **changes: Any) -> ObservedInstance:
    published = {8000: ("0.0.0.0", port)} if port is not None else {}
    values = {"state": InstanceState.RUNNING, "published": published} | changes
    return ObservedInstance(native=NativeObject("container", name * 12, name), **values)


def probe(
    wanted: Service, *instances: ObservedInstance, within: float = 10
) -> tuple[ProbeReading, ...]:
    seen = ObservedService(wanted.target, instances)
    return probe_services([(wanted, seen)], SETTINGS, deadline=time.monotonic() + within)


@pytest.mark.parametrize(
    ("behaviour", "reading", "detail"),
    [
        (text("ok"), Reading.PASSED, "200 OK"),
        (text("", 302), Reading.PASSED, "302 Found"),
        (text("", 399), Reading.PASSED, "399"),
        (text("", 404), Reading.FAILED, "404 Not Found"),
        (text("", 503), Reading.FAILED, "503 Service Unavailable"),
        (huge, Reading.PASSED, "200 OK"),
        (
            raw(b"SSH-2.0-x\r\n"),
            Reading.FAILED,
            "closed the connection early or does not speak HTTP",
        ),
        (raw(b""), Reading.FAILED, "closed the connection early or does not speak HTTP"),
    ],
)
def test_the_status_decides(behaviour: Behaviour, reading: Reading, detail: str) -> None:
    with FakeServer(behaviour) as server:
        (seen,) = probe(probed("/health?full=1"), instance(server.port))
    assert (seen.target, seen.instance) == ("local-docker/market-predictor", "i")
    assert (seen.reading, seen.detail) == (reading, detail)
    assert server.requests[0].path == "/health?full=1"
    assert server.requests[0].method == "GET"


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [(text("", 404), " answers 404 Not Found"), (silent, " failed: no answer in time")],
)
def test_a_failed_probe_is_told_with_the_address_that_was_asked(
    behaviour: Behaviour, told: str
) -> None:
    with FakeServer(behaviour) as server:
        (seen,) = probe(probed("/health?full=1", timeout="200ms"), instance(server.port))
    assert seen.told == f"http://127.0.0.1:{server.port}/health?full=1{told}"
    (nowhere,) = probe(probed(), instance(None))
    assert nowhere.told == nowhere.detail


def test_redirects_are_not_followed_and_proxies_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with FakeServer(text("")) as server:
        server.behaviour = lambda exchange: exchange.answer(
            b"", status=301, headers=f"Location: {server.url}/elsewhere\r\n"
        )
        (seen,) = probe(probed(), instance(server.port))
    assert seen.reading is Reading.PASSED
    assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", [silent, slow_headers])
def test_a_probe_fails_when_its_own_time_is_over(behaviour: Behaviour) -> None:
    with FakeServer(behaviour) as server:
        (seen,) = probe(probed(timeout="200ms"), instance(server.port))
    assert (seen.reading, seen.detail) == (Reading.FAILED, "no answer in time")
    assert 0.15 < seen.seconds < 1


def test_a_probe_cut_short_by_the_run_is_unknown() -> None:
    with FakeServer(silent) as server:
        (cut,) = probe(probed(timeout="5s"), instance(server.port), within=0.2)
        (never,) = probe(probed(), instance(server.port), within=-1)
    assert (cut.reading, cut.detail) == (Reading.UNKNOWN, "not probed in the time of this run")
    assert never.reading is Reading.UNKNOWN
    assert len(server.requests) == 1


def test_refused_is_failed_and_unreachable_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    (refused,) = probe(probed(), instance(port))
    assert (refused.reading, refused.detail) == (Reading.FAILED, "connection refused")
    (lost,) = probe(probed(), instance(None, address="host.invalid"))
    assert (lost.reading, lost.detail) == (Reading.UNKNOWN, "can't be reached")
    (strange,) = probe(probed(), instance(None, address="a..b"))
    assert strange.reading is Reading.UNKNOWN


def test_only_running_instances_of_services_with_a_check_are_probed() -> None:
    states = [instance(None, state=state) for state in InstanceState]
    assert len(probe(probed(), *states)) == 1
    assert probe(service(), instance(1)) == ()
    (nowhere,) = probe(probed(), instance(None))
    assert (nowhere.reading, nowhere.detail) == (
        Reading.UNKNOWN,
        "port 8000 has no address to probe",
    )


def test_addresses() -> None:
    assert address(instance(18000), 8000) == ("127.0.0.1", 18000)
    assert address(instance(18000, address="172.17.0.2"), 8000) == ("127.0.0.1", 18000)
    assert address(instance(None, address="172.17.0.2"), 8000) == ("172.17.0.2", 8000)
    assert address(instance(None, published={8000: ("::", 1)}), 8000) == ("::1", 1)
    assert address(instance(None, published={8000: ("10.0.0.1", 1)}), 8000) == ("10.0.0.1", 1)
    assert address(instance(None, published={9000: ("10.0.0.1", 1)}), 8000) is None


def test_probes_run_at_the_same_time_but_not_more_than_allowed() -> None:
    lock = threading.Lock()
    current = [0, 0]

    def busy(exchange: Exchange) -> None:
        with lock:
            current[0] += 1
            current[1] = max(current)
        exchange.sleep(0.05)
        with lock:
            current[0] -= 1
        exchange.answer(b"")

    with FakeServer(busy) as server:
        started = time.monotonic()
        seen = probe(probed(), *(instance(server.port, f"i{n}") for n in range(40)))
        elapsed = time.monotonic() - started
    assert [r.instance for r in seen] == [f"i{n}" for n in range(40)]
    assert {r.reading for r in seen} == {Reading.PASSED}
    assert 1 < current[1] <= 8
    assert elapsed < 40 * 0.05


def test_unprobed_has_an_entry_for_each_probe_that_was_due() -> None:
    wanted = probed()
    seen = ObservedService(wanted.target, (instance(1), instance(2, state=InstanceState.STOPPED)))
    assert [r.detail for r in unprobed([(wanted, seen)], "why")] == ["why"]
