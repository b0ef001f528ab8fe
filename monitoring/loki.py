"""Reader of Loki and what speaks its API: the log of a service, when its engine has none left.

One request a call. Lines come as they were written; which level a line has is not asked here,
because only the caller knows how the levels of a log are told. Neighbours: the platform's
primitive `stored_logs` calls this, `monitoring/loki/` is the configuration that ships logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

from pydantic import BaseModel, Field, ValidationError

from infrastructure.config_models import LogStore
from infrastructure.errors import PermanentError, UiciError
from monitoring.http_source import SourceClient, none_answered, one_line, refused

_PATH = "/loki/api/v1/query_range"
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. `nanoseconds` since the epoch; `instance` is empty where nothing tells it."""

    nanoseconds: int
    instance: str
    text: str

    @property
    def moment(self) -> str:
        """As engines write it: UTC, RFC 3339 with nanoseconds."""
        seconds, rest = divmod(self.nanoseconds, _NANOSECONDS)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What is asked for.

    Attributes:
        service: its name in desired state.
        lines: the newest that many.
        since: how far back; None: as `lookBack` says.
        contains: a text that a line has to have; None: any line.
        stream: what the line was written to; None: both.
    """

    service: str
    lines: int
    since: timedelta | None = None
    contains: str | None = None
    stream: Literal["stdout", "stderr"] | None = None


class _Stream(BaseModel):
    stream: dict[str, str]
    # [nanoseconds, line], and in newer versions what else is known of the line.
    values: list[tuple[int, str] | tuple[int, str, object]]


class _Data(BaseModel):
    resultType: Literal["streams"]  # noqa: N815 - Loki's own name
    result: list[_Stream] = Field(default_factory=list)


class _Answer(BaseModel):
    status: Literal["success"]
    data: _Data


def read_logs(
    sources: Sequence[SourceClient], query: LogQuery, store: LogStore, now: datetime
) -> tuple[LogLine, ...]:
    """The newest lines that match, oldest first. No line is no error.

    Args:
        sources: tried in order until one answers; each within its own time-out.
        query: what is asked for.
        store: labels, size limit.
        now: the agent's time, aware.

    Raises:
        TemporaryError: no source answered.
        PermanentError: no source answered, and trying again will not help.
    """
    errors: list[UiciError] = []
    for source in sources:
        try:
            return _lines(_ask(source, query, store, now), store, query.lines)
        except UiciError as exc:
            errors.append(exc)
    raise none_answered("Loki", errors)


def selector(query: LogQuery, store: LogStore) -> str:
    """The query in LogQL. Whatever a name or a text holds, it stays a literal."""
    labels = {**store.labels, store.service_label: query.service}
    if query.stream is not None:
        labels[store.stream_label] = query.stream
    matchers = ", ".join(f"{name}={_literal(value)}" for name, value in labels.items())
    wanted = f" |= {_literal(query.contains)}" if query.contains else ""
    return f"{{{matchers}}}{wanted}"


def _literal(text: str) -> str:
    """A string of LogQL, which is one of Go: characters beyond ASCII stand as they are."""
    return json.dumps(text, ensure_ascii=False)


def _ask(source: SourceClient, query: LogQuery, store: LogStore, now: datetime) -> list[_Stream]:
    end = int(now.timestamp()) * _NANOSECONDS + _NANOSECONDS  # this second's lines, too
    back = query.since if query.since is not None else store.look_back
    parameters: Mapping[str, str | int] = {
        "query": selector(query, store),
        "start": end - int(back.total_seconds() * _NANOSECONDS),
        "end": end,
        "limit": query.lines,
        "direction": "backward",
    }
    answer = source.send(
        f"{_PATH}?{urlencode(parameters, errors='replace')}",
        deadline=source.deadline(),
        max_bytes=store.max_bytes,
    )
    if answer.status != 200:
        said = one_line(answer.body.decode(errors="replace"))
        error = refused(source, answer, _PATH)
        raise type(error)(f"{error}: {said}" if said and answer.status == 400 else str(error))
    try:
        return _Answer.model_validate_json(answer.body).data.result
    except ValidationError as exc:
        raise PermanentError(
            f"{source.address}: its answer is none of Loki's: check the url of this source in "
            "environments.yml"
        ) from exc


def _lines(streams: Iterable[_Stream], store: LogStore, newest: int) -> tuple[LogLine, ...]:
    found = [
        LogLine(value[0], stream.stream.get(store.instance_label, ""), value[1])
        for stream in streams
        # Of one moment the later line comes first: sorting is stable, so turn it round.
        for value in reversed(stream.values)
    ]
    found.sort(key=lambda line: line.nanoseconds)
    return tuple(found[-newest:])
