from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from flows.platform_operations import Collaborators, Escalation, PlatformOperations
from infrastructure.errors import DeadlineExceededError, PermanentError, TemporaryError
from infrastructure.observed import ObservedService, ProbeReading, Reading
from infrastructure.operations import PrimitiveCall
from infrastructure.service import Service
from monitoring.loki import LogLine, LogQuery
from tests.unit.operations import shipped
from tests.unit.operations.recorded_engine import instance

SHOP = shipped.service("shop", dependsOn=["db"], health={"http": {"port": 8000}})
DB = shipped.service("db")
REPORTS = shipped.service("reports", dependsOn=["db"])
ELSEWHERE = shipped.service("web", environment="other", dependsOn=["db"])


class Outside:
    """What lies behind the platform: probes, Prometheus, Alertmanager."""

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self.readings = readings
        self.posted: list[Escalation] = []
        self.log_queries: list[LogQuery] = []
        self.kept: list[LogLine] = []

    def look(self, service: Service, timeout: float) -> ObservedService:
        assert timeout > 0
        instances = tuple(instance(f"shop-{n}") for n in range(len(self.readings)))
        return ObservedService(service.target, instances)

    def probe(
        self, service: Service, observed: ObservedService, timeout: float
    ) -> Sequence[ProbeReading]:
        assert timeout > 0
        pairs = zip(observed.instances, self.readings, strict=True)
        return [ProbeReading(service.target, i.native.name, r, "200 OK") for i, r in pairs]

    def query(self, environment: str, query: str, timeout: float) -> Any:
        if timeout < 1:
            raise TemporaryError("prometheus did not answer")
        return {"environment": environment, "query": query}

    def stored_logs(self, environment: str, query: LogQuery, timeout: float) -> list[LogLine]:
        assert environment == "local"
        assert timeout > 0
        self.log_queries.append(query)
        return self.kept

    def post(self, escalation: Escalation, timeout: float) -> None:
        assert timeout > 0
        self.posted.append(escalation)


def platform(outside: Outside) -> PlatformOperations:
    collaborators = Collaborators(
        look=outside.look,
        probe=outside.probe,
        query=outside.query,
        post_alert=outside.post,
        redact=lambda text: text.replace("hunter2", "[redacted]"),
        stored_logs=outside.stored_logs,
    )
    services = {service.target: service for service in (SHOP, DB, REPORTS, ELSEWHERE)}
    return PlatformOperations(collaborators, services)


def test_an_escalation_is_an_alert_with_the_target_s_labels() -> None:
    outside = Outside()
    result = platform(outside).call(
        SHOP,
        PrimitiveCall("escalate", {"summary": "look:\nhunter2", "severity": "critical"}),
        timeout=5,
    )
    assert outside.posted == [
        Escalation(
            "local",
            {
                "alertname": "UICIEscalation",
                "service": "shop",
                "environment": "local",
                "target": "local/shop",
                "severity": "critical",
            },
            {"summary": "look: [redacted]"},
        )
    ]
    assert result.changed


