"""One Prefect server for the package; a `uici serve` of its own for each test that asks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.prefect_edge.server import prefect_server
from tests.integration.prefect.service import Api, Service


@pytest.fixture(scope="package")  # an idle server still takes an eighth of a core
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    # Measured for coverage, which has nothing of ours to see in it, it works half as fast.
    unmeasured = {"COVERAGE_PROCESS_CONFIG": ""}
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home, ready_timeout=150, environ=unmeasured) as server:
        api = Api(server.api_url)
        yield api
        api.close()


@pytest.fixture
def new_service(
    prefect_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Service]]:
    """Makes services on the package's server, each with a pool of its own. Not started."""
    made: list[Service] = []

    def make(**prefect: Any) -> Service:
        data = tmp_path_factory.mktemp("serve")
        made.append(Service(data, prefect_api, pool=f"pool-{uuid.uuid4().hex[:8]}", **prefect))
        return made[-1]

    yield make
    for service in made:
        service.clear_up()


@pytest.fixture(scope="module")
def service(prefect_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that works, whose schedule does not come into the way."""
    data: Path = tmp_path_factory.mktemp("serve")
    serving = Service(data, prefect_api, pool=f"pool-{uuid.uuid4().hex[:8]}", interval="1d")
    serving.start().started()
    yield serving
    serving.clear_up()
