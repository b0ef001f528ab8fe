"""Wanted fields as the live object spells them, where both say the same. Pure.

Server-side apply compares what is sent with what is there, text by text: `0.5` of a CPU is
another value than `500m`, and a list that is one value differs by each default that the server
filled in. Whoever sends the live spelling asks for no change, and so fights with nobody.
Source of which lists are merged by which keys, and which values are whole: the x-kubernetes
extensions in the OpenAPI document of the Kubernetes API.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from executors.kubernetes.objects import quantity

# Lists whose members are merged: field → keys by which a member is known.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_KEY_DEFAULTS: Mapping[str, Any] = {"protocol": "TCP"}
# Mappings that are one value.
_WHOLE = frozenset(
    {
        "selector", "labelSelector", "namespaceSelector", "nodeSelector", "fieldRef",
        "resourceFieldRef", "secretKeyRef", "configMapKeyRef",
    }
)  # fmt: skip
# Fields that are quantities, or hold nothing else.
_AMOUNTS = frozenset({"limits", "requests", "capacity", "divisor", "sizeLimit"})
_NOTHING: tuple[Any, ...] = (None, "", {}, [])


def respelled(wanted: Any, live: Any, field: str = "", *, amount: bool = False) -> Any:
    """A wanted value with all that says the same as the live one in the live spelling.

    Args:
        wanted: part of a body to apply.
        live: the same part of the object.
        field: its name.
        amount: whether it is a quantity, or holds nothing else.
    """
    amount = amount or field in _AMOUNTS
    if isinstance(wanted, dict) and isinstance(live, dict) and field not in _WHOLE:
        return {
            key: respelled(item, live[key], key, amount=amount) if key in live else item
            for key, item in wanted.items()
        }
    keys = _KEYS.get(field)
    if keys is not None and isinstance(wanted, list) and isinstance(live, list):
        present = {_key(member, keys): member for member in live}
        return [
            respelled(member, present[key], amount=amount)
            if (key := _key(member, keys)) in present
            else member
            for member in wanted
        ]
    return copy.deepcopy(live) if _says_the_same(wanted, live, amount=amount) else wanted


def _key(member: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    found = member if isinstance(member, dict) else {}
    return tuple(found.get(key, _KEY_DEFAULTS.get(key)) for key in keys)


def _says_the_same(wanted: Any, live: Any, *, amount: bool) -> bool:
    """Whether all that is wanted is there; what the live value has beside it counts for nothing."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(
            _says_the_same(item, live[key], amount=amount or key in _AMOUNTS)
            if key in live
            else item in _NOTHING
            for key, item in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(live, list):
        return len(wanted) == len(live) and all(
            _says_the_same(one, other, amount=amount)
            for one, other in zip(wanted, live, strict=True)
        )
    return bool(wanted == live) or (amount and _same_amount(wanted, live))


def _same_amount(one: Any, other: Any) -> bool:
    try:
        return quantity(one) == quantity(other)
    except ValueError:
        return False
