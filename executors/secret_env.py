"""The declared environment of a service, with the values of the secrets that it refers to.

Used by every executor that makes instances: `refusal` asks beforehand what `resolved` would
raise in the midst of an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from infrastructure.errors import UiciError
from infrastructure.service import SecretRef, Service

Resolve = Callable[[str], str]


def resolved(service: Service, resolve: Resolve, *, but: Collection[str] = ()) -> dict[str, str]:
    """Name → value of every declared variable.

    Args:
        service: desired state.
        resolve: a reference → its value; see `infrastructure.secret_references`.
        but: names that are left to others.

    Raises:
        PermanentError: a secret can't be resolved.
    """
    return {
        name: resolve(value.secret) if isinstance(value, SecretRef) else value
        for name, value in service.spec.env.items()
        if name not in but
    }


def unresolved(service: Service, resolve: Resolve) -> dict[str, str]:
    """Name → why there is no value, of every variable whose secret can't be resolved."""
    reasons: dict[str, str] = {}
    for name, value in service.spec.env.items():
        if isinstance(value, SecretRef):
            try:
                resolve(value.secret)
            except UiciError as exc:
                reasons[name] = str(exc)
    return reasons


def refusal(
    service: Service,
    primitive: str,
    needing: Collection[str],
    resolve: Resolve,
    *,
    but: Collection[str] = (),
) -> str | None:
    """Why a primitive could not be carried out for want of a secret; None: it lacks none.

    Args:
        service: desired state.
        primitive: what is to be done.
        needing: the primitives that give instances their environment.
        resolve: as above.
        but: as above.
    """
    if primitive not in needing:
        return None
    lacking = unresolved(service, resolve)
    return next((reason for name, reason in lacking.items() if name not in but), None)
