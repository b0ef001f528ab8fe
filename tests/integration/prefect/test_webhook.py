"""A real Alertmanager posts to a real `uici serve`: a run for just the target, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from flows.local_stack.child import free_port
from flows.local_stack.telemetry import alertmanager
from tests.integration.prefect.service import Service, wait_for
from tests.unit.serve.test_webhook import alert, message

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

TOKEN = "a-token-of-the-tests"
WEBHOOK = {
    "path": "/alerts",
    "token": TOKEN,
    "maxBytes": 1_000_000,
    "perMinute": 60_000,
    "burst": 2000,
}
CONFIG = """
route: {{receiver: uici, group_by: [service], group_wait: 0s, group_interval: 1s}}
receivers:
  - name: uici
    webhook_configs:
      - url: http://127.0.0.1:{port}/alerts
        send_resolved: true
        http_config: {{authorization: {{credentials: {token}}}}}
"""


def looks(service: Service) -> list[tuple[float, str]]:
    """When each run began, and over which targets."""
    file = service.data / "targets"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(float(at), targets) for at, _, targets in (line.partition(" ") for line in lines)]


@pytest.fixture
def listening(new_service: Callable[..., Service]) -> tuple[Service, int]:
    port = free_port()
    http = {"host": "127.0.0.1", "port": port}
    # A worker that polls so seldom starts nothing within a second by itself.
    service = new_service(interval="1d", http=http, webhook=WEBHOOK, pollInterval="20s")
    service.start().started()
    ready = f"http://127.0.0.1:{port}/readyz"
    wait_for(lambda: httpx.get(ready, timeout=5).status_code == 200, what="readiness")
    wait_for(lambda: not service.api.runs(service.pool, "RUNNING", "PENDING"), what="quiet")
    return service, port


def test_alertmanager_starts_a_run_for_the_target_that_fires(
    listening: tuple[Service, int], tmp_path: Path
) -> None:
    service, port = listening
    before = len(looks(service))
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG.format(port=port, token=TOKEN))
    now = datetime.now(UTC)
    fired = {
        "labels": {"alertname": "Down", "service": "web"},
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
    }
    with alertmanager(tmp_path, config) as url:
        httpx.post(f"{url}/api/v2/alerts", json=[fired], timeout=10).raise_for_status()
        wait_for(lambda: len(looks(service)) > before, what="the run")
        own = {**fired, "labels": {"alertname": "Down", "service": "agent"}}
        httpx.post(f"{url}/api/v2/alerts", json=[own], timeout=10).raise_for_status()
        time.sleep(3)  # that nothing comes can only be seen by waiting
    assert [targets for _, targets in looks(service)[before:]] == ["local-docker/web"]
    (run,) = [r for r in service.api.runs(service.pool) if "uici:webhook" in r["tags"]]
    assert run["parameters"] == {"targets": ["local-docker/web"]}


def test_a_storm_starts_one_run_and_one_more(listening: tuple[Service, int]) -> None:
    service, port = listening
    before = len(looks(service))
    service.behave("slow 3")
    begun_at = time.monotonic()
    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        for number in range(300):
            name = "web" if number % 2 else "db"
            body = message(alert(name, fingerprint=f"f{number}"))
            answer = client.post(f"http://127.0.0.1:{port}/alerts", content=body)
            assert answer.status_code == 202
    lasted = time.monotonic() - begun_at  # on a busy machine longer than a run
    wait_for(lambda: len(looks(service)) > before, what="the first run")
    wait_for(lambda: not service.api.runs(service.pool, "RUNNING", "PENDING"), what="quiet")
    time.sleep(2)  # that no third comes can only be seen by waiting
    begun = [targets for _, targets in looks(service)[before:]]
    assert 1 <= len(begun) <= 2 + lasted // 3
    assert set(",".join(begun).split(",")) == {"local-docker/db", "local-docker/web"}
