"""Whether the secrets that desired state refers to can be resolved, for `uici doctor`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from flows.command_line.finding import Finding, Level
from flows.reporting.text import count
from infrastructure.errors import UiciError
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service

_NAMED = 3  # of those that refer to one secret


def secret_findings(services: Iterable[Service], secrets: SecretResolver) -> Iterator[Finding]:
    """A line for each secret that is not there, or one for all of them.

    Args:
        services: desired state.
        secrets: as this user has them; the agent may be another.
    """
    users: dict[str, list[str]] = defaultdict(list)
    for service in services:
        for name, reference in service.secrets.items():
            users[reference].append(f"{name} of {service.target}")
    lacking = {ref: why for ref in sorted(users) if (why := _why_absent(ref, secrets))}
    for reference, why in lacking.items():
        named = users[reference]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        detail = (
            f"{why}; until then {', '.join(named[:_NAMED])}{more} can't be compared, nor given to"
            " a new instance"
        )
        yield Finding("secret", Level.WARNING, detail)
    if users and not lacking:
        yield Finding("secrets", Level.OK, f"{count(len(users), 'reference')} resolved")


def _why_absent(reference: str, secrets: SecretResolver) -> str:
    try:
        secrets.resolve(reference)
    except UiciError as exc:
        return str(exc)
    return ""
