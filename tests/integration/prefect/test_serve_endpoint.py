"""The endpoint of a `uici serve` process: there from the beginning, ready when it works."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from flows.local_stack.child import answers, free_port
from tests.integration.prefect.service import Service, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_it_is_alive_before_it_is_ready_and_ends_with_the_service(
    new_service: Callable[..., Service],
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    service = new_service(interval="1d", http={"host": "127.0.0.1", "port": port})
    service.start()
    wait_for(lambda: answers(f"{url}/healthz"), what="the endpoint")
    before = status(f"{url}/readyz")
    assert service.log().count('"worker_started"') or before == 503
    wait_for(lambda: status(f"{url}/readyz") == 200, what="readiness")
    assert '"serving"' in service.log()
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b"uici_runs_total" in response.read()
    service.end()
    assert not answers(f"{url}/healthz")


def test_a_taken_port_ends_it_with_one_line(new_service: Callable[..., Service]) -> None:
    port = free_port()
    first = new_service(interval="1d", http={"host": "127.0.0.1", "port": port})
    first.start().started()
    second = new_service(interval="1d", http={"host": "127.0.0.1", "port": port})
    second.start()
    assert second.process.wait(timeout=60) == 1
    assert f"can't listen on 127.0.0.1 port {port}" in second.log()
    assert "Traceback" not in second.log()


def test_an_unusable_data_directory_ends_it_with_one_line(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(interval="1d")
    (service.data / "serve.lock").mkdir()
    service.start()
    assert service.process.wait(timeout=60) == 1
    assert "the data directory can't be used" in service.log()
    assert "Traceback" not in service.log()
