"""Observing many instances of Oracle Cloud: requests, time, memory of the process that looks.

The service is the one in memory that checks signatures, in a process of its own.
`python -m tests.bench.oci look URL CONFIG N` looks and prints one JSON document, `… serve FOLDER
N` is the service, whose key and configuration are in FOLDER; it prints how often it was asked
at the end of its input.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from executors.contract import ExecutorContext
from executors.oci.sdk import connect
from infrastructure.service import Service
from tests.bench.table import Aim, Of, Row
from tests.contract.oci_world import connection, write_config
from tests.contract.world import ENVIRONMENT, resolve_secret
from tests.fakes.engine import NOBODY
from tests.fakes.oci_service import OciService

NAME = "oci"
_MOST_MEMORY = 150 * 1024 * 1024
_TIMEOUT = 300.0


def measure(sizes: tuple[int, ...] = (1000, 10_000)) -> Iterator[Row]:
    """Rows for each number of instances."""
    for size in sizes:
        found = _measured(size)
        what = f"{size} instances"
        yield Row(NAME, f"{what}: observe", found["wall"], "s", note=f"{found['cpu']:.2f} CPU s")
        yield Row(NAME, f"{what}: requests", found["requests"], "")
        yield Row(
            NAME,
            f"{what}: peak memory",
            found["peak"],
            "B",
            "aim",
            _MOST_MEMORY,
            Aim(1.0, Of.RATIO),
            note=f"{found['before'] / 2**20:.0f} MiB before",
        )


def _measured(size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.oci"]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [*command, "serve", folder, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        asked = ""
        try:
            assert server.stdout is not None
            url, config = server.stdout.readline().split()
            looked = subprocess.run(
                [*command, "look", url, config, str(size)],
                check=True,
                capture_output=True,
                text=True,
            )
        finally:
            asked, _ = server.communicate()  # the end of its input ends it
    found: dict[str, Any] = json.loads(looked.stdout)
    return {**found, "requests": int(asked)}


def _look(url: str, config: Path, size: int) -> None:
    context = ExecutorContext(ENVIRONMENT, 4, NOBODY, resolve_secret)
    executor = connect(connection(url, config), context)
    services = [_service(number) for number in range(size)]
    before = _peak()
    began, busy = time.monotonic(), time.process_time()
    seen = executor.observe(services, all_services=True, timeout=_TIMEOUT)
    wall, cpu = time.monotonic() - began, time.process_time() - busy
    assert sum(len(service.instances) for service in seen.services.values()) == size
    executor.close()
    figures = {"wall": wall, "cpu": cpu, "before": before, "peak": _peak()}
    print(json.dumps(figures))  # noqa: T201 - its result


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _service(number: int) -> Service:
    return Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": f"service-{number}", "environment": ENVIRONMENT},
            "spec": {"image": "ocid1.image.oc1.phx.aaaa", "binding": {"kind": "ComputeInstance"}},
        }
    )


def _serve(folder: Path, size: int) -> None:
    config = write_config(folder)
    with OciService() as service:
        for number in range(size):
            service.region.add_instance(f"service-{number}")
        print(service.url, config, flush=True)  # noqa: T201 - its result
        sys.stdin.read()
        print(service.count("."))  # noqa: T201 - its result


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _look(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
