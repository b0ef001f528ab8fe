"""How long a recovery may prove to be none, and what a wrong clock makes of that."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.learning.relapse import RelapseWindow
from flows.reporting.status import PastIncident, Step
from tests.unit.learning.made import NOW

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("minutes", "counts"), [(-59, True), (-60, False), (5, True), (60, False), (525_600, False)]
)
def test_a_recovery_from_far_in_the_future_is_another_clock_s(
    minutes: int, *, counts: bool
) -> None:
    past = PastIncident(
        at=NOW + timedelta(minutes=minutes),
        run_id="r",
        spec_digest="s",
        incident_class="docker-stopped",
        kinds=("Stopped",),
        planner="runbook",
        steps=(Step(operation="start", parameters={}),),
        result="recovered",
        by_itself=True,
    )
    found = RelapseWindow(HOUR, NOW).of([past], incident_class="docker-stopped", spec_digest="s")
    assert bool(found) is counts
