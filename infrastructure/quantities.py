"""Durations, memory sizes and CPU shares as people write them in YAML.

Durations follow Prometheus (`1h30m`, `500ms`), memory and CPU follow the Kubernetes
resource quantity syntax (`256Mi`, `500m`), because users already know both.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# Digits are counted, so that no text becomes a number that a duration can't hold.
_DURATION = re.compile(r"^(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+$")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_LONGEST = timedelta(days=36_500)
_MEMORY_UNITS = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}
_MEMORY = re.compile(r"^([0-9]{1,19}(?:\.[0-9]{1,9})?)(Ki|Mi|Gi|Ti|k|M|G|T|)$")
_MOST_BYTES = 2**63 - 1  # what engines can hold
_CPU = re.compile(r"^[0-9]{1,9}(?:\.[0-9]{1,9})?m?$")


def parse_duration(value: Any) -> timedelta:
    """`"1h30m"` → timedelta, in whole milliseconds. Raises ValueError with the accepted form."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("write a duration with its unit, such as 500ms, 30s, 5m or 1h30m")
    parts = _DURATION_PART.findall(value)
    milliseconds = round(sum(Decimal(n) * _DURATION_UNITS[unit] for n, unit in parts))
    if milliseconds > _LONGEST / timedelta(milliseconds=1):
        raise ValueError(f"write a duration of at most {_LONGEST.days}d")
    return timedelta(milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """Timedelta → the shortest text that `parse_duration` reads back to the same value."""
    milliseconds = round(value.total_seconds() * 1000)
    if milliseconds == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, _DURATION_UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return text


def parse_memory(value: Any) -> int:
    """`"256Mi"` → bytes. Raises ValueError with the accepted form."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_BYTES:
        return value
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    size = int(Decimal(match[1]) * _MEMORY_UNITS[match[2]]) if match else -1
    if not 0 <= size <= _MOST_BYTES:
        raise ValueError("write memory as a quantity such as 256Mi, 1Gi or 500M")
    return size


def format_memory(value: int) -> str:
    """Bytes → the largest binary unit that divides them."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if value and value % _MEMORY_UNITS[unit] == 0:
            return f"{value // _MEMORY_UNITS[unit]}{unit}"
    return str(value)


def parse_cpu(value: Any) -> Decimal:
    """`"500m"` or `"0.5"` → cores. Raises ValueError with the accepted form."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if _CPU.fullmatch(text):
            cores = Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)
            return cores.normalize()
    raise ValueError('write CPU in cores such as "0.5", "2" or "500m"')


def format_cpu(value: Decimal) -> str:
    """Cores → plain decimal text."""
    return f"{value.normalize():f}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": _DURATION.pattern, "examples": ["500ms", "30s", "1h30m"]}
    ),
]
Memory = Annotated[
    int,
    BeforeValidator(parse_memory),
    PlainSerializer(format_memory, return_type=str),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": _MEMORY.pattern, "examples": ["256Mi", "1Gi"]}
    ),
]
Cpu = Annotated[
    Decimal,
    BeforeValidator(parse_cpu),
    PlainSerializer(format_cpu, return_type=str),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": _CPU.pattern, "examples": ["0.5", "500m"]}
    ),
]
