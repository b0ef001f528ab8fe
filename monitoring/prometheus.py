"""Reader of Prometheus and what speaks its API (Thanos, Mimir, VictoriaMetrics).

One request a run, whatever the number of targets. A query that Prometheus refuses makes
its own check unknown and nobody else's. Neighbours: `monitoring.promql` makes the
expression and judges the samples; `flows.observe`, verification and the operation
`query_metrics` call this.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
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
_PARTS = {part.value: part for part in Part}
_NO_SAMPLES: Mapping[Part, float] = {}
# Texts of queries whose brackets were counted already; the loop asks the same each run.
_flaw = lru_cache(maxsize=16_384)(flaw)

# Where in the batch a mistake stands; says nothing about the query that a person wrote.
_POSITION = re.compile(r'^(invalid parameter "query": )?(\d+:\d+: )?')

_log = structlog.get_logger("uici")


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
    samples: dict[int, dict[Part, float]] = field(default_factory=dict)
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
    numbers, by_index = _distinct(checks)
    flaws = {n: text for n, check in by_index.items() if (text := _flaw(check.query)) is not None}
    sound = {n: check for n, check in by_index.items() if n not in flaws}
    said = _first_answer(sources, sound, settings) if sound else _Said()
    said.refusals |= {n: f"the query is not complete: {text}" for n, text in flaws.items()}
    evaluated_at = max(now, said.evaluated_at or now)

    def read() -> Iterator[MetricReading]:
        for number, (target, check) in zip(numbers, checks, strict=True):
            if number in said.refusals:
                yield MetricReading(
                    target, check.name, Reading.UNKNOWN, detail=said.refusals[number]
                )
                continue
            samples = said.samples.get(number, _NO_SAMPLES)
            yield judge(target, check, samples, evaluated_at=evaluated_at, settings=settings)

    return tuple(read())


def _distinct(
    checks: Sequence[tuple[str, MetricCheck]],
) -> tuple[list[int], dict[int, MetricCheck]]:
    """The number of each check, equal for equal ones, and one check of each number."""
    index: dict[tuple[str, str, timedelta], int] = {}
    numbers: list[int] = []
    by_index: dict[int, MetricCheck] = {}
    for _, check in checks:
        number = index.setdefault((check.query, check.expect, check.for_), len(index))
        numbers.append(number)
        by_index.setdefault(number, check)
    return numbers, by_index


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
            answer = _ask(source, _body(expression), source.deadline(), settings)
            if answer.status in _DIVISIBLE:
                raise _WrongQueryError(f"{source.address}: {_refusal(source, answer)}")
            if answer.status != 200:
                raise refused(source, answer, _PATH)
            return _any_answer(source, answer).data
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
        asked, body = _question(tuple((number, checks[number]) for number in group), settings)
        requests += 1
        try:
            answer = _ask(source, body, deadline, settings)
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


@lru_cache(maxsize=64)  # of all environments, with the halves of those that are divided
def _question(
    checks: tuple[tuple[int, MetricCheck], ...], settings: MetricSettings
) -> tuple[Batch, bytes]:
    """A batch and what is sent for it. The loop asks the same in each run."""
    asked = batch(dict(checks), settings)
    return asked, _body(asked.expression)


def _body(expression: str) -> bytes:
    return urlencode({"query": expression}).encode()


def _ask(source: SourceClient, body: bytes, deadline: float, settings: MetricSettings) -> Answer:
    return source.send(
        _PATH, deadline=deadline, max_bytes=settings.max_bytes, body=body, content_type=_FORM
    )


def _collect(source: SourceClient, answer: Answer, asked: Batch, said: _Said) -> None:
    """Note every sample of an answer.

    Checked by hand, because it is thousands of samples in each run: a model for each costs
    five times what decoding the JSON does.

    Raises:
        PermanentError: it is not the answer to this question.
    """
    newest: Any = None
    try:
        data = json.loads(answer.body)["data"]
        samples = data["result"]
        if data["resultType"] != "vector" or not isinstance(samples, list):
            raise TypeError
        for sample in samples:
            seconds, text = sample["value"]
            owner, part, value = _noted(sample["metric"], text, asked)
            if newest != seconds:  # all samples of an answer are of one moment
                newest = seconds
                said.evaluated_at = _later(said.evaluated_at, seconds)
            said.samples.setdefault(owner, {})[part] = value
    except _NOT_OF_THIS_SHAPE as exc:
        raise _not_prometheus(source) from exc


# ValueError: no JSON, no number, no time; RecursionError: JSON nested too deep to decode.
_NOT_OF_THIS_SHAPE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def _noted(metric: dict[str, str], text: str, asked: Batch) -> tuple[int, Part, float]:
    """Whose sample this is, which part, and its value; raises one of the above."""
    number, _, part = metric.pop(PART_LABEL).partition("/")
    owner = asked.owners[number, next(iter(metric.values()), "")]
    if not isinstance(text, str):  # Prometheus writes values as texts
        raise TypeError
    return owner, _PARTS[part], float(text)


def _later(known: datetime | None, seconds: Any) -> datetime:
    at = moment(seconds)
    if at is None:
        raise ValueError
    return at if known is None else max(at, known)


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


def _any_answer(source: SourceClient, answer: Answer) -> _AnyAnswer:
    try:
        return _AnyAnswer.model_validate_json(answer.body)
    except ValidationError as exc:
        raise _not_prometheus(source) from exc


def _not_prometheus(source: SourceClient) -> PermanentError:
    return PermanentError(
        f"{source.address}: the answer to {_PATH} is not Prometheus' JSON: check the url of "
        "this source in environments.yml"
    )
