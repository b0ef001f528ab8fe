"""Reader of Alertmanager: what fires, and what people have silenced.

Two requests a source and run. The members of an HA pair are asked at the same time and
their answers merged. Neighbours: `flows.observe` calls `read_alerts`, escalation calls
`post_alert`, the comparison asks `silence_covers`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TypeVar

import structlog
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from infrastructure.config_models import AlertSettings
from infrastructure.errors import PermanentError, UiciError
from infrastructure.observed import Alert, AlertState, Silence, SilenceMatcher
from monitoring.background import start
from monitoring.http_exchange import Answer
from monitoring.http_source import SourceClient, none_answered, one_line, refused

_log = structlog.get_logger("uici")

_SKEW = timedelta(minutes=1)  # between clocks; what begins later is told of
_ALERTS = "/api/v2/alerts"
_READ_ALERTS = f"{_ALERTS}?active=true&silenced=true&inhibited=true&unprocessed=false"
_SILENCES = "/api/v2/silences"
# An alert that one member holds back stays held back: gossip may be late, and of the two
# answers the one that tells of a person's decision is the one that cannot do harm.
_PRECEDENCE = (AlertState.SILENCED, AlertState.INHIBITED, AlertState.ACTIVE)
T = TypeVar("T")


class _Status(BaseModel):
    state: str
    silencedBy: list[str] | None = None  # noqa: N815 - Alertmanager's own names
    inhibitedBy: list[str] | None = None  # noqa: N815
    mutedBy: list[str] | None = None  # noqa: N815


class _Alert(BaseModel):
    fingerprint: str = Field(min_length=1)
    labels: dict[str, str]
    annotations: dict[str, str]
    startsAt: AwareDatetime  # noqa: N815
    status: _Status
    generatorURL: str = ""  # noqa: N815


class _Matcher(BaseModel):
    name: str
    value: str
    isRegex: bool  # noqa: N815
    isEqual: bool = True  # noqa: N815 - absent before Alertmanager 0.22


class _SilenceStatus(BaseModel):
    state: str


class _Silence(BaseModel):
    id: str
    matchers: list[_Matcher]
    endsAt: AwareDatetime  # noqa: N815
    createdBy: str  # noqa: N815
    comment: str
    status: _SilenceStatus


_ALERT_LIST = TypeAdapter(list[_Alert])
_SILENCE_LIST = TypeAdapter(list[_Silence])


@dataclass(frozen=True, slots=True)
class AlertSnapshot:
    """What the members that answered know together. `errors`: of those that did not."""

    alerts: tuple[Alert, ...]
    silences: tuple[Silence, ...]
    errors: tuple[str, ...] = ()


def read_alerts(sources: Sequence[SourceClient], settings: AlertSettings) -> AlertSnapshot:
    """Read alerts and active silences from all sources at once.

    Alerts are merged by fingerprint: silenced wins over inhibited, inhibited over active,
    the earliest start counts. A silence that one member knows of covers the alerts of all.

    Args:
        sources: the members; each has its own time-out.
        settings: size limit.

    Raises:
        TemporaryError: no source answered.
        PermanentError: no source answered, and trying again will not help.
    """
    snapshots, errors = _from_each(sources, lambda source: _read_from(source, settings))
    if not snapshots:
        raise none_answered("Alertmanager", errors)
    silences = {s.id: s for snapshot in snapshots for s in snapshot.silences}
    alerts = _merged(alert for snapshot in snapshots for alert in snapshot.alerts)
    return AlertSnapshot(
        alerts=tuple(_silenced(alert, silences.values()) for alert in alerts),
        silences=tuple(silences[key] for key in sorted(silences)),
        errors=tuple(str(error) for error in errors),
    )


@dataclass(frozen=True, slots=True)
class OwnAlert:
    """An alert to post: `labels` with `alertname`, aware moments."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime


def post_alert(
    sources: Sequence[SourceClient],
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    starts_at: datetime,
    ends_at: datetime,
    settings: AlertSettings,
) -> None:
    """Raise (or, by an `ends_at` that has passed, resolve) an alert.

    Sent to every source, as Prometheus does; may be repeated. Alertmanager knows an alert
    by its labels, so they must not change from run to run.

    Args:
        sources: the members.
        labels: with `alertname`; empty values are no labels.
        annotations: texts for people.
        starts_at: aware.
        ends_at: aware; until then the alert fires unless it is posted again.
        settings: size limit of the answer.

    Raises:
        TemporaryError: no source took it.
        PermanentError: no source took it, and trying again will not help.
    """
    post_alerts(sources, [OwnAlert(labels, annotations, starts_at, ends_at)], settings=settings)


def post_alerts(
    sources: Sequence[SourceClient], alerts: Sequence[OwnAlert], *, settings: AlertSettings
) -> None:
    """Several at once, by the same rules as `post_alert`.

    Raises:
        TemporaryError: no source took them.
        PermanentError: no source took them, and trying again will not help.
    """
    body = json.dumps(
        [
            {
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "startsAt": alert.starts_at.isoformat(),
                "endsAt": alert.ends_at.isoformat(),
            }
            for alert in alerts
        ]
    ).encode()

    def post(source: SourceClient) -> bool:
        answer = source.send(
            _ALERTS,
            deadline=source.deadline(),
            max_bytes=settings.max_bytes,
            body=body,
            content_type="application/json",
        )
        if answer.status == 400:
            said = one_line(answer.body.decode(errors="replace"))
            raise PermanentError(f"{source.address}: refused the alert: {said}")
        if answer.status != 200:
            raise refused(source, answer, _ALERTS)
        return True

    taken, errors = _from_each(sources, post)
    if not taken:
        raise none_answered("Alertmanager", errors)


