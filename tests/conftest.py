"""Real parts shared by the tests: one engine, Prometheus and Alertmanager a session.

They start at first use only. Where a part is missing, tests that need it are skipped
with the reason; with CI set they fail instead.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

from flows import local_stack
from infrastructure.errors import PermanentError

# Time is for `make bench`: a busy machine must not fail a property.
settings.register_profile("uici", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("uici")

_SHARED = frozenset({"docker_host", "prometheus_url", "alertmanager_url"})
# Of tests that share real servers; "" is every other test, alone.
_GROUPS = ("real", "prefect", "demo", "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the same real servers runs in one process, so that they are started once.

    The long groups come first: one that began last would leave the other process idle.
    Where the tests run in one process anyway, the marks mean nothing.
    """
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: _GROUPS.index(groups[item]))


def _group(item: pytest.Item) -> str:
    parts = item.path.parts
    if "e2e" in parts:
        return "demo"
    if "integration" in parts and "prefect" in parts:
        return "prefect"
    return "real" if _SHARED.intersection(getattr(item, "fixturenames", ())) else ""


@contextlib.contextmanager
def real_part() -> Iterator[None]:
    """Turn a missing program or engine into a skip, or in CI into a failure."""
    try:
        yield
    except PermanentError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc), pytrace=False)
        pytest.skip(str(exc))


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
