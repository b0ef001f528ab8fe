"""Stage 1: what is seen, what is unknown, and that nobody waits for anybody else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from executors.contract import Primitive
from flows.observe import Observation, SourceFailure, observe
from infrastructure.config_models import Environment, ObserveSettings
from infrastructure.errors import PermanentError, TemporaryError
from infrastructure.observed import (
    AlertState,
    EngineSnapshot,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
    Reading,
)
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from monitoring.http_source import MonitoringClients
from tests.builders import service
from tests.fakes.http_server import PART, Exchange, FakeServer, silent, text, vector

SETTINGS = ObserveSettings.model_validate(
    {
        "probe": {"concurrency": 4},
        "metrics": {"staleness": "60s", "step": "10s", "maxBytes": 100_000},
        "alerts": {"maxBytes": 100_000},
    }
)
UP = {"name": "up", "query": "up", "expect": "== 1"}


def hang(release: threading.Event) -> None:
    release.wait(20)


class Engine:
    """An executor that only observes. `look_around` may dawdle or raise."""

    def __init__(self, environment: str, port: int | None = None) -> None:
        self.environment = environment
        self.port = port
        self.asked: list[tuple[tuple[str, ...], bool, float]] = []
        self.look_around: Callable[[], None] = lambda: None

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        self.asked.append((tuple(s.target for s in services), all_services, timeout))
        self.look_around()
        return EngineSnapshot(
            self.environment, {s.target: self.look(s, timeout=timeout) for s in services}
        )

    def declare(self, names: frozenset[str]) -> None:
        """Nothing is adopted here."""

    def look(self, service: Service, *, timeout: float) -> ObservedService:  # noqa: ARG002 - the contract's
        published = {8000: ("127.0.0.1", self.port)} if self.port else {}
        native = NativeObject("container", "c" * 64, service.metadata.name)
        running = ObservedInstance(native, InstanceState.RUNNING, published=published)
        return ObservedService(service.target, (running,))

    def primitives(self) -> Mapping[str, Primitive]:
        return {}

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        raise AssertionError(f"observing changes nothing: {service} {call} {timeout}")

    def check(self, *, timeout: float) -> str:  # noqa: ARG002 - the contract's
        return "fake"

    def close(self) -> None:
        pass


def environment(
    *, deadline: str = "5s", prometheus: Sequence[str] = (), alertmanager: Sequence[str] = ()
) -> Environment:
    def sources(urls: Sequence[str]) -> list[dict[str, Any]]:
        return [{"url": url, "timeout": "4s"} for url in urls]

    return Environment.model_validate(
        {
            "executor": "docker",
            "connection": {},
            "detect": [],
            "deadline": deadline,
            "concurrency": 4,
            "prometheus": sources(prometheus),
            "alertmanager": sources(alertmanager),
            "policy": {},
        }
    )


def monitoring(exchange: Exchange) -> None:
    """A Prometheus where everything is up and an Alertmanager with one alert, in one."""
    now = datetime.now(UTC)
    if exchange.asked.path == "/api/v1/query":
        parts = PART.findall(exchange.asked.form("query"))
        values: dict[str, float | str] = {
            f"{n}/{part}": now.timestamp() if part == "time" else 1 for n, part in parts
        }
        exchange.answer(json.dumps(vector(values, at=now.timestamp())).encode())
    elif exchange.asked.path.startswith("/api/v2/alerts"):
        alert = {
            "fingerprint": "f",
            "labels": {"alertname": "Down"},
            "annotations": {},
            "startsAt": now.isoformat(),
            "status": {"state": "active"},
        }
        exchange.answer(json.dumps([alert]).encode())
    else:
        exchange.answer(b"[]")


@pytest.fixture
def clients() -> Iterator[MonitoringClients]:
    made = MonitoringClients()
    yield made
    made.close()


@pytest.fixture
def telemetry() -> Iterator[FakeServer]:
    with FakeServer(monitoring) as server:
        yield server


def look(
    clients: MonitoringClients,
    services: Sequence[Service],
    environments: Mapping[str, Environment],
    *engines: Engine,
    all_services: bool = False,
) -> Observation:
    return observe(
        services,
        environments=environments,
        executors={engine.environment: engine for engine in engines},
        settings=SETTINGS,
        all_services=all_services,
        clients=clients,
        now=lambda: datetime.now(UTC),
    )


def watched(name: str = "s", place: str = "a") -> Service:
    return service(
        name,
        environment=place,
        health={"http": {"port": 8000, "timeout": "1s"}, "metrics": [UP]},
    )


def test_everything_that_answers_is_seen(clients: MonitoringClients, telemetry: FakeServer) -> None:
    with FakeServer(text("ok")) as healthy:
        place = environment(prometheus=[telemetry.url], alertmanager=[telemetry.url])
        engine = Engine("a", healthy.port)
        seen = look(clients, [watched()], {"a": place}, engine).environments["a"]
    assert seen.engine is not None
    assert seen.engine.services["a/s"].instances[0].state is InstanceState.RUNNING
    assert [(p.target, p.reading) for p in seen.probes] == [("a/s", Reading.PASSED)]
    assert [(m.target, m.check, m.reading) for m in seen.metrics] == [("a/s", "up", Reading.PASSED)]
    assert seen.alerts is not None
    assert [a.state for a in seen.alerts] == [AlertState.ACTIVE]
    assert seen.silences == ()
    assert seen.failures == ()
    assert engine.asked == [(("a/s",), False, 5.0)]


def test_the_number_of_requests_does_not_grow_with_the_targets(
    clients: MonitoringClients, telemetry: FakeServer
) -> None:
    place = environment(prometheus=[telemetry.url], alertmanager=[telemetry.url])
    services = [
        service(f"s{n}", environment="a", health={"metrics": [UP | {"query": f"m{n}"}]})
        for n in range(200)
    ]
    seen = look(clients, services, {"a": place}, Engine("a")).environments["a"]
    assert len(seen.metrics) == 200
    assert len(telemetry.requests) == 3


def test_environments_that_share_their_sources_share_the_requests(
    clients: MonitoringClients, telemetry: FakeServer
) -> None:
    place = environment(prometheus=[telemetry.url], alertmanager=[telemetry.url])
    services = [watched("s", "a"), watched("t", "b"), watched("u", "b")]
    seen = look(clients, services, {"a": place, "b": place}, Engine("a"), Engine("b"))
    assert len(telemetry.requests) == 3
    assert [m.target for m in seen.environments["a"].metrics] == ["a/s"]
    assert [m.target for m in seen.environments["b"].metrics] == ["b/t", "b/u"]
    assert seen.environments["a"].alerts == seen.environments["b"].alerts


def test_an_engine_that_hangs_is_unknown_for_its_own_targets_only(
    clients: MonitoringClients, telemetry: FakeServer
) -> None:
    release = threading.Event()
    stuck, fine = Engine("a"), Engine("b")
    stuck.look_around = partial(hang, release)
    places = {
        "a": environment(deadline="300ms", prometheus=[telemetry.url]),
        "b": environment(prometheus=[telemetry.url]),
    }
    started = time.monotonic()
    seen = look(clients, [watched("s", "a"), watched("t", "b")], places, stuck, fine)
    elapsed = time.monotonic() - started
    release.set()
    assert elapsed < 1.5
    a, b = seen.environments["a"], seen.environments["b"]
    assert a.engine is None
    assert a.failures == (
        SourceFailure("a", "engine", "engine of environment a did not answer within 300ms"),
    )
    assert [(p.target, p.reading) for p in a.probes] == [("a/s", Reading.UNKNOWN)]
    assert a.metrics[0].reading is Reading.PASSED
    assert b.engine is not None
    assert b.failures == ()


def test_a_slow_prometheus_costs_its_readings_and_nothing_else(
    clients: MonitoringClients, telemetry: FakeServer
) -> None:
    with FakeServer(silent) as dead:
        places = {
            "a": environment(deadline="300ms", prometheus=[dead.url], alertmanager=[telemetry.url]),
            "b": environment(alertmanager=[dead.url], deadline="300ms"),
        }
        services = [watched("s", "a"), watched("t", "b")]
        seen = look(clients, services, places, Engine("a"), Engine("b"))
    a, b = seen.environments["a"], seen.environments["b"]
    assert a.engine is not None
    assert a.alerts is not None
    assert [(m.reading, m.detail) for m in a.metrics] == [
        (Reading.UNKNOWN, "Prometheus did not answer")
    ]
    assert [f.source for f in a.failures] == ["prometheus"]
    assert (b.alerts, b.silences) == (None, None)
    assert [f.source for f in b.failures] == ["prometheus", "alertmanager"]  # none is configured


def test_errors_of_sources_become_failures_with_their_message(
    clients: MonitoringClients, telemetry: FakeServer
) -> None:
    def broken() -> None:
        raise TemporaryError("the socket is gone")

    engine = Engine("a")
    engine.look_around = broken
    telemetry.behaviour = text("<html>")
    place = environment(prometheus=[telemetry.url], alertmanager=[telemetry.url])
    seen = look(clients, [watched()], {"a": place}, engine).environments["a"]
    assert [f.source for f in seen.failures] == ["engine", "prometheus", "alertmanager"]
    assert seen.failures[0].error == "the socket is gone"
    assert all("\n" not in failure.error for failure in seen.failures)
    assert seen.alerts is None


def test_one_dead_member_of_a_pair_is_told_and_nothing_is_unknown(
    clients: MonitoringClients, telemetry: FakeServer
) -> None:
    with FakeServer(text("", 503)) as dead:
        place = environment(alertmanager=[dead.url, telemetry.url])
        seen = look(clients, [service(environment="a")], {"a": place}, Engine("a"))
    a = seen.environments["a"]
    assert a.alerts is not None
    assert len(a.alerts) == 1
    assert [f.source for f in a.failures] == ["alertmanager"]


def test_no_alertmanager_means_no_alerts(clients: MonitoringClients) -> None:
    seen = look(clients, [service(environment="a")], {"a": environment()}, Engine("a"))
    a = seen.environments["a"]
    assert (a.alerts, a.silences, a.metrics, a.failures) == ((), (), (), ())


def test_an_environment_without_executor_or_configuration_is_unknown(
    clients: MonitoringClients,
) -> None:
    services = [watched("s", "a"), watched("t", "ghost")]
    seen = look(clients, services, {"a": environment()})
    assert "could not be started" in seen.environments["a"].failures[0].error
    ghost = seen.environments["ghost"]
    assert ghost.failures[0].error == "environment ghost is not in environments.yml"
    assert ghost.metrics[0].reading is Reading.UNKNOWN
    assert ghost.probes[0].reading is Reading.UNKNOWN


def test_strays_are_looked_for_only_when_all_services_are_given(
    clients: MonitoringClients,
) -> None:
    places = {"a": environment(), "b": environment()}
    a, b = Engine("a"), Engine("b")
    some = look(clients, [service("s", environment="a")], places, a, b)
    assert set(some.environments) == {"a"}
    everything = look(clients, [service("s", environment="a")], places, a, b, all_services=True)
    assert set(everything.environments) == {"a", "b"}
    assert [asked[:2] for asked in b.asked] == [((), True)]


def test_probes_that_do_not_finish_are_unknown(clients: MonitoringClients) -> None:
    with FakeServer(silent) as server:
        place = environment(deadline="300ms")
        slow = service(environment="a", health={"http": {"port": 8000, "timeout": "20s"}})
        started = time.monotonic()
        seen = look(clients, [slow], {"a": place}, Engine("a", server.port)).environments["a"]
    assert time.monotonic() - started < 1.5
    assert seen.engine is not None
    assert [p.reading for p in seen.probes] == [Reading.UNKNOWN]


def test_a_programming_error_is_not_taken_for_a_silent_source(clients: MonitoringClients) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    engine = Engine("a")
    engine.look_around = broken
    with pytest.raises(ZeroDivisionError):
        look(clients, [service(environment="a")], {"a": environment()}, engine)


def test_a_refused_url_is_a_failure_too(clients: MonitoringClients) -> None:
    place = environment(prometheus=["http://host:99999"])
    seen = look(clients, [watched()], {"a": place}, Engine("a")).environments["a"]
    assert "port" in seen.failures[0].error
    assert PermanentError.__name__ not in seen.failures[0].error
