"""Observing many instances of Oracle Cloud: requests, time, memory of the process that looks.

The service is the one in memory that checks signatures, in a process of its own.
`python -m tests.bench.oci look URL CONFIG N` looks and prints one JSON document, `… serve FOLDER
N` is the service, whose key and configuration are in FOLDER; it prints how often it was asked
at the end of its input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from executors.contract import ExecutorContext
from executors.oci.sdk import connect
from infrastructure.service import Service
from tests.bench.apart import looked_at, memory_row, peak
from tests.bench.table import Row
from tests.contract.oci_world import connection, write_config
from tests.contract.world import ENVIRONMENT, resolve_secret
from tests.fakes.engine import NOBODY
from tests.fakes.oci_service import OciService

NAME = "oci"
_TIMEOUT = 300.0


def measure(sizes: tuple[int, ...] = (1000, 10_000)) -> Iterator[Row]:
    """Rows for each number of instances."""
    for size in sizes:
        found, asked = looked_at("tests.bench.oci", size)
        what = f"{size} instances"
        yield Row(NAME, f"{what}: observe", found["wall"], "s", note=f"{found['cpu']:.2f} CPU s")
        yield Row(NAME, f"{what}: requests", int(asked), "")
        yield memory_row(NAME, what, found)


def _look(url: str, config: Path, size: int) -> None:
    context = ExecutorContext(ENVIRONMENT, 4, NOBODY, resolve_secret)
    executor = connect(connection(url, config), context)
    services = [_service(number) for number in range(size)]
    before = peak()
    began, busy = time.monotonic(), time.process_time()
    seen = executor.observe(services, all_services=True, timeout=_TIMEOUT)
    wall, cpu = time.monotonic() - began, time.process_time() - busy
    assert sum(len(service.instances) for service in seen.services.values()) == size
    executor.close()
    figures = {"wall": wall, "cpu": cpu, "before": before, "peak": peak()}
    print(json.dumps(figures))  # noqa: T201 - its result


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
