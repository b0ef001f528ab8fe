"""A scheduled run that finds nothing to do, as a user pays for it: `uici serve`, all of it.

The process is the one that users start, with an embedded Prefect server as its child. It
is watched from outside by /proc. What polling costs while nothing is due is measured
afterwards in the same process, with the schedule paused, and after it how soon an alert that
is posted has had its run. `-X importtime` makes the
interpreter itself write down every module that the process imports.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from flows import local_stack
from infrastructure.config_loader import UniversalConfigLoader
from tests.bench.ground import Ground
from tests.bench.sampling import Process, cost
from tests.bench.table import Aim, Row
from tests.bench.waiting import wait_for

NAME = "scheduled run"
_AIM = Aim(0.5)
_NOT_IN_USE = ("kubernetes", "oci", "openai")
_INTERVAL = 5
_ALERTS = 5
_TOKEN = "of-the-bench"
_IMPORTS = 3
_WINDOWS = 5  # of idle time; one with a burst of housekeeping in it does not decide
_COMMAND_LINE = "from flows.cli import main; main()"
_IMPORT = re.compile(r"^import time:.*\| +([\w.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Spent:
    """What a stretch of time cost. CPU seconds of the agent and of the Prefect server."""

    wall: float
    runs: int
    agent: float
    server: float


def measure(ground: Ground, *, services: int, runs: int, idle: float) -> Iterator[Row]:
    """Rows about the agent and, apart, about Prefect's server.

    Args:
        ground: gets as many containers as there are services.
        services: in desired state.
        runs: that are counted; as many seconds as their interval has pass for each.
        idle: seconds without a run that are watched.
    """
    ground.grow(services)
    remote = ground.remote(
        "scheduled", *(ground.service(ground.name(number)) for number in range(services))
    )
    port, listening = local_stack.free_port(), local_stack.free_port()
    config = ground.config(
        "scheduled",
        remote,
        reconcile__interval=f"{_INTERVAL}s",
        prefect__apiUrl=f"http://127.0.0.1:{port}/api",
        prefect__server__port=port,
        serve__http__port=listening,
        serve__webhook__token=_TOKEN,
    )
    argv = [sys.executable, "-X", "importtime", "-c", _COMMAND_LINE]
    argv += ["serve", "--config", str(config)]
    log = ground.scratch / "serve.log"
    with local_stack.child("uici serve", argv, log=log, grace=15) as serve:
        serve.wait_until(lambda: len(_ended(log)) >= 3, timeout=180)
        agent = Process(serve.process.pid)
        server = agent.children[0]
        busy = _watch(log, agent, server, runs=runs)
        deployment = next(e for e in _events(log) if e["event"] == "serving")["deployment_id"]
        _pause(f"http://127.0.0.1:{port}/api", deployment)
        time.sleep(2 * _INTERVAL)
        windows = [_watch(log, agent, server, seconds=idle / _WINDOWS) for _ in range(_WINDOWS)]
        if any(window.runs for window in windows):
            raise RuntimeError("a run began while the schedule was paused")
        looks = [_alerted(log, listening, number) for number in range(_ALERTS)]
        peaks = agent.peak_memory, server.peak_memory
    shipped = UniversalConfigLoader().load().platform.reconcile.interval.total_seconds()
    yield from _rows(busy, windows, shipped, services)
    yield Row(
        NAME,
        "alert posted to the webhook → its run ended",
        median(looks),
        "s",
        note=f"{_ALERTS} alerts, schedule paused; the longest: {max(looks):.2f} s",
    )
    yield Row(NAME, "agent: peak memory", peaks[0], "B")
    yield Row(NAME, "Prefect server: peak memory", peaks[1], "B")
    imported = set(_IMPORT.findall(log.read_text(errors="replace")))
    unused = [name for name in _NOT_IN_USE if name in imported]
    if "prefect" not in imported:
        raise RuntimeError("the interpreter did not write down what it imported")
    yield Row(
        NAME,
        "SDKs imported that are not in use",
        len(unused),
        "",
        aim=Aim(0),
        note=f"of {', '.join(_NOT_IN_USE)}; {len(imported)} modules"
        + (f"; imported: {', '.join(unused)}" if unused else ""),
    )


def _rows(busy: _Spent, resting: Sequence[_Spent], shipped: float, services: int) -> Iterator[Row]:
    idle_agent = median(window.agent / window.wall for window in resting)
    idle_server = median(window.server / window.wall for window in resting)
    alone = (busy.agent - idle_agent * busy.wall) / busy.runs
    yield Row(
        NAME,
        "agent: CPU a run, polling apart",
        alone,
        "s",
        aim=_AIM,
        note=f"{services} services, {busy.runs} runs",
    )
    yield Row(
        NAME,
        f"agent: CPU a run, polling included, every {_INTERVAL} s",
        busy.agent / busy.runs,
        "s",
        "importing Prefect",
        _fresh_process(),
        _AIM,
        note="the bound: the least that a process a run would cost",
    )
    yield Row(
        NAME,
        f"agent: CPU a run, polling included, every {shipped:g} s",
        alone + idle_agent * shipped,
        "s",
        note="computed from the rows around it",
    )
    yield Row(NAME, "agent: CPU a second while nothing is due", idle_agent, "s")
    server = (busy.server - idle_server * busy.wall) / busy.runs
    yield Row(NAME, "Prefect server: CPU a run, idling apart", server, "s")
    yield Row(NAME, "Prefect server: CPU a second while nothing is due", idle_server, "s")


def _fresh_process() -> float:
    """CPU seconds of what Prefect's own workers import for each run in a process of its own."""
    imports = "import prefect.flow_engine, prefect.workers.base"
    with cost() as taken:
        for _ in range(_IMPORTS):
            subprocess.run([sys.executable, "-c", imports], check=True)
    return taken.cpu / _IMPORTS


