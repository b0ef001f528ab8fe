"""What `uici serve` needs to take alerts: who is known, where a wish goes.

The endpoint listens before anything else is there, so both come in later. Neighbours:
`flows.webhook` answers the requests, `flows.prefect_edge.trigger` starts the runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.endpoint import Inboxes
from flows.listener import NullListener
from flows.reporting.values import RunReport
from flows.webhook import Webhook
from infrastructure.config_models import ServeSettings
from infrastructure.errors import TemporaryError
from infrastructure.identity import AgentIdentity
from infrastructure.service import Service

if TYPE_CHECKING:
    from flows.prefect_edge.trigger import RunTrigger


@dataclass(slots=True)
class KnownServices(NullListener):
    """Desired state as the newest run read it. One thread writes it, others read."""

    now: Mapping[str, Service] | None = None

    def run_finished(self, report: RunReport) -> None:
        """See `Listener`."""
        self.now = report.desired.services


@dataclass(frozen=True, slots=True)
class Alerts:
    """What telling targets from alerts needs: who the agent is, and the services."""

    identity: AgentIdentity
    services: KnownServices


@dataclass(slots=True)
class Asking:
    """The way from the endpoint to the worker, as soon as there is a worker."""

    trigger: RunTrigger | None = None

    def ask(self, targets: frozenset[str] | None) -> None:
        """See `flows.webhook.Ask`."""
        if self.trigger is None:
            raise TemporaryError("no runs are taken yet: send it again")
        self.trigger.ask(targets)


def inboxes_of(settings: ServeSettings, alerts: Alerts | None, asking: Asking) -> Inboxes:
    """Who takes what is posted: the webhook, if it is configured."""
    if settings.webhook is None or alerts is None:
        return {}
    webhook = Webhook(
        settings.webhook,
        services=lambda: alerts.services.now,
        identity=alerts.identity,
        ask=asking.ask,
        clock=time.monotonic,
    )
    return {settings.webhook.path: webhook}
