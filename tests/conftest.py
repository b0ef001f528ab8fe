"""Real parts shared by the tests: one engine, Prometheus and Alertmanager a session.

They start at first use only. Where a part is missing, tests that need it are skipped
with the reason; with CI set they fail instead.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has none

from flows import local_stack
from flows.command_line.hints import remember
from infrastructure.errors import PermanentError

# Time is for `make bench`: a busy machine must not fail a property.
settings.register_profile("uici", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uici")

_SHARED = frozenset({"docker_host", "prometheus_url", "alertmanager_url"})
_REAL = (
    "demo_proof",
    "docker_blue_green",
    "docker_executor",
    "docker_filter",
    "docker_over_ssh",
    "dossier",
    "escalation_lasts",
    "import_compose",
    "import_docker",
    "init",
    "kill_minus_nine",
    "learning_on_docker",
    "local_stack",
    "loop_on_docker",
    "migration",
)
# Where the tests are that share real servers, or what is as dear to make, → the process that
# they run in, one after the other, so that it is made once. Every other test goes to
# whichever is free.
_PROCESSES = {
    "tests/contract/": "real",
    **{f"tests/integration/test_{name}.py": "real" for name in _REAL},
    "tests/integration/prefect/": "prefect",
    "tests/e2e/": "demo",
    "tests/evals/": "evals",
}


def _process(nodeid: str) -> str | None:
    return next((name for start, name in _PROCESSES.items() if nodeid.startswith(start)), None)


class _SharedServers(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """The longest group first. (xdist's own groups are a suffix of the node id, which
    pytest 9.2 does not let it add.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return _process(nodeid) or nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """See `_PROCESSES`."""
    return _SharedServers(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a shared server is in a place of which the scheduler knows."""
    for item in items:
        shared = _SHARED.intersection(getattr(item, "fixturenames", ()))
        if shared and _process(item.nodeid) is None:
            raise pytest.UsageError(
                f"{item.nodeid} uses {', '.join(sorted(shared))}: add its module to _REAL"
                " in tests/conftest.py"
            )


def pytest_collection_finish() -> None:
    """The search for cycles passes over thousands of tests and modules, which stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as the command line has it


@contextlib.contextmanager
def real_part() -> Iterator[None]:
    """Turn a missing program or engine into a skip, or in CI into a failure."""
    try:
        yield
    except PermanentError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc), pytrace=False)
        pytest.skip(str(exc))


@pytest.fixture(autouse=True)
def _nothing_was_called() -> Iterator[None]:
    """What one command was called with is none of the next test's."""
    yield
    remember(None, None)


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Docker Engine: the machine's, or a child of ours."""
    with contextlib.ExitStack() as stack:
        with real_part():
            engine = stack.enter_context(
                local_stack.docker_engine(tmp_path_factory.mktemp("docker"))
            )
        yield engine.host


@pytest.fixture(scope="session")
def stack_name() -> str:
    """Value of the label that everything made from the demo image carries."""
    return f"test-{os.getpid()}"


@pytest.fixture(scope="session")
def demo_image(docker_host: str, stack_name: str) -> Iterator[str]:
    """The demo service's image; what was made from it is removed with it at the end.

    It listens on port 8000 and answers /health, /metrics and /fault?health=on|off.
    """
    tag = f"uici-demo-{stack_name}:1"
    local_stack.build_demo_image(docker_host, tag, stack=stack_name)
    yield tag
    local_stack.remove_stack(docker_host, stack_name)


@pytest.fixture(scope="session")
def alertmanager_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Alertmanager that groups nothing and sends nowhere."""
    scratch = tmp_path_factory.mktemp("alertmanager")
    config = scratch / "alertmanager.yml"
    route = {"receiver": "nobody", "group_wait": "0s", "group_interval": "1s"}
    config.write_text(yaml.safe_dump({"route": route, "receivers": [{"name": "nobody"}]}))
    with contextlib.ExitStack() as stack:
        with real_part():
            url = stack.enter_context(local_stack.alertmanager(scratch, config))
        yield url


@pytest.fixture(scope="session")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes itself, job `prometheus`, each second."""
    scratch = tmp_path_factory.mktemp("prometheus")
    port = local_stack.free_port()
    with contextlib.ExitStack() as stack:
        with real_part():
            url = stack.enter_context(
                local_stack.prometheus(scratch, _self_scrape(scratch, port), port=port)
            )
        yield url


def _self_scrape(scratch: Path, port: int) -> Path:
    config = scratch / "prometheus.yml"
    job = {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    settings = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config.write_text(yaml.safe_dump({"global": settings, "scrape_configs": [job]}))
    return config
