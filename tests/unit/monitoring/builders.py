"""Sources and checks for the tests of the readers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from infrastructure.config_models import AlertSettings, HttpSource, MetricSettings
from infrastructure.service import MetricCheck
from monitoring.http_source import SourceClient

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
METRICS = MetricSettings.model_validate({"staleness": "60s", "step": "10s", "maxBytes": 200_000})
ALERTS = AlertSettings.model_validate({"maxBytes": 65536})


def source(url: str, *, timeout: str = "2s", **settings: Any) -> HttpSource:
    return HttpSource.model_validate({"url": url, "timeout": timeout, **settings})


@contextlib.contextmanager
def client(url: str, *, timeout: str = "2s", **settings: Any) -> Iterator[SourceClient]:
    made = SourceClient(source(url, timeout=timeout, **settings))
    try:
        yield made
    finally:
        made.close()


def check(
    query: str = "up", expect: str = "== 1", for_: str = "0s", name: str = "up"
) -> MetricCheck:
    return MetricCheck.model_validate({"name": name, "query": query, "expect": expect, "for": for_})
