"""What a person at a terminal waits for: `uici --help` and `uici validate`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from tests.bench.sampling import interleaved
from tests.bench.table import Aim, Row

NAME = "command line"
_HELP = Aim(0.3)
_VALIDATE = Aim(2.0)
_PARSE = """
import pathlib, sys, yaml
for path in pathlib.Path(sys.argv[1]).glob("*.yml"):
    yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
"""


def measure(scratch: Path, *, services: int, rounds: int) -> Iterator[Row]:
    """Rows for both commands, each against the least that such a program can cost."""
    folder = scratch / "services"
    folder.mkdir()
    for number in range(services):
        name = f"service-{number}"
        (folder / f"{name}.yml").write_text(yaml.safe_dump(_service(name, number)))
    uici = str(Path(sys.executable).with_name("uici"))
    helped = interleaved(
        {
            "uici": _command(uici, "--help"),
            "typer": _command(sys.executable, "-c", "import typer"),
            "python": _command(sys.executable, "-c", "pass"),
        },
        rounds=rounds * 3,
    )
    wall = helped["uici"].wall
    for against in ("typer", "python"):
        name = "import typer" if against == "typer" else "python -c pass"
        aim = _HELP if against == "typer" else None
        yield Row(NAME, "uici --help", wall, "s", name, helped[against].wall, aim)
    validated = interleaved(
        {
            "uici": _command(uici, "validate", str(folder)),
            "parse": _command(sys.executable, "-c", _PARSE, str(folder)),
        },
        rounds=rounds,
        warm_up=1,
    )
    for what in ("wall", "cpu"):
        yield Row(
            NAME,
            f"uici validate, {services} services" + (", CPU" if what == "cpu" else ""),
            getattr(validated["uici"], what),
            "s",
            "libyaml alone",
            getattr(validated["parse"], what),
            _VALIDATE if what == "wall" else None,
        )


def _command(*argv: str) -> Callable[[], object]:
    return lambda: subprocess.run(argv, check=True, capture_output=True)


def _service(name: str, number: int) -> dict[str, object]:
    """Like those of desired-state/."""
    return {
        "apiVersion": "uici/v1",
        "kind": "Service",
        "metadata": {"name": name, "environment": "local-docker", "labels": {"team": "bench"}},
        "spec": {
            "image": f"{name}:1.4.2",
            "replicas": 1,
            "env": {"PORT": "8000", "LOG_LEVEL": "info", "MODEL_PATH": "/models/market.bin"},
            "resources": {"memory": "64Mi", "cpu": "0.5"},
            "ports": [f"127.0.0.1:{20000 + number}:8000"],
            "dependsOn": [f"service-{number - 1}"] if number % 10 else [],
            "health": {
                "http": {"port": 8000, "path": "/health", "timeout": "2s"},
                "metrics": [
                    {
                        "name": "scraped",
                        "query": f'up{{job="{name}"}}',
                        "expect": "== 1",
                        "for": "30s",
                    }
                ],
            },
            "alerts": [{"matchers": {"service": name}}],
            "remediation": {"mode": "enforce"},
        },
    }
