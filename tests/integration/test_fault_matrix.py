"""Every fault of what the loop lives on, alone and in pairs: a generated matrix.

Prometheus, Alertmanager, the engine, the Git remote and the model, each refusing, hanging,
slow, answering garbage or far too much. Two services: `b` is down, which the engine alone
can tell; `a` has a metric, so that a Prometheus that says nothing makes it Unknown. What must
hold: the run ends in time, nothing is done to what is Unknown, nothing is lost, and without the
fault the next runs end converged, without a person.

Always: each fault alone, and so many pairs that each part fails with each other one. With
`UICI_TEST_FAULTS=all`: every pair, and a seeded sample of three, four and five at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows.comparison.drift import HealthStatus
from flows.report import IncidentResult, RunReport, RunResult
from infrastructure.errors import TemporaryError
from infrastructure.observed import EngineSnapshot
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.service import Service
from tests.fakes.engine import FakeEngine
from tests.fakes.http_server import (
    Behaviour,
    Exchange,
    FakeServer,
    huge,
    silent,
    text,
)
from tests.fakes.loop import ENVIRONMENT, LoopWorld, loop_world, service_yaml
from tests.fakes.telemetry import FakeAlertmanager, FakePrometheus

A, B = f"{ENVIRONMENT}/a", f"{ENVIRONMENT}/b"
PARTS = ("prometheus", "alertmanager", "engine", "git", "llm")
FAULTS = ("refused", "hangs", "slow", "garbage", "50 MB")
# What the engine in memory and a Git remote on disk can't do: their answers have no such size.
# Servers that give them: tests/integration/test_git_hardships.py, test_docker_garbage.py.
ODD = {("engine", "50 MB"), ("engine", "garbage"), ("git", "50 MB")}
DEADLINE = 8.0  # seconds of a run
_LATE = 0.2  # seconds that a slow part takes: less than its time-out

Fault = tuple[str, str]  # part, fault
SINGLE: list[tuple[Fault, ...]] = [
    ((part, fault),) for part in PARTS for fault in FAULTS if (part, fault) not in ODD
]


def _every_pair() -> list[tuple[Fault, ...]]:
    faults = [single[0] for single in SINGLE]
    return [(f, g) for f, g in itertools.combinations(faults, 2) if f[0] != g[0]]


def _some_pairs() -> list[tuple[Fault, ...]]:
    """So many pairs that each part fails together with each other one, and each fault is in one."""
    wanted: set[object] = {*itertools.combinations(PARTS, 2), *(one[0] for one in SINGLE)}
    every = _every_pair()
    random.Random(5).shuffle(every)
    chosen: list[tuple[Fault, ...]] = []
    while wanted:
        best = max(every, key=lambda pair: len(_covers(pair) & wanted))
        chosen.append(best)
        wanted -= _covers(best)
    return chosen


def _larger(each: int) -> list[tuple[Fault, ...]]:
    """So many each of three, four and five parts at fault at once."""
    chance = random.Random(6)
    faults = [[one[0] for one in SINGLE if one[0][0] == part] for part in PARTS]
    chosen = (
        tuple(chance.choice(faults[part]) for part in sorted(chance.sample(range(5), size)))
        for size in (3, 4, 5)
        for _ in range(each)
    )
    return list(dict.fromkeys(chosen))


def _covers(pair: tuple[Fault, ...]) -> set[object]:
    return {(pair[0][0], pair[1][0]), *pair}


ALL = os.environ.get("UICI_TEST_FAULTS") == "all"
CASES = SINGLE + (_every_pair() + _larger(25) if ALL else _some_pairs())


class _Engine:
    """The engine in memory, or one that does not answer well."""

    def __init__(self, inner: FakeEngine) -> None:
        self.inner, self.late = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def observe(self, *args: Any, **kwargs: Any) -> EngineSnapshot:
        time.sleep(self.late)
        return self.inner.observe(*args, **kwargs)

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        time.sleep(self.late)
        return self.inner.call(service, call, timeout=timeout)


@dataclass
class Place:
    """The loop and everything that it lives on."""

    world: LoopWorld
    engine: _Engine
    servers: dict[str, FakeServer]
    good: dict[str, Behaviour]
    metrics: FakePrometheus
    undo: list[Callable[[], None]] = field(default_factory=list)

    def break_it(self, part: str, fault: str) -> None:
        if part in self.servers:
            self.servers[part].behaviour = self._behaviour(part, fault)
        elif part == "engine":
            self._engine(fault)
        else:
            self._git(fault)

    def _behaviour(self, part: str, fault: str) -> Behaviour:
        good = self.good[part]

        def late(exchange: Exchange) -> None:
            exchange.sleep(_LATE)
            good(exchange)

        return {
            "refused": lambda exchange: exchange.hang_up(),
            "hangs": silent,
            "slow": late,
            "garbage": text(b"\xff<html>{]"),
            "50 MB": huge,
        }[fault]

    def _engine(self, fault: str) -> None:
        inner = self.engine.inner
        inner.hangs = fault == "hangs"
        inner.broken = TemporaryError("connection refused") if fault == "refused" else None
        self.engine.late = _LATE if fault == "slow" else 0.0

    def _git(self, fault: str) -> None:
        remote, aside = self.world.remote, self.world.root / "aside.git"
        if fault in ("refused", "garbage"):
            remote.rename(aside)
            if fault == "garbage":
                remote.write_bytes(b"\xff" * 100)

            def back() -> None:
                if remote.exists():
                    remote.unlink()
                aside.rename(remote)

            self.undo.append(back)
            return
        hook = remote / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\nexec sleep {_LATE if fault == 'slow' else 3}\n")
        hook.chmod(0o755)
        self.undo.append(hook.unlink)

    def mend(self) -> None:
        for part, server in self.servers.items():
            server.behaviour = self.good[part]
        self._engine("")
        while self.undo:
            self.undo.pop()()


def _llm(exchange: Exchange) -> None:
    """A model that can't be used for want of words; the runbooks plan."""
    exchange.answer(b'{"error": {"message": "no quota", "code": "insufficient_quota"}}', status=401)


