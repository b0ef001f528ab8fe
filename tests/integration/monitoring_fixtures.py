"""A Prometheus and Alertmanagers of a test's own, on real sockets and with real time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import yaml

from flows import local_stack
from infrastructure.config_models import HttpSource
from monitoring.http_source import SourceClient
from tests.conftest import real_part
from tests.fakes.http_server import Exchange, FakeServer

T = TypeVar("T")


class Exporter:
    """A scrape target. `metrics` may be changed; None makes it fail its scrapes."""

    def __init__(self, metrics: str) -> None:
        self.metrics: str | None = metrics
        self.server = FakeServer(self._expose)

    def _expose(self, exchange: Exchange) -> None:
        if self.metrics is None:
            exchange.hang_up()
            return
        kind = "Content-Type: text/plain; version=0.0.4\r\n"
        exchange.answer(self.metrics.encode(), headers=kind)


@contextlib.contextmanager
def exporter(metrics: str) -> Iterator[Exporter]:
    made = Exporter(metrics)
    with made.server:
        yield made


class Targets:
    """The service discovery file of a Prometheus."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self, **targets: str) -> None:
        """Job → url. Prometheus reads the file again by itself."""
        groups = [
            {"targets": [url.removeprefix("http://")], "labels": {"job": job}}
            for job, url in targets.items()
        ]
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(self._path)


@contextlib.contextmanager
def prometheus(scratch: Path, **targets: str) -> Iterator[tuple[str, Targets]]:
    found = Targets(scratch / "targets.yml")
    found.set(**targets)
    config = scratch / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms"},
                "scrape_configs": [
                    {"job_name": "files", "file_sd_configs": [{"files": ["targets.yml"]}]}
                ],
            }
        )
    )
    with contextlib.ExitStack() as stack:
        with real_part():
            url = stack.enter_context(local_stack.prometheus(scratch, config))
        yield url, found


@contextlib.contextmanager
def sources(*urls: str, timeout: str = "30s") -> Iterator[tuple[SourceClient, ...]]:
    made = [
        SourceClient(HttpSource.model_validate({"url": url, "timeout": timeout})) for url in urls
    ]
    try:
        yield tuple(made)
    finally:
        for client in made:
            client.close()


def eventually(read: Callable[[], T], holds: Callable[[T], object], *, within: float = 20) -> T:
    """The first value for which it holds."""
    deadline = time.monotonic() + within
    while True:
        value = read()
        if holds(value):
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {within} s"
        time.sleep(0.1)


def up(job: str) -> str:
    return f'up{{job="{job}"}}'
