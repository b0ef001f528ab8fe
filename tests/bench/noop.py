"""A run that finds nothing to do, against its own requests done bare. Prefect apart.

Both sides ask the same servers for the same: one `git fetch`, one Docker list and an
inspect of each container with the same concurrency, one Prometheus query, two
Alertmanager requests; the last three at the same time. Both keep their connections.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
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
    walls: dict[str, dict[int, float]] = {"uici": {}, "bare": {}, "SDK": {}}
    cpus: dict[str, dict[int, float]] = {"uici": {}, "bare": {}, "SDK": {}}
    for size in sizes:
        ground.grow(size)
        costs = _costs(ground, size, rounds)
        for name in walls:
            walls[name][size] = costs[name].wall
            cpus[name][size] = costs[name].cpu
        yield from _rows(size, costs, largest=size == max(sizes))
    for what, points in (("wall", walls), ("CPU", cpus)):
        yield Row(
            NAME,
            f"{what} per further container",
            slope(points["uici"]),
            "s",
            "bare",
            slope(points["bare"]),
            note=f"SDK {slope(points['SDK']) * 1e3:.2f} ms",
        )
        if len(sizes) > 2:
            first, last = (
                slope({n: points["uici"][n] for n in pair}) for pair in (sizes[:2], sizes[-2:])
            )
            stretch = f"{sizes[-2]}–{sizes[-1]}"
            yield Row(
                NAME,
                f"linear: {what} per container at {stretch}",
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
    with open_runtime(config) as runtime, Bare(ground, runtime, remote, name) as bare:
        wait_for(lambda: run(runtime).result is RunResult.CONVERGED, timeout=120, what="no drift")
        if run(runtime).report_commit is not None:
            raise RuntimeError("a run without drift has committed something")
        sdk = SdkEngine(ground.host, concurrency=ground.concurrency)
        with contextlib.closing(sdk):
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

    def __enter__(self) -> Bare:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown()
        for part in (self.engine, self._prometheus, self._alertmanager):
            part.close()

    def run(self, engine: _Looker) -> None:
        """Everything that a run asks for."""
        self.fetch()
        asked = [
            self._threads.submit(self.query),
            self._threads.submit(self.alerts),
            self._threads.submit(engine.look, self._ground.prefix),
        ]
        for future in asked:
            future.result()

    def fetch(self) -> None:
        self._git.fetch("main", REPORTS)

    def query(self) -> object:
        return self._prometheus.post_form("/api/v1/query", {"query": self._query})

    def alerts(self) -> object:
        return self._alertmanager.get(_ALERTS), self._alertmanager.get("/api/v2/silences")
