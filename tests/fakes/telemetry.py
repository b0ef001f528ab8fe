"""A Prometheus and an Alertmanager in memory, over real HTTP, for tests of the whole loop.

Tests change what they know (`values`, `alerts`, `silences`) between runs and look at what
was told to them (`posted`). Only the answers that the readers ask for are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.http_server import PART, Exchange, FakeServer, vector


@dataclass
class FakeAlertmanager:
    """`alerts` and `silences` are what its API answers, `posted` what was raised there."""

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list)
    silences: list[dict[str, Any]] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def source(self) -> dict[str, str]:
        """As environments.yml names it."""
        return {"url": self.url, "timeout": "2s"}

    def fire(self, name: str, *, age: float = 60, **labels: str) -> None:
        """From now on this alert fires, since `age` seconds."""
        known = {"alertname": name, **labels}
        text = json.dumps(known, sort_keys=True)
        self.alerts.append(
            {
                "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
                "labels": known,
                "annotations": {},
                "startsAt": (datetime.now(UTC) - timedelta(seconds=age)).isoformat(),
                "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
            }
        )

    def silence(self, **matchers: str) -> None:
        """A person's maintenance window of an hour."""
        self.silences.append(
            {
                "id": f"silence-{len(self.silences)}",
                "matchers": [
                    {"name": name, "value": value, "isRegex": False, "isEqual": True}
                    for name, value in matchers.items()
                ],
                "endsAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
                "createdBy": "ann",
                "comment": "moving house",
                "status": {"state": "active"},
            }
        )

    def told(self, service: str | None = None) -> list[dict[str, str]]:
        """Labels of what was raised, each once."""
        seen = {json.dumps(alert["labels"], sort_keys=True) for alert in self.posted}
        labels: list[dict[str, str]] = [json.loads(text) for text in sorted(seen)]
        return [each for each in labels if service is None or each.get("service") == service]

    def behave(self, exchange: Exchange) -> None:
        asked = exchange.asked
        if asked.method == "POST":
            self.posted += json.loads(asked.body)
            exchange.answer(b"{}")
        elif asked.path.startswith("/api/v2/silences"):
            exchange.answer(json.dumps(self.silences).encode())
        else:
            exchange.answer(json.dumps(self.alerts).encode())


@dataclass
class FakePrometheus:
    """`values`: the value of each query, measured now; a query that is absent has no sample."""

    url: str = ""
    values: dict[str, float] = field(default_factory=dict)

    @property
    def source(self) -> dict[str, str]:
        """As environments.yml names it."""
        return {"url": self.url, "timeout": "2s"}

    def behave(self, exchange: Exchange) -> None:
        now = time.time()
        samples: dict[str, float | str] = {}
        for piece in exchange.asked.form("query").split("label_replace(")[1:]:
            part = PART.search(piece)
            value = next((v for query, v in self.values.items() if query in piece), None)
            if part is not None and value is not None:
                samples[f"{part[1]}/{part[2]}"] = now if part[2] == "time" else value
        exchange.answer(json.dumps(vector(samples, at=now)).encode())


@contextlib.contextmanager
def alertmanager() -> Iterator[FakeAlertmanager]:
    """One that knows nothing yet."""
    made = FakeAlertmanager()
    with FakeServer(made.behave) as server:
        made.url = server.url
        yield made


@contextlib.contextmanager
def prometheus(**values: float) -> Iterator[FakePrometheus]:
    """One that knows these values."""
    made = FakePrometheus(values=dict(values))
    with FakeServer(made.behave) as server:
        made.url = server.url
        yield made
