"""Request bodies against the models that the SDK is generated with from the service's API."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

_TAG_KEY = re.compile(r"^[^\s.]{1,100}$")  # "Tagging Overview": no periods, no spaces


def problems(module: str, model: str, body: Any, place: str = "") -> Iterator[str]:
    """Every field that the API does not take, or takes as something else."""
    cls = getattr(importlib.import_module(module), model)
    if hasattr(cls, "get_subtype"):
        cls = getattr(importlib.import_module(module), cls.get_subtype(body))
    empty = cls()
    if not isinstance(body, dict):
        yield f"{place or model}: an object is expected"
        return
    types = {json: empty.swagger_types[name] for name, json in empty.attribute_map.items()}
    for key, value in body.items():
        where = f"{place}.{key}" if place else key
        if key not in types:
            yield f"{where}: unrecognized field"
        elif value is not None:
            yield from _typed(module, types[key], value, where)


def _typed(module: str, kind: str, value: Any, where: str) -> Iterator[str]:
    if kind.startswith("list["):
        if not isinstance(value, list):
            yield f"{where}: a list is expected"
            return
        for index, item in enumerate(value):
            yield from _typed(module, kind[5:-1], item, f"{where}[{index}]")
    elif kind.startswith("dict("):
        if not isinstance(value, dict):
            yield f"{where}: an object is expected"
        elif where.endswith("freeformTags"):
            yield from (f"{where}: tag key {k}" for k in value if not _TAG_KEY.match(k))
    elif kind in _PRIMITIVES:
        if not isinstance(value, _PRIMITIVES[kind]) or (isinstance(value, bool) and kind != "bool"):
            yield f"{where}: {kind} is expected"
    elif kind not in ("object", "datetime"):
        yield from problems(module, kind, value, where)


_PRIMITIVES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}
