"""What a dossier costs: a hundred thousand log lines, made into one prompt's worth.

The bound is one bare pass over the same text that splits it and counts equal lines. Time is
measured first, without memory tracing, which would double it.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from flows.comparison.drift import Drift, Incident
from flows.dossier import collect_evidence, dossier_text
from flows.observe import EnvironmentObservation, Observation
from flows.plan import Evidence
from flows.token_estimate import estimate_tokens
from infrastructure.config_loader import UniversalConfig, UniversalConfigLoader
from infrastructure.drift_kinds import DriftKind
from infrastructure.observed import (
    EngineSnapshot,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
)
from infrastructure.operations import OperationCall, OperationOutcome, OutcomeStatus
from infrastructure.service import Service
from tests.bench.table import Aim, Row

NAME = "dossier"
_WALL = Aim(1.0)
_MEMORY = Aim(200e6)
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = [
    "order",
    "user",
    "cart",
    "stock",
    "price",
    "token",
    "cache",
    "queue",
    "batch",
    "index",
    "shard",
    "offer",
]


def measure(*, lines: int, rounds: int) -> Iterator[Row]:
    """Rows about time, memory and size, for a usual log and for two that are hard."""
    config = UniversalConfigLoader().load()
    for what, make in LOGS.items():
        text = "\n".join(make(lines))
        work = partial(_dossier, config, text, lines)
        bound = min(_timed(partial(_bare, text)) for _ in range(rounds))
        wall = sorted(_timed(work) for _ in range(rounds))
        note = f"{lines} lines, {len(text) / 1e6:.1f} MB, {what}"
        median = wall[len(wall) // 2]
        yield Row(NAME, "wall", median, "s", "split and count", bound, _WALL, note)
        peak, evidence = _peak(work)
        yield Row(NAME, "additional peak memory", peak, "B", aim=_MEMORY, note=what)
        tokens = estimate_tokens(dossier_text(evidence))
        limit = config.platform.evidence.max_tokens
        yield Row(NAME, "size", tokens, "tokens", aim=Aim(limit), note=what)


def _usual(count: int) -> Iterator[str]:
    """Requests with ids, now and then a warning, errors at the end."""
    draw = random.Random(1)
    for number in range(count):
        hour, minute, second = number // 3600 % 24, number // 60 % 60, number % 60
        at = f"2026-01-01T{hour:02}:{minute:02}:{second:02}.{number % 1000:03}Z"
        if number % 97 == 0:
            yield f'{at} {{"level":"warn","msg":"slow query","ms":{draw.randint(100, 999)}}}'
        elif number > count - 500 and number % 3 == 0:
            yield f"{at} ERROR dial tcp 10.0.0.{number % 250}:5432: connect: connection refused"
        else:
            yield (
                f"{at} INFO request id={draw.getrandbits(64):016x} path=/api/items/{number} "
                f"status=200 took={draw.randint(1, 900)}ms"
            )


def _json(count: int) -> Iterator[str]:
    """Every line is JSON with an id of its own."""
    draw = random.Random(2)
    for number in range(count):
        yield (
            f'{{"ts":{number}.5,"level":"info","msg":"handled","trace":"{draw.getrandbits(128):032x}",'
            f'"path":"/api/items/{number}","user":{{"id":{number % 977}}}}}'
        )


def _unlike(count: int) -> Iterator[str]:
    """No line is like another."""
    draw = random.Random(3)
    for _ in range(count):
        yield "failed " + " ".join(draw.choices(_WORDS, k=14))


LOGS: dict[str, Callable[[int], Iterator[str]]] = {
    "usual": _usual,
    "JSON": _json,
    "all unlike": _unlike,
}


def _bare(text: str) -> int:
    return len(Counter(text.split("\n")))


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _peak(work: Callable[[], Evidence]) -> tuple[int, Evidence]:
    tracemalloc.start()
    try:
        evidence = work()
        return tracemalloc.get_traced_memory()[1], evidence
    finally:
        tracemalloc.stop()


def _dossier(config: UniversalConfig, text: str, lines: int) -> Evidence:
    service = Service.model_validate(
        {
            "apiVersion": "uici/v1",
            "kind": "Service",
            "metadata": {"name": "shop", "environment": "local-docker"},
            "spec": {"image": "shop:1"},
        }
    )
    instance = ObservedInstance(
        NativeObject("container", "id", "shop"), InstanceState.RESTARTING, exit_code=1
    )
    seen = {service.target: ObservedService(service.target, (instance,))}
    place = EnvironmentObservation("local-docker", EngineSnapshot("local-docker", seen))
    drift = Drift(service.target, DriftKind.CRASH_LOOPING)

    def read(call: OperationCall) -> OperationOutcome:
        output = text if call.operation == "get_logs" else None
        return OperationOutcome(call, OutcomeStatus.SUCCEEDED, _AT, _AT, output=output)

    return collect_evidence(
        Incident("f" * 16, "local-docker", service.target, (service.target,), (drift,)),
        services={service.target: service},
        observation=Observation(_AT, {"local-docker": place}),
        run_read=read,
        patterns=config.runbooks.patterns,
        redactor=config.redactor(),
        limits=config.platform.evidence.model_copy(update={"log_lines": lines}),
    )