@pytest.mark.parametrize(
    ("readings", "together"),
    [
        ([Reading.PASSED, Reading.PASSED], "passed"),
        ([Reading.PASSED, Reading.FAILED], "failed"),
        ([Reading.PASSED, Reading.UNKNOWN], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_probe_tells_every_instance(readings: list[Reading], together: str) -> None:
    result = platform(Outside(readings)).call(SHOP, PrimitiveCall("http_probe"), timeout=5)
    assert result.output == {
        "reading": together,
        "probes": [
            {"instance": f"shop-{n}", "reading": reading.value, "detail": "200 OK"}
            for n, reading in enumerate(readings)
        ],
    }
    assert not result.changed


def test_dependencies_are_told_in_both_directions() -> None:
    providing = platform(Outside())
    call = PrimitiveCall("describe_dependencies")
    assert providing.call(SHOP, call, timeout=5).output == {"needs": ["local/db"], "needed_by": []}
    assert providing.call(DB, call, timeout=5).output == {
        "needs": [],
        "needed_by": ["local/reports", "local/shop"],
    }


def test_a_query_goes_to_the_target_s_environment() -> None:
    call = PrimitiveCall("query_metrics", {"query": "up"})
    providing = platform(Outside())
    assert providing.call(ELSEWHERE, call, timeout=5).output == {
        "environment": "other",
        "query": "up",
    }
    with pytest.raises(TemporaryError):
        providing.call(ELSEWHERE, call, timeout=0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (PrimitiveCall("reboot"), "no primitive reboot"),
        (PrimitiveCall("escalate", {"summary": "x"}), "takes summary, severity"),
        (PrimitiveCall("query_metrics", {"query": "up", "at": 1}), "takes query"),
        (PrimitiveCall("http_probe", {"path": "/"}), "takes no arguments"),
    ],
)
def test_a_wrong_call_is_refused(call: PrimitiveCall, message: str) -> None:
    outside = Outside()
    with pytest.raises(PermanentError, match=message):
        platform(outside).call(SHOP, call, timeout=5)
    assert outside.posted == []


def test_a_service_without_a_probe_can_not_be_probed() -> None:
    with pytest.raises(PermanentError, match=r"local/db declares no health\.http"):
        platform(Outside()).call(DB, PrimitiveCall("http_probe"), timeout=5)


def test_the_probe_gets_only_the_time_that_looking_left() -> None:
    class Slow(Outside):
        def look(self, service: Service, timeout: float) -> ObservedService:
            time.sleep(timeout)
            return super().look(service, timeout)

    with pytest.raises(DeadlineExceededError, match="no time was left"):
        platform(Slow([Reading.PASSED])).call(SHOP, PrimitiveCall("http_probe"), timeout=0.01)


def _logs(outside: Outside, **arguments: object) -> str:
    call = PrimitiveCall("stored_logs", arguments)
    return str(platform(outside).call(SHOP, call, timeout=5).output)


def test_kept_logs_are_asked_for_by_the_services_name() -> None:
    outside = Outside()
    assert _logs(outside) == ""
    _logs(outside, lines=7, since="15m", filter="boom", source="stderr")
    assert outside.log_queries == [
        LogQuery("shop", 100),
        LogQuery("shop", 7, timedelta(minutes=15), "boom", "stderr"),
    ]


def test_kept_logs_read_as_those_of_an_engine() -> None:
    outside = Outside()
    outside.kept = [LogLine(1_000_000_001, "shop-1", "started")]
    assert _logs(outside) == "1970-01-01T00:00:01.000000001Z started"
    outside.kept.append(LogLine(2_000_000_000, "shop-2", "started, too"))
    assert _logs(outside).splitlines() == [
        "1970-01-01T00:00:01.000000001Z [shop-1] started",
        "1970-01-01T00:00:02.000000000Z [shop-2] started, too",
    ]


def test_a_level_takes_the_lines_that_follow_it_of_the_same_instance_only() -> None:
    outside = Outside()
    outside.kept = [
        LogLine(1_000_000_000, "error-1", "ERROR it broke"),
        LogLine(2_000_000_000, "error-2", "info: fine"),
        LogLine(3_000_000_000, "error-1", "  at line 7"),
        LogLine(4_000_000_000, "error-2", "still fine"),
    ]
    told = _logs(outside, level="error", lines=2)
    assert [line.partition("Z ")[2] for line in told.splitlines()] == [
        "[error-1] ERROR it broke",
        "[error-1]   at line 7",
    ]
    assert outside.log_queries[0].lines == 5000


def test_kept_logs_take_no_other_arguments() -> None:
    with pytest.raises(PermanentError, match="stored_logs takes lines, since"):
        _logs(Outside(), tail=3)
