"""A `uici serve` whose loop is the real one over an engine in memory, with a shop that is down.

python -m tests.integration.prefect.asking PLATFORM_JSON
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.alert_inbox import KnownServices
from flows.listener import Listeners
from flows.logging_setup import configure_logging
from flows.serve import run_service
from infrastructure.config_models import Platform
from infrastructure.errors import UiciError
from tests.fakes.loop import loop_world, service_yaml

if TYPE_CHECKING:
    from flows.prefect_edge.flow import Loop

ASKS = {"guard": {"alwaysApprove": ["start"]}}


def main() -> int:
    platform = Platform.model_validate_json(Path(sys.argv[1]).read_text())
    data = Path(platform.data_directory)
    try:
        return run_service(platform, data, lambda: _opened(platform, data / "world"))
    except UiciError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


@contextlib.contextmanager
def _opened(platform: Platform, root: Path) -> Iterator[Loop]:
    from flows.approvals.wiring import desk_of  # noqa: PLC0415 - after Prefect's settings
    from flows.prefect_edge.choices import Choices  # noqa: PLC0415 - the same
    from flows.prefect_edge.flow import Loop  # noqa: PLC0415 - the same
    from flows.prefect_edge.links import places_of  # noqa: PLC0415 - the same
    from flows.reconcile import reconcile  # noqa: PLC0415 - the same
    from flows.report import render_markdown  # noqa: PLC0415 - the same
    from flows.runtime import open_git  # noqa: PLC0415 - the same

    first = not root.exists()
    root.mkdir(exist_ok=True)
    shutil.rmtree(root / "config", ignore_errors=True)
    with loop_world(root, platform=ASKS) as world:
        runtime = world.runtime
        configure_logging(platform.log, runtime.redactor)
        if first:
            world.commit(shop=service_yaml("shop"))
        world.engine.run(runtime.git.desired().services["local-docker/shop"])
        world.engine.kill("shop")
        own = open_git(world.config, runtime.identity, runtime.redactor)
        known = KnownServices()
        yield Loop(
            run=lambda request, listener: reconcile(request, runtime, Listeners(listener, known)),
            render=lambda report: render_markdown(report, runtime.redactor.text),
            redactor=runtime.redactor,
            desk=desk_of(runtime, own),
            choices=lambda: Choices(
                tuple(world.config.environments.environments),
                None if known.now is None else tuple(known.now),
            ),
            places=places_of(world.config.environments.environments, world.config.platform.git),
        )


if __name__ == "__main__":
    sys.exit(main())
