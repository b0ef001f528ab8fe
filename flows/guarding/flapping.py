"""Flapping: a target that recovers and fails again is a person's, not to be repaired for ever.

Pure. Counted are verified recoveries on the spec that is declared now, from the target's
history in Git. It ends by itself: nothing is done to a target that flaps, so that its
recoveries lie further and further back, and another spec has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from flows.plan import PlannerKind
from flows.reporting.status import PastIncident
from infrastructure.config_models import FlappingSettings
from infrastructure.quantities import format_duration

_RECOVERED = "recovered"


def flaps(
    history: Iterable[PastIncident],
    spec_digest: str,
    settings: FlappingSettings | None,
    now: datetime,
) -> str | None:
    """Why a failure now is one too many; None: it is not.

    Args:
        history: of the target.
        spec_digest: of what is declared now.
        settings: None: nothing flaps.
        now: with time zone.
    """
    if settings is None:
        return None
    count = sum(
        1
        for past in history
        if past.result == _RECOVERED
        and past.planner != PlannerKind.PERSON  # what people do by hand is no fault mended
        and past.spec_digest == spec_digest
        and past.at > now - settings.within
    )
    if count < settings.recoveries:
        return None
    return (
        f"it has recovered {count} times within {format_duration(settings.within)} and fails again"
    )
