"""From `docker kill` to verified recovery, against the engine's own start of the container.

A run is triggered at once in a warm process. `grace.stopped` is 0 here, because the
shipped one waits for the engine's own restart policy on purpose; everything else is as
shipped, in the second series without the pause before the confirming look, too.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from flows import local_stack
from flows.comparison.drift import Incident
from flows.listener import Listeners, NullListener, RunRequest
from flows.log_listener import LogListener
from flows.reconcile import reconcile
from flows.report import RunResult
from flows.runtime import Runtime, open_runtime
from flows.verify import Verification, VerificationResult
from infrastructure.config_loader import UniversalConfigLoader
from tests.bench.bare import stored_bytes
from tests.bench.ground import Ground
from tests.bench.noop import run
from tests.bench.table import Aim, Of, Row
from tests.bench.waiting import wait_for

NAME = "recovery"
_AIM = Aim(1.0, Of.EXCESS)
_BYTES = Aim(6_000)
_PARTS = ("dead", "seen", "intent", "executed")


@dataclass(slots=True)
class _Moments(NullListener):
    """When each joint of a run was reached."""

    at: dict[str, float] = field(default_factory=dict)

    def drifts_found(self, comparison: object) -> None:  # noqa: ARG002 - the protocol's
        self.at["seen"] = time.perf_counter()

    def intent_committed(self, result: object) -> None:  # noqa: ARG002 - the protocol's
        self.at["intent"] = time.perf_counter()

    def operation_finished(self, incident: Incident, outcome: object) -> None:  # noqa: ARG002
        self.at["executed"] = time.perf_counter()

    def verified(self, incident: Incident, verification: Verification) -> None:  # noqa: ARG002
        if verification.result is not VerificationResult.RECOVERED:
            raise RuntimeError(f"not recovered: {verification}")
        self.at["verified"] = time.perf_counter()


def measure(ground: Ground, *, rounds: int) -> Iterator[Row]:
    """Rows with and without the confirming look's pause."""
    port = local_stack.free_port()
    name = f"{ground.prefix}killed"
    service = ground.service(
        name,
        ports=[f"127.0.0.1:{port}:8000"],
        health={"http": {"port": 8000, "path": "/health"}},
        native={},
    )
    remote = ground.remote("recovery", service)
    health: list[Row] = []
    for confirm in (None, "0s"):
        changes = {} if confirm is None else {"compare__grace__confirmAfter": confirm}
        folder = ground.config(
            f"recovery-{confirm}", remote, compare__grace__stopped="0s", **changes
        )
        config = UniversalConfigLoader(folder).load()
        pause = config.platform.compare.grace.confirm_after.total_seconds()
        with open_runtime(config) as runtime:
            # The product makes the container itself: it is missing at first.
            wait_for(
                lambda: run(runtime).result is RunResult.CONVERGED,
                timeout=60,
                what="the first container",
            )
            stored = stored_bytes(remote)
            taken = _series(ground, runtime, name, port=port, rounds=rounds)
            added = (stored_bytes(remote) - stored) / rounds
        series = f"confirmAfter {pause:g} s"
        yield from _rows(taken, series)
        yield Row(NAME, f"{series}: bytes each adds to the remote", added, "B", aim=_BYTES)
        start = taken["engine's start"]
        answered = taken["engine's start to health"]
        what = "docker start → first good answer of /health"
        health = [Row(NAME, what, answered, "s", "docker start", start)]
    yield from health


def _rows(taken: dict[str, float], series: str) -> Iterator[Row]:
    parts = ", ".join(f"{part} {taken[part]:.2f}" for part in _PARTS)
    start = taken["engine's start"]
    yield Row(
        NAME,
        f"{series}: docker kill → verified",
        taken["verified"],
        "s",
        "docker start",
        start,
        _AIM,
        f"grace.stopped 0; since the kill: {parts} s",
    )
    reported = taken["reported"]
    what = f"{series}: docker kill → report in Git"
    yield Row(NAME, what, reported, "s", "docker start", start)


def _series(
    ground: Ground, runtime: Runtime, name: str, *, port: int, rounds: int
) -> dict[str, float]:
    """Medians of seconds since `docker kill` returned, and the engine's own."""
    all_taken: list[dict[str, float]] = []
    for _ in range(rounds):
        taken = _heal(ground, runtime, name)
        taken |= _start_by_hand(ground, name, port)
        all_taken.append(taken)
    return {key: median(taken[key] for taken in all_taken) for key in all_taken[0]}


def _heal(ground: Ground, runtime: Runtime, name: str) -> dict[str, float]:
    moments = _Moments()
    begin = _kill(ground, name)
    moments.at["dead"] = time.perf_counter()
    request = RunRequest(environments=None, targets=None, mode=None, run_id=f"kill-{begin}")
    report = reconcile(request, runtime, Listeners(moments, LogListener()))
    moments.at["reported"] = time.perf_counter()
    if report.result is not RunResult.CONVERGED or not report.incidents:
        raise RuntimeError(f"the killed container was not healed: {report}")
    return {part: at - begin for part, at in moments.at.items()}


def _start_by_hand(ground: Ground, name: str, port: int) -> dict[str, float]:
    _kill(ground, name)
    begin = time.perf_counter()
    ground.engine.ask("POST", f"/containers/{name}/start")
    started = time.perf_counter()
    wait_for(lambda: _healthy(port), timeout=30, what="/health", interval=0.005)
    return {
        "engine's start": started - begin,
        "engine's start to health": time.perf_counter() - begin,
    }


def _kill(ground: Ground, name: str) -> float:
    """Kill it and wait until the engine says so; the moment at which `kill` returned."""
    ground.engine.ask("POST", f"/containers/{name}/kill")
    begin = time.perf_counter()
    wait_for(
        lambda: not ground.engine.ask("GET", f"/containers/{name}/json")["State"]["Running"],
        timeout=30,
        what="the container's death",
        interval=0.005,
    )
    return begin


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
