"""The receiver of Alertmanager's webhook: alerts in, "look now" out.

A notification proves nothing and changes nothing: it only says which targets to look at
sooner than the schedule would. So the worst that a forged one does is a look, and one that
is lost is made up for by the schedule. It is taken with a bearer token only, bounded in
size and rate; what was told before, what is over and what is about the agent starts
nothing. Neighbours: `monitoring.alert_webhook` reads the format, `flows.endpoint` listens,
`flows.prefect_edge.trigger` starts the run.
"""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from http import HTTPStatus

import structlog

from flows.endpoint import Page, Request, text_page
from flows.logging_setup import LOGGER_NAME
from infrastructure.config_models import WebhookSettings
from infrastructure.errors import InvalidInputError, TemporaryError
from infrastructure.identity import AgentIdentity
from infrastructure.operations import ESCALATION_ALERT
from infrastructure.service import Service
from monitoring.alert_webhook import Notification, NotifiedAlert, read_notification

# Alerts that are remembered as told; an older one that is sent again costs one look.
_REMEMBERED = 4096
_SCHEME = "Bearer "

# Targets to look at now; None: all of them.
Ask = Callable[[frozenset[str] | None], None]


class Webhook:
    """Answers the requests of one endpoint. Safe to use from several threads."""

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        services: Callable[[], Mapping[str, Service] | None],
        identity: AgentIdentity,
        ask: Ask,
        clock: Callable[[], float],
    ) -> None:
        """Receive nothing yet.

        Args:
            settings: token, size and rate.
            services: desired state as last read; None: it was not read yet.
            identity: alerts about the agent are dropped here, too.
            ask: starts a run; must not wait for it. Raises TemporaryError when it can't yet.
            clock: seconds, monotonic.
        """
        self._settings = settings
        self._services = services
        self._identity = identity
        self._ask = ask
        self._rate = _Bucket(settings.per_minute, settings.burst, clock)
        # Apart, so that whoever has no token can't use up the rate of who has.
        self._guesses = _Bucket(settings.per_minute, settings.burst, clock)
        self._told: OrderedDict[tuple[str, datetime], None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def max_bytes(self) -> int:
        """The longest body that is read at all."""
        return self._settings.max_bytes

    def admit(self, headers: Mapping[str, str]) -> Page | None:
        """Before the body is read: the refusal, or None.

        Tokens are compared in constant time. Too many requests are refused, those with the
        token and those without it counted apart.
        """
        token = self._settings.token
        if not token:
            return text_page(
                "no token is configured: serve.webhook.token in platform.yml", HTTPStatus.FORBIDDEN
            )
        given = headers.get("Authorization", "")
        # Bytes: compare_digest refuses text beyond ASCII.
        fits = hmac.compare_digest(given.encode("latin-1", "replace"), (_SCHEME + token).encode())
        if not (self._rate if fits else self._guesses).take():
            return text_page("too many requests", HTTPStatus.TOO_MANY_REQUESTS)
        if not fits:
            return text_page("the bearer token is missing or wrong", HTTPStatus.UNAUTHORIZED)
        return None

    def answer(self, request: Request) -> Page:
        """Take one notification that was admitted."""
        try:
            notification = read_notification(request.body)
        except InvalidInputError as exc:
            return text_page(exc.problems[0].message, HTTPStatus.BAD_REQUEST)
        with self._lock:
            new = self._new(notification)
            wanted = self._concerned(notification, new)
            if wanted is not None and not wanted:
                return text_page("nothing to look at")
            # Remembered only with its run asked for: what is refused comes again.
            try:
                self._ask(wanted)
            except TemporaryError as exc:
                return text_page(str(exc), HTTPStatus.SERVICE_UNAVAILABLE)
            self._remember(new)
        structlog.get_logger(LOGGER_NAME).info(
            "alerts_received",
            alerts=len(new),
            targets="all" if wanted is None else sorted(wanted),
        )
        return text_page("looking", HTTPStatus.ACCEPTED)

    def _new(self, notification: Notification) -> list[NotifiedAlert]:
        return [a for a in notification.alerts if a.firing and a.key not in self._told]

    def _remember(self, alerts: Iterable[NotifiedAlert]) -> None:
        for alert in alerts:
            self._told[alert.key] = None
            self._told.move_to_end(alert.key)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    def _concerned(
        self, notification: Notification, new: Iterable[NotifiedAlert]
    ) -> frozenset[str] | None:
        """Targets to look at: those whose alerts these are, and what they depend on."""
        foreign = [
            alert.labels
            for alert in new
            if not self._identity.owns_alert(alert.labels)
            and alert.labels.get("alertname") != ESCALATION_ALERT
        ]
        if notification.truncated:
            return None  # nobody knows whose the others are
        if not foreign:
            return frozenset()
        services = self._services()
        if services is None:
            return None
        return concerned(services, foreign)


def concerned(
    services: Mapping[str, Service], alerts: Iterable[Mapping[str, str]]
) -> frozenset[str]:
    """Targets that these labels are alerts of, with all that they depend on.

    The dependencies come along so that the cause is seen and not the symptom alone.
    """
    labels = list(alerts)
    found = {
        target
        for target, service in services.items()
        for selector in service.spec.alerts
        if any(selector.matchers.items() <= each.items() for each in labels)
    }
    todo = list(found)
    while todo:
        for needed in services[todo.pop()].dependencies:
            if needed in services and needed not in found:
                found.add(needed)
                todo.append(needed)
    return frozenset(found)


class _Bucket:
    """So many a minute, and a few at once."""

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60
        self._most = float(burst)
        self._left = self._most
        self._clock = clock
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may pass."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
