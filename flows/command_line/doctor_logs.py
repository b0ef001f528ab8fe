"""What `uici doctor` says of the servers that keep logs: whether they answer and know us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from flows.command_line.finding import Finding, Level
from infrastructure.config_models import Environment, HttpSource, LogStore
from infrastructure.errors import UiciError
from infrastructure.quantities import format_duration
from infrastructure.service import Service
from monitoring.http_source import MonitoringClients
from monitoring.loki import LogQuery, read_logs

# A server that has lines of none of so many services is asked with the wrong labels.
_ASKED = 5
# In a place without services: a name that nothing has; the answer counts, not its lines.
_NOBODY = "uici-doctor"


def log_findings(
    name: str, environment: Environment, services: Sequence[Service], clients: MonitoringClients
) -> Iterator[Finding]:
    """One finding for each server of `logs`; none where logs are the engine's own."""
    if environment.logs is None:
        return
    wanted = [service.metadata.name for service in services[:_ASKED]]
    for source in environment.logs.sources:
        yield _ask(f"{name}: logs", source, environment.logs, wanted, clients)


def _ask(
    name: str, source: HttpSource, store: LogStore, wanted: list[str], clients: MonitoringClients
) -> Finding:
    now, known = datetime.now(UTC), 0
    try:
        for service in wanted or [_NOBODY]:
            query = LogQuery(service=service, lines=1)
            known += bool(read_logs(clients.sources([source]), query, store, now))
    except UiciError as exc:
        return Finding(name, Level.ERROR, str(exc))
    back = format_duration(store.look_back)
    if wanted and not known:
        detail = (
            f"{source.url} answers, and has no line of {', '.join(wanted)} in the last {back}:"
            f" compare logs.serviceLabel ({store.service_label}) and logs.labels in"
            " environments.yml with what is shipped there"
        )
        return Finding(name, Level.WARNING, detail)
    told = f": lines of {known} of {len(wanted)} services in the last {back}" if wanted else ""
    return Finding(name, Level.OK, f"{source.url} answers{told}")
