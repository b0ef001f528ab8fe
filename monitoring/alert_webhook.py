"""Reader of what Alertmanager sends to a webhook receiver.

Format: version 4 of the webhook's JSON (Alertmanager's configuration reference,
`webhook_config`). What it says is only ever used to look at the world sooner: it never
takes the place of reading Alertmanager. Neighbour: `flows.webhook`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, ValidationError

from infrastructure.errors import InvalidInputError, Problem

# An alert's labels are few and short; whoever sends more is not Alertmanager.
_MAX_LABELS = 200
_Text = Annotated[str, StringConstraints(max_length=4096)]


class _Alert(BaseModel):
    status: Literal["firing", "resolved"]
    labels: dict[_Text, _Text] = Field(max_length=_MAX_LABELS)
    startsAt: AwareDatetime  # noqa: N815 - Alertmanager's own names
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class _Message(BaseModel):
    version: Literal["4"]
    alerts: list[_Alert]
    truncatedAlerts: int = Field(default=0, ge=0)  # noqa: N815 - absent before 0.21


@dataclass(frozen=True, slots=True)
class NotifiedAlert:
    """One alert of a notification. `key` is the same each time it is sent again."""

    fingerprint: str
    starts_at: datetime
    labels: Mapping[str, str]
    firing: bool

    @property
    def key(self) -> tuple[str, datetime]:
        """Which alert, and which time that it fires."""
        return self.fingerprint, self.starts_at


@dataclass(frozen=True, slots=True)
class Notification:
    """What was sent. `truncated`: how many more alerts there are than were sent."""

    alerts: tuple[NotifiedAlert, ...]
    truncated: int


def read_notification(body: bytes) -> Notification:
    """Parse a notification.

    Raises:
        InvalidInputError: it is none; says what is wrong with it, not what it held.
    """
    try:
        message = _Message.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:80]
        told = f"{place or 'the body'}: {first['msg'][:120]}"
        problem = Problem("webhook", 0, 0, f"not a notification of Alertmanager: {told}")
        raise InvalidInputError([problem]) from exc
    alerts = tuple(
        NotifiedAlert(
            fingerprint=alert.fingerprint,
            starts_at=alert.startsAt,
            labels=alert.labels,
            firing=alert.status == "firing",
        )
        for alert in message.alerts
    )
    return Notification(alerts, message.truncatedAlerts)
