"""Desired state for commands that only ask: read by a clone of their own.

The agent's clone is not touched: who asks may be another user. Neighbours: `doctor` and `rbac`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from flows.repository.contract import DesiredState
from flows.repository.creation import embedded_path
from flows.runtime import open_git
from infrastructure.config_loader import UniversalConfig, agent_identity
from infrastructure.service import Service


def desired_state(config: UniversalConfig) -> DesiredState:
    """The newest valid desired state.

    Raises:
        UiciError: it can't be read.
    """
    git = config.platform.git
    embedded = embedded_path(config.data_directory)
    remote = git.remote or (str(embedded) if embedded.exists() else None)
    with tempfile.TemporaryDirectory(prefix="uici-look-") as scratch:
        looking = replace(
            config,
            platform=config.platform.model_copy(
                update={"git": git.model_copy(update={"remote": remote})}
            ),
            data_directory=Path(scratch),
        )
        return open_git(looking, agent_identity(config), config.redactor()).desired()


def those_in(environment: str, services: Iterable[Service]) -> tuple[Service, ...]:
    """The services of one environment."""
    return tuple(each for each in services if each.metadata.environment == environment)