@contextlib.contextmanager
def place(root: Path) -> Iterator[Place]:
    metrics, alerts = FakePrometheus(values={"up_of_a": 1}), FakeAlertmanager()
    good: dict[str, Behaviour] = {
        "prometheus": metrics.behave,
        "alertmanager": alerts.behave,
        "llm": _llm,
    }
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(FakeServer(good[name])) for name in good}
        source = {name: [{"url": servers[name].url, "timeout": "500ms"}] for name in good}
        del source["llm"]
        holder: list[_Engine] = []

        def wrap(engine: FakeEngine) -> Any:
            holder.append(_Engine(engine))
            return holder[0]

        world = stack.enter_context(
            loop_world(
                root,
                wrap=wrap,
                environments={"environments": {ENVIRONMENT: {**source, "deadline": "1500ms"}}},
                platform={
                    "reconcile": {"deadline": f"{DEADLINE:g}s"},
                    "git": {
                        "timeout": "1s",
                        "localCommitSufficesUpTo": "high",
                        "push": {"attempts": 2, "backoff": {"initial": "1ms", "max": "5ms"}},
                    },
                    "guard": {"policy": {"backoff": {"initial": "0s", "max": "0s"}}},
                    "llm": {
                        "baseUrl": f"{servers['llm'].url}/v1",
                        "apiKey": "k",
                        "timeout": "700ms",
                        "retry": {"attempts": 1, "backoff": {"initial": "1ms", "max": "1ms"}},
                    },
                },
            )
        )
        check = {"name": "up", "query": "up_of_a", "expect": "== 1"}
        world.commit(a=service_yaml("a", health={"metrics": [check]}), b=service_yaml("b"))
        _converged(world)
        world.engine.kill("b")
        world.engine.calls.clear()
        yield Place(world, holder[0], servers, good, metrics)


def _converged(world: LoopWorld, runs: int = 3) -> RunReport:
    """The last of so many runs at the most; a busy machine may exceed a second for Git's part."""
    for _ in range(runs):
        report = world.run()
        if report.result is RunResult.CONVERGED:
            break
    assert report.result is RunResult.CONVERGED, report
    return report


def _conditions(report: RunReport, faults: tuple[Fault, ...]) -> None:
    """What a run with these faults says of its targets, and what it has done."""
    kinds = dict(faults)
    silenced = kinds.get("prometheus") not in (None, "slow")
    blind = kinds.get("engine") in ("refused", "hangs")
    health = {target: state.health for target, state in report.comparison.states.items()}
    if blind:
        assert set(health.values()) == {HealthStatus.UNKNOWN}
        assert report.incidents == ()
        return
    expected = HealthStatus.UNKNOWN if silenced else HealthStatus.HEALTHY
    assert health[A] is expected, report.comparison.states[A].message
    assert A not in {incident.incident.root for incident in report.incidents}
    # What can be served is served: b needs the engine, and a commit of one's own.
    results = {i.incident.root: i.result for i in report.incidents}
    if kinds.get("alertmanager") in (None, "slow"):
        assert results[B] is IncidentResult.RECOVERED, report.incidents


@pytest.mark.parametrize("faults", CASES, ids=lambda c: "+".join(f"{p}-{f}" for p, f in c))
def test_it_ends_in_time_does_nothing_on_unknown_and_recovers(
    tmp_path: Path, faults: tuple[Fault, ...]
) -> None:
    with place(tmp_path) as made:
        for part, fault in faults:
            made.break_it(part, fault)
        begun = time.monotonic()
        report = made.world.run()
        assert time.monotonic() - begun < DEADLINE
        _conditions(report, faults)
        touched = {target for target, _ in made.world.engine.calls}
        assert touched <= {B}, "something was done on Unknown"
        made.mend()
        _converged(made.world)
        assert [c.primitive for _, c in made.world.engine.calls] == ["start"]
        # Nothing lost: b's outcome stands at the remote, and no intent is open.
        history = json.loads(made.world.file(f"status/{B}.json"))["history"]
        # Where the Alertmanager kept silent for all of the verification, it is not known more.
        certain = dict(faults).get("alertmanager") in (None, "slow", "refused", "garbage")
        assert history[-1]["result"] in {"recovered", "recovered" if certain else "unknown"}
        assert made.world.runtime.git.open_intents() == ()
