"""Reads for the dossier: what can't be given of a time is asked for without one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.dossier.reads import read_all
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("without", [True, False])
def test_a_log_without_times_is_read_whole(without: bool) -> None:
    asked: list[dict[str, object]] = []

    def run(call: OperationCall) -> OperationOutcome:
        asked.append(dict(call.parameters))
        if "since" in call.parameters or not without:
            return OperationOutcome(call, OutcomeStatus.FAILED, NOW, NOW, error=f"no {len(asked)}")
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, NOW, NOW, output="its lines")

    call = OperationCall("get_logs", "x/shop", {"lines": 100, "since": "300s"})
    (answer,) = read_all([call], run, concurrency=1)
    assert asked == [{"lines": 100, "since": "300s"}, {"lines": 100}]
    assert (answer.output, answer.error) == (("its lines", "") if without else (None, "no 1"))
