"""A loop over an engine in memory and a real Git remote, with two services in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.loop import LoopWorld, loop_world, service_yaml


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LoopWorld]:
    """market-predictor, and market-gateway that needs it; both running as declared."""
    with loop_world(tmp_path) as made:
        made.commit(
            market_predictor=service_yaml(
                "market-predictor",
                env={"LOG_LEVEL": "info"},
                resources={"memory": "256Mi"},
                alerts=[{"matchers": {"service": "market-predictor"}}],
            ),
            market_gateway=service_yaml("market-gateway", dependsOn=["market-predictor"]),
        )
        made.run()
        made.engine.calls.clear()
        yield made