def _watch(
    log: Path, agent: Process, server: Process, *, runs: int = 0, seconds: float = 0
) -> _Spent:
    """From the end of a run to the end of the `runs`-th after it, or for `seconds`."""
    if runs:
        before = len(_ended(log))
        wait_for(lambda: len(_ended(log)) > before, timeout=60, what="a run", interval=0.05)
        time.sleep(1)  # what comes after the last line of a run belongs to it
    before, begin = len(_ended(log)), time.monotonic()
    spent = agent.cpu, server.cpu
    if runs:
        limit = 60 + runs * 4 * _INTERVAL
        wait_for(lambda: len(_ended(log)) >= before + runs, timeout=limit, what="the runs")
        time.sleep(1)
    else:
        time.sleep(seconds)
    done = _ended(log)[before:]
    if any(event["result"] != "converged" for event in done):
        raise RuntimeError(f"a run was no no-op: {done}")
    return _Spent(
        wall=time.monotonic() - begin,
        runs=len(done),
        agent=agent.cpu - spent[0],
        server=server.cpu - spent[1],
    )


def _events(log: Path) -> list[dict[str, Any]]:
    """UICI's own lines of the log."""
    lines = log.read_text(errors="replace").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if "event" in event]


def _ended(log: Path) -> list[dict[str, Any]]:
    return [event for event in _events(log) if event["event"] == "run_finished"]


def _alerted(log: Path, port: int, number: int) -> float:
    """Seconds from an alert that cuts others off, so that all are looked at, to its run's end."""
    alert = {
        "status": "firing",
        "labels": {"alertname": "Bench"},
        "startsAt": "2026-01-01T00:00:00Z",
        "fingerprint": f"bench-{number}",
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/alerts",
        data=json.dumps({"version": "4", "truncatedAlerts": 1, "alerts": [alert]}).encode(),
        headers={"Authorization": f"Bearer {_TOKEN}"},
    )
    before, begin = len(_ended(log)), time.monotonic()
    with urllib.request.urlopen(request, timeout=30):
        pass
    wait_for(lambda: len(_ended(log)) > before, timeout=60, what="its run", interval=0.02)
    taken = time.monotonic() - begin
    time.sleep(1)  # what comes after the last line of a run belongs to it
    return taken


def _pause(api: str, deployment: str) -> None:
    url = f"{api}/deployments/{deployment}/pause_deployment"
    request = urllib.request.Request(url, method="POST", data=b"")
    with urllib.request.urlopen(request, timeout=30):
        pass
