"""The reader of Loki against a server on loopback that answers as Loki does."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.config_models import LogStore
from infrastructure.errors import DeadlineExceededError, PermanentError, TemporaryError
from monitoring.loki import LogLine, LogQuery, read_logs, selector
from tests.fakes.http_server import Exchange, FakeServer, json_body, silent, text
from tests.unit.monitoring.builders import NOW, client

SECOND = 1_000_000_000


def store(**more: Any) -> LogStore:
    return LogStore.model_validate(
        {
            "sources": [{"url": "http://127.0.0.1:3100", "timeout": "1s"}],
            "serviceLabel": "service",
            "instanceLabel": "container",
            "streamLabel": "stream",
            "lookBack": "1h",
            "maxBytes": 65536,
            **more,
        }
    )


class Kept:
    """What a Loki holds, and the contract of its query_range.

    Streams come each with their own newest lines first; `limit` counts over all of them.
    """

    def __init__(self, *lines: tuple[int, dict[str, str], str]) -> None:
        self.lines = lines

    def __call__(self, exchange: Exchange) -> None:
        asked = {k: v[0] for k, v in parse_qs(urlsplit(exchange.asked.path).query).items()}
        assert urlsplit(exchange.asked.path).path == "/loki/api/v1/query_range"
        assert asked["direction"] == "backward"
        found = re.fullmatch(r"\{(.*)\}(?: \|= (\".*\"))?", asked["query"])
        assert found is not None, asked["query"]
        matchers = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', found[1]))
        wanted = json.loads(found[2]) if found[2] else ""
        matching = [
            line
            for line in sorted(self.lines, key=lambda line: -line[0])
            if all(line[1].get(name) == json.loads(value) for name, value in matchers.items())
            and wanted in line[2]
            and int(asked["start"]) <= line[0] < int(asked["end"])
        ]
        streams: dict[str, Any] = {}
        for at, labels, said in matching[: int(asked["limit"])]:
            key = json.dumps(labels, sort_keys=True)
            streams.setdefault(key, {"stream": labels, "values": []})
            streams[key]["values"].append([str(at), said])
        data = {"resultType": "streams", "result": list(streams.values()), "stats": {}}
        json_body({"status": "success", "data": data})(exchange)


NOW_NS = int(NOW.timestamp()) * SECOND
A = {"service": "shop", "container": "shop-1", "stream": "stdout"}
B = {"service": "shop", "container": "shop-2", "stream": "stderr"}
OTHER = {"service": "shop-admin", "container": "x", "stream": "stdout"}
KEPT = Kept(
    (NOW_NS - 50 * SECOND, A, "started"),
    (NOW_NS - 40 * SECOND, B, 'boom "quoted"'),
    (NOW_NS - 30 * SECOND, A, "goes on"),
    (NOW_NS - 20 * SECOND, OTHER, "not of this service"),
    (NOW_NS - 7200 * SECOND, A, "long ago"),
)


def lines(server: FakeServer, query: LogQuery, **more: Any) -> list[str]:
    with client(server.url) as source:
        return [line.text for line in read_logs([source], query, store(**more), NOW)]


def test_the_newest_lines_of_a_service_come_oldest_first() -> None:
    with FakeServer(KEPT) as server:
        assert lines(server, LogQuery("shop", 10)) == ["started", 'boom "quoted"', "goes on"]
        assert lines(server, LogQuery("shop", 2)) == ['boom "quoted"', "goes on"]
        assert lines(server, LogQuery("nobody", 10)) == []


def test_time_text_and_stream_are_matched_by_loki() -> None:
    with FakeServer(KEPT) as server:
        assert lines(server, LogQuery("shop", 9, since=timedelta(seconds=35))) == ["goes on"]
        assert lines(server, LogQuery("shop", 9, since=timedelta(hours=3)))[0] == "long ago"
        assert lines(server, LogQuery("shop", 9, contains='"quoted"')) == ['boom "quoted"']
        assert lines(server, LogQuery("shop", 9, stream="stderr")) == ['boom "quoted"']


def test_labels_of_the_configuration_narrow_it_and_names_are_its_own() -> None:
    kept = Kept(
        (NOW_NS - SECOND, {"app": "shop", "cluster": "a", "pod": "p"}, "ours"),
        (NOW_NS - SECOND, {"app": "shop", "cluster": "b", "pod": "q"}, "theirs"),
    )
    settings = store(serviceLabel="app", instanceLabel="pod", labels={"cluster": "a"})
    with FakeServer(kept) as server, client(server.url) as source:
        found = read_logs([source], LogQuery("shop", 9), settings, NOW)
    assert [(line.instance, line.text) for line in found] == [("p", "ours")]


def test_lines_of_one_moment_keep_their_order() -> None:
    body = {
        "status": "success",
        "data": {
            "resultType": "streams",
            "result": [{"stream": {}, "values": [["7", "second"], ["7", "first", {"x": "y"}]]}],
        },
    }
    with FakeServer(json_body(body)) as server:
        assert lines(server, LogQuery("shop", 9)) == ["first", "second"]


def test_a_moment_has_all_its_digits() -> None:
    assert LogLine(NOW_NS + 12, "", "").moment == "2026-11-22T12:00:00.000000012Z"


def go(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


@given(st.text(), st.text(min_size=1))
def test_no_name_and_no_text_gets_out_of_its_literal(name: str, wanted: str) -> None:
    query = selector(LogQuery(name, 1, contains=wanted), store())
    assert query == f"{{service={go(name)}}} |= {go(wanted)}"
    literal, _ = json.JSONDecoder().raw_decode(query.removeprefix("{service="))
    assert literal == name


def test_another_source_is_asked_where_the_first_does_not_answer() -> None:
    with (
        FakeServer(text("busy", 503)) as sick,
        FakeServer(KEPT) as well,
        client(sick.url) as first,
        client(well.url) as second,
    ):
        assert len(read_logs([first, second], LogQuery("shop", 9), store(), NOW)) == 3


@pytest.mark.parametrize(
    ("behaviour", "error", "said"),
    [
        (text("parse error : unexpected IDENTIFIER", 400), PermanentError, "unexpected IDENTIFIER"),
        (text("too many outstanding requests", 429), TemporaryError, "429"),
        (text("no org id", 401), PermanentError, "refused the credentials"),
        (text("<html>"), PermanentError, "none of Loki's"),
        (json_body({"status": "success", "data": {"resultType": "matrix", "result": []}}),
         PermanentError, "none of Loki's"),
        (silent, DeadlineExceededError, "time"),
    ],
    ids=["query", "busy", "credentials", "page", "metrics", "silent"],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_with_the_next_step(
    behaviour: Any, error: type[Exception], said: str
) -> None:
    with FakeServer(behaviour) as server, client(server.url, timeout="300ms") as source:
        expected = TemporaryError if error is DeadlineExceededError else error
        with pytest.raises(expected, match=re.escape(said)) as caught:
            read_logs([source], LogQuery("shop", 9), store(), NOW)
    assert str(caught.value).startswith("Loki at http://127.0.0.1:")
    assert "\n" not in str(caught.value)


def test_an_answer_beyond_its_limit_is_refused() -> None:
    kept = Kept(*((NOW_NS - n, A, "x" * 200) for n in range(20)))
    with FakeServer(kept) as server, pytest.raises(PermanentError):
        lines(server, LogQuery("shop", 100), maxBytes=1024)
