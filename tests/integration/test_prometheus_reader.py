"""The Prometheus reader against a real Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infrastructure.config_models import MetricSettings
from infrastructure.errors import PermanentError
from infrastructure.observed import MetricReading, Reading
from infrastructure.service import MetricCheck
from monitoring.http_source import SourceClient
from monitoring.prometheus import query, read_metrics
from tests.integration.monitoring_fixtures import (
    Exporter,
    Targets,
    eventually,
    exporter,
    prometheus,
    sources,
    up,
)

pytestmark = pytest.mark.real
# Only one test waits for staleness; the others must not be hurried by a busy machine.
SETTINGS = MetricSettings.model_validate(
    {"staleness": "30s", "step": "500ms", "maxBytes": 33_554_432}
)
SAMPLES = """\
load 0.5
queue{name="a"} 1
queue{name="b"} 9
broken NaN
half{name="a"} NaN
half{name="b"} 2
old 1 %d
"""


class Real:
    """A Prometheus, what it scrapes, and a client."""

    def __init__(self, source: SourceClient, targets: Targets, app: Exporter) -> None:
        self.source = source
        self.targets = targets
        self.app = app

    def read(self, *checks: tuple[str, str, str]) -> list[MetricReading]:
        """(query, expect, for) each."""
        made = [
            (
                f"e/s{n}",
                MetricCheck.model_validate({"name": "c", "query": q, "expect": e, "for": f}),
            )
            for n, (q, e, f) in enumerate(checks)
        ]
        return list(read_metrics([self.source], made, SETTINGS, datetime.now(UTC)))

    def one(self, query: str, expect: str = "== 1", for_: str = "0s") -> MetricReading:
        return self.read((query, expect, for_))[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """For tests that only read."""
    old = int(time.time() * 1000) - 60_000
    with (
        exporter(SAMPLES % old) as app,
        exporter("") as dead,
        prometheus(tmp_path_factory.mktemp("p"), app=app.server.url, dead=dead.server.url) as made,
        sources(made[0]) as (source,),
    ):
        dead.metrics = None
        real = Real(source, made[1], app)
        eventually(lambda: real.read((up("app"), "== 1", "0s"), (up("dead"), "== 0", "3s")), passed)
        eventually(lambda: real.one(up("dead"), "== 1", "3s"), failed)
        yield real


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Real]:
    """For tests that change what is scraped."""
    with (
        exporter("load 1") as app,
        prometheus(tmp_path, app=app.server.url) as (url, targets),
        sources(url) as (source,),
    ):
        real = Real(source, targets, app)
        eventually(lambda: real.one(up("app")), lambda r: r.reading is Reading.PASSED)
        yield real


def passed(readings: list[MetricReading]) -> bool:
    return all(r.reading is Reading.PASSED for r in readings)


def failed(reading: MetricReading) -> bool:
    return reading.reading is Reading.FAILED


@pytest.mark.parametrize(
    ("query", "expect", "reading", "value"),
    [
        (up("app"), "== 1", Reading.PASSED, 1),
        (up("dead"), "== 1", Reading.FAILED, 0),
        ("up", "== 1", Reading.FAILED, 0),  # one of several is enough
        ("up", ">= 0", Reading.PASSED, 0),
        ("queue", "< 9", Reading.FAILED, 9),
        ("queue", "<= 9", Reading.PASSED, 9),
        ("queue", "> 1", Reading.FAILED, 1),
        ("queue", "!= 9", Reading.FAILED, 9),
        ("queue", "!= 5", Reading.PASSED, 9),
        ("queue", "== 9", Reading.FAILED, 1),
        ("queue", "== 1", Reading.FAILED, 9),
        ("-load", "< -4e-1", Reading.PASSED, -0.5),
        ("load # how busy ) it is", "< 1", Reading.PASSED, 0.5),
        ('sum by (name) (queue{name=~"a|b"}) or vector(3)', ">= 1", Reading.PASSED, 1),
        ("half", "== 2", Reading.PASSED, 2),
        ("half", "> 2", Reading.FAILED, 2),
    ],
)
def test_values(shared: Real, query: str, expect: str, reading: Reading, value: float) -> None:
    seen = shared.one(query, expect)
    assert (seen.reading, seen.value) == (reading, value), seen


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("absent_metric", "no sample"),
        (up("nobody"), "no sample"),
        ("broken", "its value is not a number"),
        ("old", "no fresh sample: the newest is older than 30s"),
        ("up +", "Prometheus refuses the query: parse error: "),
        ("1", "Prometheus refuses the query: parse error: expected type instant vector"),
        ("up[1m]", "Prometheus refuses the query: parse error: expected type instant vector"),
        ("up * on(job) queue", "Prometheus refuses the query: found duplicate series"),
        ("max(up", "the query is not complete"),
        ("", "the query is not complete"),
    ],
)
@pytest.mark.parametrize("for_", ["0s", "2s"])
def test_what_is_unknown_is_never_failed(shared: Real, query: str, detail: str, for_: str) -> None:
    if not query:
        query, detail = "# nothing", "Prometheus refuses the query: parse error"
    wrong, right = shared.read((query, "== 77", for_), (up("app"), "== 1", for_))
    assert wrong.reading is Reading.UNKNOWN
    assert wrong.detail.startswith(detail), wrong.detail
    assert right.reading is Reading.PASSED  # beside it, in the same request


def test_a_sample_has_its_own_time(shared: Real) -> None:
    plain, parenthesised = shared.read((up("app"), "== 1", "0s"), (f"({up('app')})", "== 1", "0s"))
    now = datetime.now(UTC)
    assert plain.sampled_at is not None
    assert 0 <= (now - plain.sampled_at).total_seconds() < 30
    assert plain.sampled_at == parenthesised.sampled_at
    old = shared.one("old")
    assert old.sampled_at is not None
    assert (now - old.sampled_at).total_seconds() > 55


def test_a_window_fails_when_it_is_full_and_passes_at_once(own: Real) -> None:
    own.app.metrics = "load 5"
    first = eventually(lambda: own.one("load", "== 1", "3s"), lambda r: r.value == 5)
    started = time.monotonic()
    assert first.reading is Reading.UNKNOWN
    assert first.detail == "5, expected == 1 for 3s, but not that long yet"
    own_detail = eventually(lambda: own.one("load", "== 1", "3s"), failed)
    assert time.monotonic() - started > 1.5
    assert own_detail.detail == "5, expected == 1 for 3s"
    own.app.metrics = "load 1"
    eventually(lambda: own.one("load", "== 1", "3s"), lambda r: r.reading is Reading.PASSED)


def test_a_window_that_prometheus_has_not_seen_whole_is_no_breach(own: Real) -> None:
    assert own.one(up("app"), "== 0", "1h").reading is Reading.UNKNOWN
    assert own.one(up("app"), "== 0", "0s").reading is Reading.FAILED


def test_a_target_that_comes_and_goes(own: Real) -> None:
    own.app.metrics = None
    eventually(lambda: own.one(up("app")), failed)
    assert own.one("load").detail == "no sample"  # a failed scrape ends its series
    own.targets.set()
    eventually(lambda: own.one(up("app")), lambda r: r.detail == "no sample")
    own.app.metrics = "load 1"
    own.targets.set(app=own.app.server.url)
    eventually(lambda: own.one(up("app")), lambda r: r.reading is Reading.PASSED)


def test_a_query_for_people(shared: Real) -> None:
    data = query([shared.source], "sum(queue)", SETTINGS)
    assert data["resultType"] == "vector"
    assert data["result"][0]["value"][1] == "10"
    assert query([shared.source], "up[5s]", SETTINGS)["resultType"] == "matrix"
    with pytest.raises(PermanentError, match="refuses the query: parse error"):
        query([shared.source], "up +", SETTINGS)
    tiny = SETTINGS.model_copy(update={"max_bytes": 1024})
    with pytest.raises(PermanentError, match="larger than 1024 bytes"):
        query([shared.source], '{__name__=~".+"}', tiny)


@pytest.mark.parametrize("for_", ["0s", "2s"])
def test_services_that_share_an_expression_are_told_apart(shared: Real, for_: str) -> None:
    app, dead, nobody, wrong = shared.read(
        (up("app"), "== 1", for_),
        (up("dead"), "== 1", for_),
        (up("no.body"), "== 1", for_),
        (up("app"), "!= 1", for_),
    )
    assert (app.reading, app.value) == (Reading.PASSED, 1)
    assert (dead.reading, dead.value) == (Reading.FAILED, 0)
    assert (nobody.reading, nobody.detail) == (Reading.UNKNOWN, "no sample")
    assert (wrong.reading, wrong.value) == (Reading.FAILED, 1)


@pytest.mark.parametrize(
    "query", ['up{{job="app",instance!="{n}"}}', 'queue{{name="{n}"}}'], ids=["any", "shared"]
)
def test_many_checks_take_linear_time(shared: Real, query: str) -> None:
    def seconds(count: int) -> float:
        checks = [(query.format(n=n), ">= 1", "1s") for n in range(count)]
        started = time.monotonic()
        assert len(shared.read(*checks)) == count
        return time.monotonic() - started

    few, many = (min(seconds(count) for _ in range(3)) for count in (150, 1500))
    assert many < 30 * few  # quadratic would be 100
