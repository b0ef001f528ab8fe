"""What `flows.platform_operations` is made from, bound to this process. Wiring only.

Used by `flows.runtime`: which executor looks, which servers are asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from executors.contract import Executor
from flows.platform_operations import Collaborators, Escalation
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import PermanentError
from infrastructure.observed import ObservedService, ProbeReading
from infrastructure.redaction import Redactor
from infrastructure.service import Service
from monitoring.http_source import MonitoringClients
from monitoring.loki import LogLine, LogQuery, read_logs
from monitoring.probe import probe_services
from monitoring.prometheus import query


def collaborators(
    config: UniversalConfig,
    executors: Mapping[str, Executor],
    clients: MonitoringClients,
    *,
    redactor: Redactor,
    post_alert: Callable[[Escalation, float], None],
    now: Callable[[], datetime],
) -> Collaborators:
    """Functions over the environments' engines and servers; calls nothing yet."""
    places, observing = config.environments.environments, config.platform.observe

    def look(service: Service, timeout: float) -> ObservedService:
        executor = executors.get(service.metadata.environment)
        if executor is None:
            raise PermanentError(f"{service.metadata.environment} has no executor")
        return executor.look(service, timeout=timeout)

    def probe(
        service: Service, observed: ObservedService, timeout: float
    ) -> Sequence[ProbeReading]:
        deadline = time.monotonic() + timeout
        return probe_services([(service, observed)], observing.probe, deadline=deadline)

    def ask(environment: str, expression: str, _timeout: float) -> Any:
        sources = clients.sources(places[environment].prometheus)
        return query(sources, expression, observing.metrics)

    def stored_logs(environment: str, wanted: LogQuery, _timeout: float) -> Sequence[LogLine]:
        store = places[environment].logs
        if store is None:
            raise PermanentError(
                f"{environment} keeps no logs: write `logs:` for it in environments.yml, or"
                " translate get_logs to the engine's own in command_translations.yml"
            )
        return read_logs(clients.sources(store.sources), wanted, store, now())

    return Collaborators(
        look=look,
        probe=probe,
        query=ask,
        post_alert=post_alert,
        redact=redactor.text,
        stored_logs=stored_logs,
    )
