"""What `uici doctor` says of the servers that keep logs, asked on loopback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from flows.command_line.doctor_logs import log_findings
from flows.command_line.finding import Finding
from infrastructure.config_loader import UniversalConfigLoader
from monitoring.http_source import MonitoringClients
from tests.fakes.http_server import FakeServer, text
from tests.fakes.llm_setting import service
from tests.fakes.loop import write_config
from tests.unit.monitoring.test_loki import Kept

SERVICES = [service("local-docker/shop"), service("local-docker/web")]


def findings(root: Path, services: Any, *urls: str) -> list[Finding]:
    logs = {
        "sources": [{"url": url, "timeout": "1s"} for url in urls],
        "serviceLabel": "service",
        "instanceLabel": "container",
        "streamLabel": "stream",
        "lookBack": "1h",
        "maxBytes": 65536,
    }
    place = {
        "executor": "docker",
        "connection": {"host": "unix:///nowhere.sock"},
        "detect": [],
        "deadline": "1s",
        "concurrency": 1,
        "prometheus": [],
        "alertmanager": [],
        "policy": {},
        "logs": logs if urls else None,
    }
    platform = {"git": {"remote": str(root)}}
    directory = write_config(
        root / "config", platform=platform, environments={"environments": {"local-docker": place}}
    )
    environment = UniversalConfigLoader(directory).load().get_environment("local-docker")
    clients = MonitoringClients()
    try:
        return list(log_findings("local-docker", environment, services, clients))
    finally:
        clients.close()


def kept(name: str) -> Kept:
    return Kept((time.time_ns() - 10**10, {"service": name, "container": "c"}, "a line"))


def test_where_logs_are_the_engines_own_nothing_is_said(tmp_path: Path) -> None:
    assert findings(tmp_path, SERVICES) == []


def test_a_server_with_lines_of_the_services_is_well(tmp_path: Path) -> None:
    with FakeServer(kept("web")) as server:
        (found,) = findings(tmp_path, SERVICES, server.url)
    assert (found.name, found.level.value) == ("local-docker: logs", "ok")
    assert found.detail == f"{server.url} answers: lines of 1 of 2 services in the last 1h"


def test_a_server_that_knows_none_of_the_services_is_asked_with_the_wrong_labels(
    tmp_path: Path,
) -> None:
    with FakeServer(kept("another")) as server:
        (found,) = findings(tmp_path, SERVICES, server.url)
    assert found.level.value == "warning"
    assert "no line of shop, web in the last 1h" in found.detail
    assert "logs.serviceLabel (service)" in found.detail


def test_without_services_the_answer_counts(tmp_path: Path) -> None:
    with FakeServer(kept("another")) as server:
        (found,) = findings(tmp_path, [], server.url)
    assert (found.level.value, found.detail) == ("ok", f"{server.url} answers")


@pytest.mark.parametrize("status", [200, 404])
def test_each_server_is_told_of_by_itself(tmp_path: Path, status: int) -> None:
    with FakeServer(kept("shop")) as well, FakeServer(text("<html>", status)) as other:
        found = findings(tmp_path, SERVICES, well.url, other.url)
    assert [each.level.value for each in found] == ["ok", "error"]
    assert other.url in found[1].detail