def silence_covers(silence: Silence, labels: Mapping[str, str]) -> bool:
    """Whether an alert, or a thing with such labels, is silenced.

    Alertmanager's semantics: every matcher has to match, an absent label is the empty
    string, a regular expression has to match the whole value. Alertmanager's expressions
    are Go's; where all other matchers match and Python can't read the expression, the
    silence counts as covering: a person wanted quiet, and quiet does no harm.
    """
    return bool(silence.matchers) and all(
        _matches(matcher, labels.get(matcher.name, "")) for matcher in silence.matchers
    )


def _matches(matcher: SilenceMatcher, value: str) -> bool:
    if not matcher.is_regex:
        return (matcher.value == value) is matcher.is_equal
    pattern = _compiled(matcher.value)
    return pattern is None or (pattern.fullmatch(value) is not None) is matcher.is_equal


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None


def _read_from(source: SourceClient, settings: AlertSettings) -> AlertSnapshot:
    deadline = source.deadline()

    def get(path: str, shape: TypeAdapter[T]) -> T:
        answer = source.send(path, deadline=deadline, max_bytes=settings.max_bytes)
        return _decoded(source, answer, path, shape)

    alerts = get(_READ_ALERTS, _ALERT_LIST)
    silences = get(_SILENCES, _SILENCE_LIST)
    now = datetime.now(UTC)
    return AlertSnapshot(
        alerts=tuple(_bounded(_alert(alert), source, now) for alert in alerts),
        silences=tuple(_silence(s) for s in silences if s.status.state == "active"),
    )


def _decoded(source: SourceClient, answer: Answer, path: str, shape: TypeAdapter[T]) -> T:
    endpoint = path.partition("?")[0]
    if answer.status != 200:
        raise refused(source, answer, endpoint)
    try:
        return shape.validate_json(answer.body)
    except ValidationError as exc:
        raise PermanentError(
            f"{source.address}: the answer to {endpoint} is not Alertmanager's JSON: check the "
            "url of this source in environments.yml"
        ) from exc


def _alert(alert: _Alert) -> Alert:
    return Alert(
        fingerprint=alert.fingerprint,
        name=alert.labels.get("alertname", ""),
        labels=alert.labels,
        annotations=alert.annotations,
        starts_at=_utc(alert.startsAt),
        state=_state(alert.status),
        generator_url=alert.generatorURL,
    )


def _bounded(alert: Alert, source: SourceClient, now: datetime) -> Alert:
    """With a beginning that is not ahead: an alert that is there has begun by now."""
    if alert.starts_at <= now:
        return alert
    if alert.starts_at > now + _SKEW:
        _log.warning(
            "alert_begins_in_the_future",
            source=source.address,
            alert=one_line(alert.name),
            starts_at=alert.starts_at.isoformat(),
        )
    return replace(alert, starts_at=now)


def _utc(moment: datetime) -> datetime:
    """In UTC; what lies beyond the calendar there counts as long ago."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)


def _state(status: _Status) -> AlertState:
    if status.silencedBy or status.mutedBy:
        return AlertState.SILENCED
    if status.inhibitedBy:
        return AlertState.INHIBITED
    # A reason for holding back that this version of UICI does not know.
    return AlertState.SILENCED if status.state == "suppressed" else AlertState.ACTIVE


def _silence(silence: _Silence) -> Silence:
    return Silence(
        id=silence.id,
        matchers=tuple(
            SilenceMatcher(m.name, m.value, m.isRegex, m.isEqual) for m in silence.matchers
        ),
        ends_at=silence.endsAt,
        created_by=silence.createdBy,
        comment=silence.comment,
    )


def _merged(alerts: Iterable[Alert]) -> list[Alert]:
    by_fingerprint: dict[str, Alert] = {}
    for alert in alerts:
        known = by_fingerprint.setdefault(alert.fingerprint, alert)
        if known is not alert:
            first, second = sorted((known, alert), key=lambda a: _PRECEDENCE.index(a.state))
            by_fingerprint[alert.fingerprint] = replace(
                first, starts_at=min(first.starts_at, second.starts_at)
            )
    return [by_fingerprint[key] for key in sorted(by_fingerprint)]


def _silenced(alert: Alert, silences: Iterable[Silence]) -> Alert:
    if alert.state is AlertState.SILENCED:
        return alert
    covered = any(silence_covers(silence, alert.labels) for silence in silences)
    return replace(alert, state=AlertState.SILENCED) if covered else alert


def _from_each(
    sources: Sequence[SourceClient], work: Callable[[SourceClient], T]
) -> tuple[list[T], list[UiciError]]:
    """Do the same with every source at the same time."""
    futures = [
        start(partial(work, source), name=f"alertmanager {source.address}") for source in sources
    ]
    results: list[T] = []
    errors: list[UiciError] = []
    for future in futures:
        try:
            results.append(future.result())
        except UiciError as exc:
            errors.append(exc)
    return results, errors
