"""Reader of Prometheus and what speaks its API (Thanos, Mimir, VictoriaMetrics).

One request a run, whatever the number of targets. A query that Prometheus refuses makes
its own check unknown and nobody else's. Neighbours: `monitoring.promql` makes the
expression and judges the samples; `flows.observe`, verification and the operation
`query_metrics` call this.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import structlog
from pydantic import BaseModel, ValidationError

from infrastructure.config_models import MetricSettings
from infrastructure.errors import PermanentError, TemporaryError, UiciError
from infrastructure.observed import MetricReading, Reading
from infrastructure.service import MetricCheck
from monitoring.http_exchange import Answer
from monitoring.http_source import SourceClient, none_answered, one_line, refused
from monitoring.metric_judgement import judge, moment
from monitoring.promql import PART_LABEL, Batch, Part, batch, flaw

_PATH = "/api/v1/query"
_FORM = "application/x-www-form-urlencoded"
# Bad query, request too large (a proxy's limit), query that can't be evaluated.
_DIVISIBLE = frozenset({400, 413, 422})
# Dividing until the culprit is alone takes 2·log2(n) requests each: this is enough for a
# dozen broken queries among ten thousand, and keeps a server that refuses everything from
# being asked for ever. What is left undivided is unknown.
_MAX_REQUESTS = 256
_PARTS = frozenset(Part)

# Where in the batch a mistake stands; says nothing about the query that a person wrote.
_POSITION = re.compile(r'^(invalid parameter "query": )?(\d+:\d+: )?')
ModelT = TypeVar("ModelT", bound=BaseModel)

_log = structlog.get_logger("uici")


class _Sample(BaseModel):
    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: Literal["vector"]  # noqa: N815 - Prometheus' own name
    result: list[_Sample]


class _VectorAnswer(BaseModel):
    data: _Vector


class _AnyAnswer(BaseModel):
    data: dict[str, Any]


class _Refusal(BaseModel):
    status: Literal["error"]
    errorType: str  # noqa: N815 - Prometheus' own name
    error: str


@dataclass(slots=True)
class _Said:
    """What one source said so far, by index of the check."""

    evaluated_at: datetime | None = None
    samples: defaultdict[int, dict[Part, float]] = field(default_factory=lambda: defaultdict(dict))
    refusals: dict[int, str] = field(default_factory=dict)


def read_metrics(
    sources: Sequence[SourceClient],
    checks: Sequence[tuple[str, MetricCheck]],
    settings: MetricSettings,
    now: datetime,
) -> tuple[MetricReading, ...]:
    """Read all checks: one reading each, in the same order.

    The age of a sample is counted from the later of `now` and the server's own clock, so
    that neither a skewed clock nor an answer from a cache makes an old sample look fresh.

    Args:
        sources: tried in order until one answers; each within its own time-out.
        checks: (target, check). Equal checks of several targets are evaluated once.
        settings: staleness, step, size limit.
        now: the agent's time.

    Raises:
        TemporaryError: no source answered.
        PermanentError: no source answered, and trying again will not help.
    """
    distinct = list(dict.fromkeys((c.query, c.expect, c.for_) for _, c in checks))
    index = {key: number for number, key in enumerate(distinct)}
    by_index = {index[c.query, c.expect, c.for_]: c for _, c in checks}
    flaws = {n: text for n, check in by_index.items() if (text := flaw(check.query)) is not None}
    sound = {n: check for n, check in by_index.items() if n not in flaws}
    said = _first_answer(sources, sound, settings) if sound else _Said()
    said.refusals |= {n: f"the query is not complete: {text}" for n, text in flaws.items()}
    evaluated_at = max(now, said.evaluated_at or now)

    def read() -> Iterator[MetricReading]:
        for target, check in checks:
            number = index[check.query, check.expect, check.for_]
            if number in said.refusals:
                yield MetricReading(
                    target, check.name, Reading.UNKNOWN, detail=said.refusals[number]
                )
                continue
            yield judge(
                target, check, said.samples[number], evaluated_at=evaluated_at, settings=settings
            )

    return tuple(read())


def query(
    sources: Sequence[SourceClient], expression: str, settings: MetricSettings
) -> dict[str, Any]:
    """Evaluate any PromQL expression now, for evidence and people.

    Returns:
        Prometheus' `data`: `resultType` and `result`, at most `settings.max_bytes` of JSON.

    Raises:
        TemporaryError: no source answered.
        PermanentError: the expression is wrong (Prometheus' own words), or no source
            answered and trying again will not help.
    """
    errors: list[UiciError] = []
    for source in sources:
        try:
            answer = _ask(source, expression, source.deadline(), settings)
            if answer.status in _DIVISIBLE:
                raise _WrongQueryError(f"{source.address}: {_refusal(source, answer)}")
            if answer.status != 200:
                raise refused(source, answer, _PATH)
            return _decoded(source, answer, _AnyAnswer).data
        except _WrongQueryError:
            raise  # another source would say the same
        except UiciError as exc:
            errors.append(exc)
    raise none_answered("Prometheus", errors)


class _WrongQueryError(PermanentError):
    """The query itself was refused."""


def _first_answer(
    sources: Sequence[SourceClient], checks: Mapping[int, MetricCheck], settings: MetricSettings
) -> _Said:
    errors: list[UiciError] = []
    for source in sources:
        try:
            return _read_from(source, checks, settings)
        except (TemporaryError, PermanentError) as exc:
            _log.warning("prometheus_source_failed", source=source.address, error=str(exc))
            errors.append(exc)
    raise none_answered("Prometheus", errors)


def _read_from(
    source: SourceClient, checks: Mapping[int, MetricCheck], settings: MetricSettings
) -> _Said:
    """Ask one source; divide what it refuses until the culprits are alone.

    Halves that it accepts are not asked again, so dividing evaluates nothing twice.
    """
    deadline = source.deadline()
    said = _Said()
    groups = deque([tuple(checks)])
    requests = 0
    while groups:
        group = groups.popleft()
        asked = batch({number: checks[number] for number in group}, settings)
        requests += 1
        try:
            answer = _ask(source, asked.expression, deadline, settings)
            if answer.status == 200:
                _collect(source, answer, asked, said)
                continue
            if answer.status not in _DIVISIBLE:
                raise refused(source, answer, _PATH)
            message = _refusal(source, answer)
        except UiciError as exc:
            if requests == 1:
                raise
            message = str(exc)  # what was read before stays read
            groups.appendleft(group)
            said.refusals |= {number: message for rest in groups for number in rest}
            return said
        if len(group) > 1 and requests + len(groups) + 2 <= _MAX_REQUESTS:
            half = len(group) // 2
            groups.extend((group[:half], group[half:]))
        else:
            said.refusals |= dict.fromkeys(group, message)
    return said


def _ask(
    source: SourceClient, expression: str, deadline: float, settings: MetricSettings
) -> Answer:
    body = urlencode({"query": expression}).encode()
    return source.send(
        _PATH, deadline=deadline, max_bytes=settings.max_bytes, body=body, content_type=_FORM
    )


def _collect(source: SourceClient, answer: Answer, asked: Batch, said: _Said) -> None:
    for sample in _decoded(source, answer, _VectorAnswer).data.result:
        number, _, part = sample.metric.pop(PART_LABEL, "").partition("/")
        owner = asked.owners.get((number, next(iter(sample.metric.values()), "")))
        seconds, text = sample.value
        at, value = moment(seconds), _number(text)
        if owner is None or part not in _PARTS or at is None or value is None:
            raise _not_prometheus(source)
        said.evaluated_at = max(at, said.evaluated_at or at)
        said.samples[owner][Part(part)] = value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _refusal(source: SourceClient, answer: Answer) -> str:
    """Why Prometheus refused a query, in its own words.

    Raises:
        PermanentError: it is not Prometheus that refuses.
    """
    if answer.status == 413:
        return "the query is too large for this server"
    try:
        refusal = _Refusal.model_validate_json(answer.body)
    except ValidationError as exc:
        raise refused(source, answer, _PATH) from exc
    return f"Prometheus refuses the query: {one_line(_POSITION.sub('', refusal.error))}"


def _decoded(source: SourceClient, answer: Answer, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as exc:
        raise _not_prometheus(source) from exc


def _not_prometheus(source: SourceClient) -> PermanentError:
    return PermanentError(
        f"{source.address}: the answer to {_PATH} is not Prometheus' JSON: check the url of "
        "this source in environments.yml"
    )
