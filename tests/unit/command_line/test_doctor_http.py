"""`uici doctor` against servers that keep who asks: it ends in time, and says what it met."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from flows.command_line.doctor_http import answers, prefect_finding
from infrastructure.config_models import PrefectSettings
from tests.fakes import http_server
from tests.fakes.http_server import Behaviour, FakeServer


def settings(url: str) -> PrefectSettings:
    server = {"mode": "external", "host": "127.0.0.1", "port": 4200, "readyTimeout": "1s"}
    return PrefectSettings.model_validate(
        {
            "apiUrl": url,
            "server": server,
            "workPool": "uici",
            "pollInterval": "2s",
            "deployment": "reconcile",
            "tags": [],
        }
    )


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (http_server.slow_headers, "no answer in time"),
        (http_server.slow_drip, "no answer in time"),
        (http_server.huge, "larger than"),
        (http_server.closes_early, "closed the connection early"),
    ],
)
def test_a_prefect_that_keeps_who_asks_is_told_of_in_time(behaviour: Behaviour, words: str) -> None:
    with FakeServer(behaviour) as server:
        began = time.monotonic()
        found = prefect_finding(settings(f"{server.url}/api"), within=timedelta(seconds=0.5))
    assert time.monotonic() - began < 4
    assert found.level.value == "warning"
    assert words in found.detail
    assert "uici serve" in found.detail


def test_what_prefect_answers_is_told_without_credentials() -> None:
    with FakeServer(http_server.text("true")) as server:
        with_password = server.url.replace("://", "://me:hunter2@")
        found = prefect_finding(settings(f"{with_password}/api"))
        server.behaviour = http_server.text("no", status=503)
        ill = prefect_finding(settings(f"{server.url}/api"))
    assert (found.level.value, found.detail) == ("ok", f"{server.url}/api/health answers 200")
    assert (ill.level.value, ill.detail) == ("warning", f"{server.url}/api/health answers 503")


def test_a_sign_is_an_address_that_answers_within_a_second() -> None:
    with FakeServer(http_server.text("", status=404)) as server:
        assert answers(f"{server.url}/a/?b=c")
        assert server.requests[-1].path == "/a/?b=c"
        server.behaviour = http_server.slow_drip
        began = time.monotonic()
        assert not answers(server.url)
        assert time.monotonic() - began < 3
    assert not answers(server.url)
    assert not answers("http://[")
