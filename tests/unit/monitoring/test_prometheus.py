"""The Prometheus reader against a server that answers what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructure.errors import (
    DeadlineExceededError,
    PermanentError,
    TemporaryError,
    UiciError,
)
from infrastructure.observed import Reading
from infrastructure.service import MetricCheck
from monitoring.prometheus import query, read_metrics
from tests.fakes.http_server import (
    PART,
    Behaviour,
    Exchange,
    FakeServer,
    json_body,
    prometheus_error,
    silent,
    text,
    vector,
)
from tests.unit.monitoring.builders import METRICS, NOW, check, client

T = NOW.timestamp()


def serving(value: Callable[[str], float | None], *, at: float = T) -> Behaviour:
    """A Prometheus in which the check with the query q has the value(q), measured at `at`."""

    def behave(exchange: Exchange) -> None:
        expression = exchange.asked.form("query")
        samples: dict[str, float | str] = {}
        for piece in expression.split("label_replace(")[1:]:
            found = PART.search(piece)
            assert found is not None
            index, part = found.groups()
            seen = value(piece)
            if part == "time":
                samples[f"{index}/{part}"] = at
            elif part in {"low", "high"} and seen is not None:
                samples[f"{index}/{part}"] = seen
        exchange.answer(json.dumps(vector(samples, at=T)).encode())

    return behave


def refusing(bad: str, behave: Behaviour, *, status: int = 400) -> Behaviour:
    """Refuses each expression that holds `bad`."""

    def maybe(exchange: Exchange) -> None:
        if bad in exchange.asked.form("query"):
            said = prometheus_error(f'invalid parameter "query": 1:9: parse error: {bad} is bad')
            exchange.answer(json.dumps(said).encode(), status=status)
        else:
            behave(exchange)

    return maybe


def named(*queries: str) -> list[tuple[str, MetricCheck]]:
    return [(f"e/s{n}", check(q, name=f"c{n}")) for n, q in enumerate(queries)]


def test_all_checks_are_one_request_and_come_back_in_order() -> None:
    checks = named(*(f"metric_{n}" for n in range(500)))
    behaviour = serving(lambda piece: 0 if "metric_7\n" in piece else 1)
    with FakeServer(behaviour) as server, client(server.url) as source:
        readings = read_metrics([source], checks, METRICS, NOW)
    assert len(server.requests) == 1
    assert (server.requests[0].method, server.requests[0].path) == ("POST", "/api/v1/query")
    assert [(r.target, r.check) for r in readings] == [(t, c.name) for t, c in checks]
    assert [r.target for r in readings if r.reading is not Reading.PASSED] == ["e/s7"]
    assert readings[7].reading is Reading.FAILED


def test_equal_checks_of_several_targets_are_evaluated_once() -> None:
    checks = [(f"e/s{n}", check("up", name=f"c{n}")) for n in range(5)]
    with FakeServer(serving(lambda _: 1)) as server, client(server.url) as source:
        readings = read_metrics([source], checks, METRICS, NOW)
    assert [r.reading for r in readings] == [Reading.PASSED] * 5
    assert server.requests[0].form("query").count("timestamp(") == 1


def test_no_checks_are_no_request() -> None:
    assert read_metrics([], [], METRICS, NOW) == ()


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_query_spoils_only_its_own_check(status: int) -> None:
    checks = named(*(f"metric_{n}" for n in range(100)), "bad_1", "bad_2")
    behaviour = refusing("bad_", serving(lambda _: 1), status=status)
    with FakeServer(behaviour) as server, client(server.url) as source:
        readings = read_metrics([source], checks, METRICS, NOW)
    assert len(server.requests) < 30
    assert {r.reading for r in readings[:100]} == {Reading.PASSED}
    assert {r.reading for r in readings[100:]} == {Reading.UNKNOWN}
    assert readings[100].detail == "Prometheus refuses the query: parse error: bad_ is bad"


def test_a_batch_too_large_for_a_proxy_is_divided() -> None:
    def proxy(exchange: Exchange) -> None:
        if len(exchange.asked.body) > 20_000:
            exchange.answer(b"<html>too large</html>", status=413)
        else:
            serving(lambda _: 1)(exchange)

    with FakeServer(proxy) as server, client(server.url) as source:
        readings = read_metrics([source], named(*(f"m{n}" for n in range(300))), METRICS, NOW)
    assert {r.reading for r in readings} == {Reading.PASSED}


def test_a_server_that_refuses_everything_is_not_asked_for_ever() -> None:
    behaviour = json_body(prometheus_error("no"), 400)
    with FakeServer(behaviour) as server, client(server.url, timeout="20s") as source:
        readings = read_metrics([source], named(*(f"m{n}" for n in range(1000))), METRICS, NOW)
    assert len(server.requests) <= 256
    assert {r.reading for r in readings} == {Reading.UNKNOWN}


def test_what_was_read_before_the_time_was_over_stays_read() -> None:
    good = serving(lambda _: 1)

    def behave(exchange: Exchange) -> None:
        asked = exchange.asked.form("query")
        if "bad" in asked and "m0\n" not in asked:
            silent(exchange)
        refusing("bad", good)(exchange)

    with FakeServer(behave) as server, client(server.url, timeout="500ms") as source:
        readings = read_metrics([source], named("m0", "m1", "bad", "m3"), METRICS, NOW)
    assert [r.reading for r in readings[:2]] == [Reading.PASSED] * 2
    assert [r.reading for r in readings[2:]] == [Reading.UNKNOWN] * 2
    assert "no answer in time" in readings[2].detail


def test_an_open_query_is_not_even_sent() -> None:
    with FakeServer(serving(lambda _: 1)) as server, client(server.url) as source:
        readings = read_metrics([source], named("up) or (up", "up"), METRICS, NOW)
        alone = read_metrics([source], named("up{"), METRICS, NOW)
    assert [r.reading for r in readings] == [Reading.UNKNOWN, Reading.PASSED]
    assert "or (up" not in server.requests[0].form("query")
    assert alone[0].detail == "the query is not complete: } is missing"
    assert len(server.requests) == 1


def test_age_is_counted_from_the_later_clock() -> None:
    with FakeServer(serving(lambda _: 0)) as server, client(server.url) as source:
        ahead = read_metrics([source], named("up"), METRICS, NOW + timedelta(seconds=61))
        behind = read_metrics([source], named("up"), METRICS, NOW - timedelta(hours=1))
        server.behaviour = serving(lambda _: 0, at=T - 61)
        old = read_metrics([source], named("up"), METRICS, NOW - timedelta(hours=1))
    assert [r[0].reading for r in (ahead, behind, old)] == [
        Reading.UNKNOWN,
        Reading.FAILED,
        Reading.UNKNOWN,
    ]


def test_sources_are_tried_in_order() -> None:
    with (
        FakeServer(text("", 503)) as broken,
        FakeServer(serving(lambda _: 1)) as good,
        client(broken.url) as first,
        client(good.url) as second,
    ):
        readings = read_metrics([first, second], named("up"), METRICS, NOW)
        read_metrics([second, first], named("up"), METRICS, NOW)
    assert readings[0].reading is Reading.PASSED
    assert (len(broken.requests), len(good.requests)) == (1, 2)


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        (text("", 500), TemporaryError, "answered 500"),
        (text("", 429), TemporaryError, "answered 429"),
        (text("", 401), PermanentError, "refused the credentials"),
        (text("", 302), PermanentError, "check the url"),
        (text("", 404), PermanentError, "check the url"),
        (text("nonsense", 400), PermanentError, "check the url"),
        (text("<html>"), PermanentError, "not Prometheus' JSON"),
        (json_body([]), PermanentError, "not Prometheus' JSON"),
        (json_body({"status": "success"}), PermanentError, "not Prometheus' JSON"),
        (json_body(vector({"0/low": "one"}, at=T)), PermanentError, "not Prometheus' JSON"),
        (json_body(vector({"0/low": 1}, at=1e300)), PermanentError, "not Prometheus' JSON"),
        (text(b"[" * 50_000), PermanentError, "not Prometheus' JSON"),
        (text(b" " * 300_000), PermanentError, "larger than 200000 bytes"),
        (silent, DeadlineExceededError, "no answer in time"),
    ],
)
def test_when_no_source_answers_the_error_says_why_in_one_line(
    behaviour: Behaviour, error: type[UiciError], message: str
) -> None:
    with FakeServer(behaviour) as server, client(server.url, timeout="300ms") as source:
        with pytest.raises(
            TemporaryError if issubclass(error, TemporaryError) else error
        ) as caught:
            read_metrics([source], named("up"), METRICS, NOW)
        assert message in str(caught.value)
        assert server.url in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_source_is_an_error_of_its_own() -> None:
    with pytest.raises(PermanentError, match="no Prometheus is configured"):
        read_metrics([], named("up"), METRICS, NOW)


def test_a_query_returns_prometheus_data() -> None:
    with FakeServer(json_body(vector({"x": 1.5}, at=T))) as server, client(server.url) as source:
        data = query([source], "up", METRICS)
        assert data["resultType"] == "vector"
        assert data["result"][0]["value"][1] == "1.5"
        server.behaviour = json_body(prometheus_error("1:3: parse error: why"), 400)
        with pytest.raises(PermanentError, match="refuses the query: parse error: why"):
            query([source, source], "up +", METRICS)
        server.behaviour = text("", 500)
        with pytest.raises(TemporaryError, match="answered 500"):
            query([source], "up", METRICS)
    assert len(server.requests) == 3  # the second source is not asked the same nonsense


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "result", "resultType", "metric", "value", "error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_SAMPLES = st.lists(
    st.fixed_dictionaries(
        {
            "metric": st.dictionaries(
                st.just("uici_part"), st.sampled_from(["0/low", "0/high", "0/time", "x"])
            ),
            "value": st.tuples(st.floats(), st.floats().map(str) | st.text(max_size=5)),
        }
    ),
    max_size=4,
)
_NEARLY = st.fixed_dictionaries(
    {
        "status": st.just("success"),
        "data": st.fixed_dictionaries({"resultType": st.just("vector"), "result": _SAMPLES}),
    }
)
ANY_BODY = (
    st.binary(max_size=60)
    | _JSON.map(lambda v: json.dumps(v).encode())
    | _NEARLY.map(lambda v: json.dumps(v).encode())
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=ANY_BODY, status=st.sampled_from([200, 200, 200, 204, 302, 400, 404, 422, 500]))
def test_whatever_the_server_answers_there_are_readings_or_one_of_our_errors(
    any_server: FakeServer, body: bytes, status: int
) -> None:
    any_server.behaviour = text(body, status)
    with client(any_server.url) as source:
        try:
            readings = read_metrics([source], named("up"), METRICS, NOW)
        except UiciError as exc:
            assert "\n" not in str(exc)  # noqa: PT017 - either way is right
        else:
            assert len(readings) == 1
