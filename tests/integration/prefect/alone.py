"""Call the flow as a function, with the API that the environment names; print how it ended.

python -m tests.integration.prefect.alone DATA_DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from flows.logging_setup import configure_logging
from flows.prefect_edge.flow import build_flow
from infrastructure.config_models import LogSettings
from infrastructure.redaction import Redactor
from tests.integration.prefect.stub import SECRET_PATTERN, open_stub


async def main() -> None:
    redactor = Redactor([SECRET_PATTERN])
    configure_logging(LogSettings(level="info", format="json"), redactor)
    flow = build_flow(lambda: open_stub(Path(sys.argv[1]), redactor))
    state = await flow(return_state=True)  # type: ignore[misc]  # Flow[..., Any] hides that it is async
    sys.stdout.write(f"{state.name} {state.message}\n")


if __name__ == "__main__":
    asyncio.run(main())
