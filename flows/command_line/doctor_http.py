"""Addresses that `uici doctor` asks itself: Prefect's, and those of detection rules.

Bounded in time and size as a whole, not for each read: a server that sends a byte now and
then must not keep the doctor. Neighbours: `flows.command_line.doctor`,
`monitoring.http_source`, whose client this uses without credentials.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from flows.command_line.finding import Finding, Level
from infrastructure.config_models import HttpSource, PrefectSettings
from infrastructure.errors import UiciError
from monitoring.http_source import SourceClient

# A person waits, and both are pages of a few bytes.
_PREFECT = timedelta(seconds=5)
_SIGN = timedelta(seconds=1)
_MAX_BYTES = 1024 * 1024

_OK = 200


def prefect_finding(settings: PrefectSettings, *, within: timedelta = _PREFECT) -> Finding:
    """Whether the Prefect API is well. UICI works without it, so nothing is an error."""
    try:
        where, status = _ask(f"{settings.api_url}/health", within)
    except UiciError as exc:
        detail = f"{exc}: start it with uici serve, or without a schedule use uici reconcile"
        return Finding("Prefect", Level.WARNING, detail)
    except ValueError:
        return Finding("Prefect", Level.WARNING, "prefect.apiUrl in platform.yml is no address")
    level = Level.OK if status == _OK else Level.WARNING
    return Finding("Prefect", level, f"{where} answers {status}")


def answers(url: str) -> bool:
    """Whether anything answers there, within a second, whatever its status."""
    try:
        _ask(url, _SIGN)
    except (UiciError, ValueError):  # ValueError: no address at all
        return False
    return True


def _ask(url: str, timeout: timedelta) -> tuple[str, int]:
    """The address without credentials, and the status of its whole answer.

    Raises:
        UiciError: no answer, not within `timeout`, or a larger one than a page is.
    """
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    source = HttpSource(url=f"{parts.scheme}://{parts.netloc}", timeout=timeout)
    client = SourceClient(source)
    try:
        answer = client.send(path, deadline=client.deadline(), max_bytes=_MAX_BYTES)
    finally:
        client.close()
    return client.address + path, answer.status
