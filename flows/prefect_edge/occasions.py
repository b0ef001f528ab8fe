"""What Prefect may tell people of, and the words. `Tell` in platform.yml names them.

Neighbours: `flows.prefect_edge.notifications` makes automations of them,
`flows.prefect_edge.listener` sends the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Occasion:
    """What is told: the events, and the words, as templates of Prefect's."""

    events: frozenset[str]
    title: str
    subject: str
    body: str


_RUN = "{% if flow_run is defined and flow_run %}\n\nRun: {{ flow_run|ui_url }}{% endif %}"
_ABOUT = "{{ event.resource['prefect.resource.name'] }}"
OCCASIONS: Mapping[str, Occasion] = {
    "escalated": Occasion(
        frozenset({"uici.escalated"}),
        "a person has to look",
        f"UICI: {_ABOUT} needs a person",
        "{{ event.payload.summary }}" + _RUN,
    ),
    "stalled": Occasion(
        frozenset({"uici.target.stalled"}),
        "attempts are used up",
        f"UICI: {_ABOUT} is stalled",
        "{{ event.payload.summary }}" + _RUN,
    ),
    "approval_waiting": Occasion(
        frozenset({"uici.approval.requested"}),
        "a plan waits for a yes",
        f"UICI: {_ABOUT} waits for an approval",
        "{{ event.payload.operations|join(', ') }} (risk {{ event.payload.risk }}), until "
        "{{ event.payload.expires_at }}: {{ event.payload.diagnosis }}\n\n"
        "Approve it in Prefect, or with: {{ event.payload.approve }}" + _RUN,
    ),
    "recovered": Occasion(
        frozenset({"uici.target.recovered"}),
        "a repair was verified",
        f"UICI: {_ABOUT} has recovered",
        "Verified after {{ event.payload.seconds|round(1) }} s." + _RUN,
    ),
    "run_failed": Occasion(
        frozenset({"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}),
        "a run of the loop failed",
        f"UICI: the run {_ABOUT} failed",
        "{{ event.payload.validated_state.message }}" + _RUN,
    ),
}
