"""What Prefect was told already: once each, also after the process has begun anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flows.prefect_edge.listener import Told
from flows.reporting.status import Condition, ConditionType, TargetStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHOP = "local/shop"


def status(since: datetime | None) -> dict[str, TargetStatus]:
    """Of one target that stands still since then; None: it does not."""
    stalled = Condition(
        type=ConditionType.STALLED,
        status="True",
        reason="Escalated",
        message="a person must look",
        last_transition_time=since or NOW,
    )
    made = TargetStatus(
        target=SHOP,
        observed_revision="main@none",
        spec_digest="",
        sync="Synced",
        health="Degraded",
        conditions=() if since is None else (stalled,),
    )
    return {SHOP: made}


def test_what_stands_still_is_told_once() -> None:
    told = Told()
    assert told.new_stalled(status(None), NOW) == []
    [(found, why)] = told.new_stalled(status(NOW), NOW)
    assert (found.target, why) == (SHOP, "a person must look")
    assert told.new_stalled(status(NOW), NOW + timedelta(minutes=1)) == []


def test_a_new_process_tells_only_what_came_to_stand_still_in_its_own_run() -> None:
    assert Told().new_stalled(status(NOW - timedelta(hours=1)), NOW) == []
    assert len(Told().new_stalled(status(NOW), NOW)) == 1


def test_what_moved_and_stands_still_again_is_told_again() -> None:
    told = Told()
    assert told.new_stalled(status(NOW - timedelta(hours=1)), NOW) == []
    assert told.new_stalled(status(None), NOW) == []
    assert len(told.new_stalled(status(NOW), NOW)) == 1
