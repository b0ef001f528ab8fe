"""Environment variables that are secrets: kept in a Secret of the workload's own. Pure.

A pod template refers to them, so whoever may read workloads does not see them. Reading
Secrets is no right that UICI asks for: whether a pod has the declared value is told from a
fingerprint beside the template, which also makes pods roll when a value changes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from executors.kubernetes.binding import Place

FINGERPRINTS = "uici.secrets"  # annotation of the pod template: variable → fingerprint
ANOTHER = "(another value)"
_ROUNDS = 10_000  # makes guessing a weak secret from its fingerprint dear
_LENGTH = 16  # bytes


def secret_name(place: Place) -> str:
    """Of the Secret that holds the workload's variables."""
    return f"{place.name}-uici-env"


def secret_body(place: Place, values: Mapping[str, str], labels: Mapping[str, str]) -> Any:
    """The Secret to apply."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(place),
            "namespace": place.namespace,
            "labels": dict(labels),
        },
        "type": "Opaque",
        "data": {name: base64.b64encode(v.encode()).decode() for name, v in values.items()},
    }


def reference(place: Place, variable: str) -> Any:
    """What stands in `valueFrom` of a variable."""
    return {"secretKeyRef": {"name": secret_name(place), "key": variable}}


@lru_cache(maxsize=8192)
def fingerprint(place: Place, variable: str, value: str) -> str:
    """Tells two values apart; says nothing about them that is cheap to find out."""
    salt = f"{place.namespace}/{place.name}/{variable}".encode()
    return hashlib.pbkdf2_hmac("sha256", value.encode(), salt, _ROUNDS, _LENGTH).hex()


def fingerprints(place: Place, values: Mapping[str, str]) -> str:
    """The annotation's text."""
    found = {name: fingerprint(place, name, value) for name, value in sorted(values.items())}
    return json.dumps(found, separators=(",", ":"))


def known_values(
    annotation: str | None, place: Place, declared: Mapping[str, str]
) -> Mapping[str, str]:
    """What the variables of the annotation hold, as far as it can be told.

    Args:
        annotation: of a pod or a pod template.
        place: of the workload.
        declared: variable → the value that desired state refers to.

    Returns:
        The declared value where the fingerprint is its own, else `ANOTHER`.
    """
    if not annotation:
        return {}
    try:
        told = json.loads(annotation)
    except ValueError:
        return {}
    if not isinstance(told, dict):
        return {}
    return {
        name: value if told.get(name) == fingerprint(place, name, value) else ANOTHER
        for name, value in declared.items()
        if name in told
    }
