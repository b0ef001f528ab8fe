"""A run that finds nothing to do, against its own requests done bare. Prefect apart.

Both sides ask the same servers for the same: one `git fetch`, one Docker list and an
inspect of each container with the same concurrency, one Prometheus query, two
Alertmanager requests; the last three at the same time. Both keep their connections.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from flows.listener import RunRequest
from flows.log_listener import LogListener
from flows.reconcile import reconcile
from flows.report import RunReport, RunResult
from flows.runtime import Runtime, open_runtime
from infrastructure.config_loader import UniversalConfigLoader
from monitoring.promql import batch
from tests.bench.bare import BareClone, BareEngine, BareHttp, SdkEngine
from tests.bench.ground import REPORTS, Ground
from tests.bench.sampling import Cost, interleaved, slope
from tests.bench.table import Aim, Of, Row
from tests.bench.waiting import wait_for

NAME = "no-op run"
_AIM = Aim(1.5, Of.RATIO)
# How much steeper the last stretch may be than the first before it counts as a curve.
_LINEAR = Aim(1.25, Of.RATIO)
_ALERTS = "/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=false"


def measure(ground: Ground, *, sizes: tuple[int, ...], rounds: int) -> Iterator[Row]:
    """Rows for each size, and how cost grows with it."""
    taken: dict[int, dict[str, Cost]] = {}
    for size in sizes:
        ground.grow(size)
        taken[size] = _costs(ground, size, rounds)
        yield from _rows(size, taken[size], largest=size == max(sizes))
    for what, part in (("wall", attrgetter("wall")), ("CPU", attrgetter("cpu"))):
        points = {
            name: {size: part(costs[name]) for size, costs in taken.items()}
            for name in ("uici", "bare", "SDK")
        }
        yield from _growth(what, sizes, points)


def _growth(
    what: str, sizes: tuple[int, ...], points: Mapping[str, Mapping[int, float]]
) -> Iterator[Row]:
    """Seconds per further container, of all, and whether the last stretch is steeper."""
    uici, bare, sdk = (slope(points[name]) for name in ("uici", "bare", "SDK"))
    note = f"SDK {sdk * 1e3:.2f} ms"
    yield Row(NAME, f"{what} per further container", uici, "s", "bare", bare, note=note)
    if len(sizes) > 2:
        first, last = (
            slope({size: points["uici"][size] for size in pair}) for pair in (sizes[:2], sizes[-2:])
        )
        yield Row(
            NAME,
            f"linear: {what} per container at {sizes[-2]}–{sizes[-1]}",
            last,
            "s",
            f"at {sizes[0]}–{sizes[1]}",
            first,
            _LINEAR,
        )


def _rows(size: int, costs: dict[str, Cost], *, largest: bool) -> Iterator[Row]:
    uici = costs["uici"]
    for against in ("bare", "SDK"):
        aim = _AIM if largest and against == "bare" else None
        bound = costs[against]
        yield Row(NAME, f"{size} containers, wall", uici.wall, "s", against, bound.wall, aim)
        yield Row(NAME, f"{size} containers, CPU", uici.cpu, "s", against, bound.cpu, aim)
    parts = [name for name in costs if name.startswith("bare ")]
    yield Row(
        NAME,
        f"{size} containers, bare parts alone: wall of all",
        sum(costs[name].wall for name in parts),
        "s",
        note=", ".join(f"{name[5:]} {costs[name].wall * 1e3:.1f} ms" for name in parts),
    )


def _costs(ground: Ground, size: int, rounds: int) -> dict[str, Cost]:
    name = f"noop-{size}"
    services = [ground.service(ground.name(number)) for number in range(size)]
    remote = ground.remote(name, *services)
    config = UniversalConfigLoader(ground.config(name, remote)).load()
    with contextlib.ExitStack() as stack:
        runtime = stack.enter_context(open_runtime(config))
        bare = stack.enter_context(contextlib.closing(Bare(ground, runtime, remote, name)))
        sdk = stack.enter_context(
            contextlib.closing(SdkEngine(ground.host, concurrency=ground.concurrency))
        )
        wait_for(lambda: run(runtime).result is RunResult.CONVERGED, timeout=120, what="no drift")
        if run(runtime).report_commit is not None:
            raise RuntimeError("a run without drift has committed something")
        costs = interleaved(
            {
                "uici": lambda: run(runtime),
                "bare": lambda: bare.run(bare.engine),
                "SDK": lambda: bare.run(sdk),
                "bare git fetch": bare.fetch,
                "bare Docker": lambda: bare.engine.look(ground.prefix),
                "bare Prometheus": bare.query,
                "bare Alertmanager": bare.alerts,
            },
            rounds=rounds,
        )
        if run(runtime).report_commit is not None:
            raise RuntimeError("a run without drift has committed something")
    return costs


def run(runtime: Runtime) -> RunReport:
    """One run of the whole loop, with its log."""
    request = RunRequest(environments=None, targets=None, mode=None, run_id=str(uuid.uuid4()))
    return reconcile(request, runtime, LogListener())


class _Looker(Protocol):
    def look(self, prefix: str) -> list[object]: ...


class Bare:
    """The same requests as a run of this runtime makes."""

    def __init__(self, ground: Ground, runtime: Runtime, remote: Path, name: str) -> None:
        self._ground = ground
        self._git = BareClone(ground.scratch / f"{name}-bare.git", remote)
        self._prometheus = BareHttp(ground.prometheus_url)
        self._alertmanager = BareHttp(ground.alertmanager_url)
        self.engine = BareEngine(ground.host, concurrency=ground.concurrency)
        self._threads = ThreadPoolExecutor(3)
        checks = [
            check
            for _, service in sorted(runtime.git.desired().services.items())
            for check in service.spec.health.metrics
        ]
        settings = runtime.config.platform.observe.metrics
        self._query = batch(dict(enumerate(checks)), settings).expression

    def close(self) -> None:
        self._threads.shutdown()
        for part in (self.engine, self._prometheus, self._alertmanager):
            part.close()

    def run(self, engine: _Looker) -> None:
        """Everything that a run asks for."""
        self.fetch()
        works = (self.query, self.alerts, lambda: engine.look(self._ground.prefix))
        for future in [self._threads.submit(work) for work in works]:
            future.result()

    def fetch(self) -> None:
        self._git.fetch("main", REPORTS)

    def query(self) -> object:
        return self._prometheus.post_form("/api/v1/query", {"query": self._query})

    def alerts(self) -> object:
        return self._alertmanager.get(_ALERTS), self._alertmanager.get("/api/v2/silences")
