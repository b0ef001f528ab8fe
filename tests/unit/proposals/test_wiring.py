"""Proposals at the end of a run: whatever goes wrong there, the run's result stands."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import structlog

from flows.listener import RunRequest
from flows.proposals.edit import UneditableError
from flows.proposals.wiring import propose_after
from flows.runtime import Runtime
from infrastructure.errors import TemporaryError
from tests.fakes.loop import loop_world, service_yaml


class _BrokenGit:
    """Instead of a clone."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def proposals(self) -> object:
        raise self._error


class _BrokenRuntime:
    """Instead of the process's."""

    def __init__(self, error: Exception) -> None:
        self.git = _BrokenGit(error)


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (TemporaryError("no clone"), "proposals_not_considered"),
        (UneditableError("no clone"), "proposals_failed"),
        (TypeError("no clone"), "proposals_failed"),
        (OverflowError("no clone"), "proposals_failed"),
        (RecursionError("no clone"), "proposals_failed"),
    ],
)
def test_nothing_that_goes_wrong_ends_the_run(tmp_path: Path, error: Exception, event: str) -> None:
    with loop_world(tmp_path) as opened:
        opened.commit(a=service_yaml("a"))
        world = opened.runtime.open_world(RunRequest(None, None, None, "test"))
        with structlog.testing.capture_logs() as logs:
            propose_after(cast("Runtime", _BrokenRuntime(error)), world, {})
    assert [(entry["event"], "no clone" in entry["reason"]) for entry in logs] == [(event, True)]
