"""Telling people, through the Alertmanagers of the environments. See `Runtime.people`.

What is told stands in `flows.escalation` and `flows.lasting_alerts`; `monitoring.alertmanager`
speaks to the servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from flows.lasting_alerts import Standing
from flows.platform_operations import Escalation
from flows.reporting.status import AGENT_FOLDER
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import UiciError
from infrastructure.observed import Alert
from infrastructure.operations import ESCALATION_ALERT
from infrastructure.redaction import Redactor
from monitoring.alertmanager import OwnAlert, post_alert, post_alerts
from monitoring.http_source import MonitoringClients

if TYPE_CHECKING:
    from flows.world import Clock

_log = structlog.get_logger("uici")


@dataclass(frozen=True, slots=True)
class People:
    """Whoever gets the alerts. Every method raises UiciError when no Alertmanager took one."""

    config: UniversalConfig
    agent: str
    redactor: Redactor
    clients: MonitoringClients
    clock: Clock

    def tell_own(self, alerts: Sequence[Alert]) -> None:
        """Of alerts about the agent itself, wherever there is an Alertmanager."""
        names = ", ".join(sorted({alert.name for alert in alerts}))
        summary = f"{names} fires about {self.agent}, which never acts on itself"
        labels = {"service": self.agent, "target": f"{AGENT_FOLDER}/{self.agent}"}
        errors: list[UiciError] = []
        places = self.config.environments.environments
        for name in (n for n, place in places.items() if place.alertmanager):
            try:
                self._tell(name, labels, summary)
            except UiciError as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def tell_environment(self, environment: str, summary: str) -> None:
        """Of something that concerns a whole environment."""
        self._tell(environment, {"target": environment}, summary)

    def keep_told(self, standing: Standing) -> None:
        """Renew the alerts of what lasts, end those of what is over: a request a place."""
        now, lasts = self.clock.now(), self.config.platform.escalation.lasts
        ends = [(told, now + lasts) for told in standing.lasting]
        ends += [(told, now) for told in standing.over]
        errors: list[UiciError] = []
        for name, place in self.config.environments.environments.items():
            alerts = [
                OwnAlert(told.labels, {"summary": self.redactor.text(told.summary)}, now, end)
                for told, end in ends
                if told.environment == name
            ]
            if not alerts or not place.alertmanager:
                continue
            settings = self.config.platform.observe.alerts
            try:
                post_alerts(self.clients.sources(place.alertmanager), alerts, settings=settings)
            except UiciError as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def _tell(self, environment: str, labels: Mapping[str, str], summary: str) -> None:
        known = {
            "alertname": ESCALATION_ALERT,
            "environment": environment,
            "severity": "critical",
            **labels,
        }
        self.escalate(Escalation(environment, known, {"summary": summary}), 0)

    def escalate(self, escalation: Escalation, _timeout: float) -> None:
        """An alert that ends by itself unless it is told again."""
        sources = self.config.environments.environments[escalation.environment].alertmanager
        if not sources:  # the report in Git, the log and Prefect's event tell it then
            _log.warning("escalation_without_alertmanager", **escalation.labels)
            return
        now = self.clock.now()
        post_alert(
            self.clients.sources(sources),
            labels=escalation.labels,
            annotations=escalation.annotations,
            starts_at=now,
            ends_at=now + self.config.platform.escalation.lasts,
            settings=self.config.platform.observe.alerts,
        )
