"""The Alertmanager reader: merging, silences, posting, and answers that make no sense."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructure.errors import PermanentError, TemporaryError, UiciError
from infrastructure.observed import AlertState, Silence, SilenceMatcher
from monitoring.alertmanager import post_alert, read_alerts, silence_covers
from tests.fakes.http_server import (
    Behaviour,
    Exchange,
    FakeServer,
    json_body,
    silent,
    text,
)
from tests.unit.monitoring.builders import ALERTS, NOW, client


def alert(fingerprint: str = "f1", **changes: Any) -> dict[str, Any]:
    status = {"state": "active", "silencedBy": [], "inhibitedBy": []} | changes.pop("status", {})
    return {
        "fingerprint": fingerprint,
        "labels": {"alertname": "Down", "service": "s"},
        "annotations": {"summary": "it is down"},
        "startsAt": "2026-11-22T11:00:00.123Z",
        "endsAt": "2026-11-22T13:00:00Z",
        "updatedAt": "2026-11-22T11:00:00Z",
        "receivers": [{"name": "r"}],
        "generatorURL": "http://p/graph",
        "status": status,
    } | changes


def silence(state: str = "active", **matcher: Any) -> dict[str, Any]:
    return {
        "id": "s1",
        "status": {"state": state},
        "matchers": [
            {"name": "service", "value": "s", "isRegex": False, "isEqual": True} | matcher
        ],
        "startsAt": "2026-11-22T11:00:00Z",
        "endsAt": "2026-11-22T13:00:00Z",
        "updatedAt": "2026-11-22T11:00:00Z",
        "createdBy": "ana",
        "comment": "maintenance",
    }


def serving(
    alerts: list[dict[str, Any]], silences: list[dict[str, Any]] | None = None
) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        silences_asked = exchange.asked.path.startswith("/api/v2/silences")
        exchange.answer(json.dumps((silences or []) if silences_asked else alerts).encode())

    return behave


def test_two_requests_read_everything() -> None:
    suppressed = [
        alert("f2", status={"state": "suppressed", "silencedBy": ["s1"], "inhibitedBy": ["f1"]}),
        alert("f3", status={"state": "suppressed", "inhibitedBy": ["f1"]}),
        alert("f4", status={"state": "suppressed", "mutedBy": ["nights"]}),
        alert("f5", status={"state": "suppressed"}),
    ]
    with FakeServer(serving([alert(), *suppressed])) as server, client(server.url) as source:
        seen = read_alerts([source], ALERTS)
    assert [asked.path for asked in server.requests] == [
        "/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=false",
        "/api/v2/silences",
    ]
    assert {a.fingerprint: a.state for a in seen.alerts} == {
        "f1": AlertState.ACTIVE,
        "f2": AlertState.SILENCED,
        "f3": AlertState.INHIBITED,
        "f4": AlertState.SILENCED,
        "f5": AlertState.SILENCED,
    }
    first = seen.alerts[0]
    assert (first.name, first.annotations["summary"]) == ("Down", "it is down")
    assert first.starts_at == datetime(2026, 11, 22, 11, 0, 0, 123000, tzinfo=UTC)


def test_an_alert_that_is_there_has_begun_whatever_it_says() -> None:
    ahead = [alert("f1", startsAt="9999-12-31T23:59:59-12:00"), alert("f2", startsAt=_LAST)]
    with (
        structlog.testing.capture_logs() as told,
        FakeServer(serving(ahead)) as server,
        client(server.url) as source,
    ):
        seen = read_alerts([source], ALERTS)
    assert all(a.starts_at <= datetime.now(UTC) for a in seen.alerts)
    assert [t["event"] for t in told] == ["alert_begins_in_the_future"]


_LAST = "9999-12-31T23:59:59Z"


def test_only_active_silences_are_told() -> None:
    silences = [silence(), silence("expired") | {"id": "s2"}, silence("pending") | {"id": "s3"}]
    with FakeServer(serving([], silences)) as server, client(server.url) as source:
        seen = read_alerts([source], ALERTS)
    assert [(s.id, s.created_by, s.comment) for s in seen.silences] == [
        ("s1", "ana", "maintenance")
    ]


def test_members_of_a_pair_are_merged_and_holding_back_wins() -> None:
    held = {"state": "suppressed", "inhibitedBy": ["x"]}
    one = [alert("f1"), alert("f2", startsAt="2026-11-22T10:00:00Z"), alert("f4", status=held)]
    two = [
        alert("f1", status={"state": "suppressed", "silencedBy": ["s1"]}),
        alert("f2"),
        alert("f3"),
        alert("f4"),
    ]
    with (
        FakeServer(serving(one)) as a,
        FakeServer(serving(two)) as b,
        client(a.url) as first,
        client(b.url) as second,
    ):
        seen = read_alerts([first, second], ALERTS)
        turned = read_alerts([second, first], ALERTS)
    assert seen == turned
    assert [(x.fingerprint, x.state.value) for x in seen.alerts] == [
        ("f1", "silenced"),
        ("f2", "active"),
        ("f3", "active"),
        ("f4", "inhibited"),
    ]
    assert seen.alerts[1].starts_at == datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_a_silence_known_to_one_member_covers_the_alerts_of_the_other() -> None:
    with (
        FakeServer(serving([alert()])) as a,
        FakeServer(serving([], [silence()])) as b,
        client(a.url) as first,
        client(b.url) as second,
    ):
        seen = read_alerts([first, second], ALERTS)
    assert seen.alerts[0].state is AlertState.SILENCED


def test_one_member_is_enough_and_the_other_is_told_of() -> None:
    with (
        FakeServer(silent) as dead,
        FakeServer(serving([alert()])) as alive,
        client(dead.url, timeout="400ms") as first,
        client(alive.url) as second,
    ):
        started = time.monotonic()
        seen = read_alerts([first, first, second], ALERTS)
        assert time.monotonic() - started < 0.8  # both dead ones waited at the same time
    assert len(seen.alerts) == 1
    assert seen.errors == (f"{dead.url}: no answer in time",) * 2


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        (text("", 503), TemporaryError, "answered 503 to /api/v2/alerts"),
        (text("<html>"), PermanentError, "not Alertmanager's JSON"),
        (json_body({}), PermanentError, "not Alertmanager's JSON"),
        (json_body([{"fingerprint": "f"}]), PermanentError, "not Alertmanager's JSON"),
        (json_body([alert(startsAt="yesterday")]), PermanentError, "not Alertmanager's JSON"),
        (json_body([alert(startsAt="2026-11-22T11:00:00")]), PermanentError, "JSON"),
        (text(b"[" * 60_000), PermanentError, "not Alertmanager's JSON"),
        (text(b" " * 70_000), PermanentError, "larger than 65536 bytes"),
    ],
)
def test_no_member_answers(behaviour: Behaviour, error: type[UiciError], message: str) -> None:
    with (
        FakeServer(behaviour) as server,
        client(server.url) as source,
        pytest.raises(error, match=message) as caught,
    ):
        read_alerts([source], ALERTS)
    assert "\n" not in str(caught.value)


def test_no_source_is_an_error_of_its_own() -> None:
    with pytest.raises(PermanentError, match="no Alertmanager is configured"):
        read_alerts([], ALERTS)


def post(*sources: Any) -> None:
    post_alert(
        sources,
        labels={"alertname": "UICIEscalation", "service": "s"},
        annotations={"summary": "a person is needed"},
        starts_at=NOW,
        ends_at=NOW + timedelta(hours=4),
        settings=ALERTS,
    )


def test_an_alert_is_posted_to_every_member_and_one_is_enough() -> None:
    with (
        FakeServer(text("")) as a,
        FakeServer(text("", 500)) as b,
        client(a.url) as first,
        client(b.url) as second,
    ):
        post(first, second)
        with pytest.raises(TemporaryError, match="answered 500"):
            post(second)
        a.behaviour = text("labels are wrong", 400)
        with pytest.raises(PermanentError, match="refused the alert: labels are wrong"):
            post(first)
    assert len(a.requests) == 2
    assert a.requests[0].path == "/api/v2/alerts"
    assert json.loads(a.requests[0].body) == [
        {
            "labels": {"alertname": "UICIEscalation", "service": "s"},
            "annotations": {"summary": "a person is needed"},
            "startsAt": "2026-11-22T12:00:00+00:00",
            "endsAt": "2026-11-22T16:00:00+00:00",
        }
    ]


def covering(*matchers: SilenceMatcher) -> Silence:
    return Silence("s", matchers, NOW, "ana", "")


@pytest.mark.parametrize(
    ("matcher", "labels", "covered"),
    [
        (SilenceMatcher("a", "x", is_regex=False, is_equal=True), {"a": "x"}, True),
        (SilenceMatcher("a", "x", is_regex=False, is_equal=True), {"a": "xy"}, False),
        (SilenceMatcher("a", "x", is_regex=False, is_equal=True), {}, False),
        (SilenceMatcher("a", "", is_regex=False, is_equal=True), {}, True),
        (SilenceMatcher("a", "x", is_regex=False, is_equal=False), {}, True),
        (SilenceMatcher("a", "x", is_regex=False, is_equal=False), {"a": "x"}, False),
        (SilenceMatcher("a", "x|y", is_regex=True, is_equal=True), {"a": "y"}, True),
        (SilenceMatcher("a", "x|y", is_regex=True, is_equal=True), {"a": "xy"}, False),
        (SilenceMatcher("a", "x", is_regex=True, is_equal=True), {"a": "xx"}, False),
        (SilenceMatcher("a", "(?i)X", is_regex=True, is_equal=True), {"a": "x"}, True),
        (SilenceMatcher("a", "x.*", is_regex=True, is_equal=False), {"a": "xyz"}, False),
        (SilenceMatcher("a", ".+", is_regex=True, is_equal=False), {}, True),
        (SilenceMatcher("a", "x", is_regex=True, is_equal=True), {"a": "x\n"}, False),
        (SilenceMatcher("a", r"\pL+", is_regex=True, is_equal=True), {"a": "x"}, True),
    ],
)
def test_matchers_mean_what_they_mean_to_alertmanager(
    matcher: SilenceMatcher, labels: dict[str, str], *, covered: bool
) -> None:
    assert silence_covers(covering(matcher), labels) is covered


def test_every_matcher_has_to_match_and_no_matcher_covers_nothing() -> None:
    a = SilenceMatcher("a", "x", is_regex=False, is_equal=True)
    b = SilenceMatcher("b", "y", is_regex=False, is_equal=True)
    assert silence_covers(covering(a, b), {"a": "x", "b": "y"})
    assert not silence_covers(covering(a, b), {"a": "x"})
    assert not silence_covers(covering(), {"a": "x"})


_KEYS = ["fingerprint", "labels", "annotations", "startsAt", "status", "state", "matchers", "id"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5)
    ),
    max_leaves=12,
)
_NEARLY = st.lists(
    st.dictionaries(st.sampled_from(list(alert())), _JSON, max_size=2).map(lambda d: alert() | d),
    max_size=3,
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.binary(max_size=60) | (_JSON | _NEARLY).map(lambda value: json.dumps(value).encode()),
    status=st.sampled_from([200, 200, 200, 302, 400, 500]),
)
def test_whatever_the_server_answers_there_are_alerts_or_one_of_our_errors(
    any_server: FakeServer, body: bytes, status: int
) -> None:
    any_server.behaviour = text(body, status)
    with client(any_server.url) as source:
        try:
            seen = read_alerts([source], ALERTS)
        except UiciError as exc:
            assert "\n" not in str(exc)  # noqa: PT017 - either way is right
        else:
            assert all(found.fingerprint for found in seen.alerts)
