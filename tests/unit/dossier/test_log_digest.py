from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.dossier.log_digest import digest, newest_lines
from flows.dossier.log_lines import Level, level_of, parsed, shown, template


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026 INFO started", Level.INFO),
        ("[error] no such host", Level.ERROR),
        ("warning: low disk", Level.WARNING),
        ("E0101 something", Level.INFO),
        ("plain words", Level.INFO),
        ("ValueError: bad", Level.ERROR),
        ("could not: connection refused", Level.ERROR),
        ('{"level":"warn","msg":"slow"}', Level.WARNING),
        ('{"level":50,"msg":"pino"}', Level.ERROR),
        ('{"level":30,"msg":"error count is 0"}', Level.INFO),
        ('{"msg":"it failed"}', Level.ERROR),
        ("ts=1 level=debug msg=x", Level.DEBUG),
        ('time="x" level=fatal msg="gone"', Level.ERROR),
        ("    at com.example.Foo.bar(Foo.java:12)", None),
        ('  File "app.py", line 3', None),
    ],
)
def test_the_level_of_a_line(line: str, level: Level | None) -> None:
    assert level_of(line, parsed(line)) is level


@pytest.mark.parametrize(
    "lines",
    [
        ("took 12 ms", "took 3.5 ms"),
        ("2026-01-01T00:00:00Z up", "2027-11-30T12:59:59.123Z up"),
        ("peer 10.0.0.1:80 left", "peer 192.168.100.20:65000 left"),
        ("peer fe80:0:0:0:1 left", "peer 2001:db8:0:0:2 left"),
        (
            "job 550e8400-e29b-41d4-a716-446655440000",
            "job 123e4567-e89b-12d3-a456-426614174000",
        ),
        ("commit deadbeef01", "commit 0badcafe99"),
        ('user "ann smith" is gone', 'user "bob" is gone'),
        ("user 'ann' is gone", "user 'bob' is gone"),
        ('{"level":"info","msg":"done 1","id":"x"}', '{"level":"info","msg":"done 2","id":"y z"}'),
    ],
)
def test_lines_that_say_the_same_of_something_else_are_one(lines: tuple[str, str]) -> None:
    (group,) = digest("\n".join(lines)).groups
    assert (group.count, group.line) == (2, lines[1])


@pytest.mark.parametrize(
    "lines",
    [
        ("connection refused", "connection reset"),
        ('{"level":"info","msg":"up"}', '{"level":"error","msg":"up"}'),
        ('{"level":"info","msg":"up"}', '{"level":"info","msg":"down"}'),
        ('level=info msg="up and well"', 'level=info msg="down and out"'),
        ("don't do this, won't help", "don't do that, won't help"),
    ],
)
def test_lines_that_say_something_else_are_two(lines: tuple[str, str]) -> None:
    assert len(digest("\n".join(lines)).groups) == 2


def test_a_traceback_has_the_level_of_what_it_belongs_to() -> None:
    log = "INFO up\nERROR it broke\n  File app.py\n    call()\nINFO go on\n  detail"
    levels = {group.line.strip(): group.level for group in digest(log).groups}
    assert levels["File app.py"] is Level.ERROR
    assert levels["call()"] is Level.ERROR
    assert levels["detail"] is Level.INFO


def test_the_last_words_are_as_telling_as_errors() -> None:
    words = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    log = "\n".join(["ERROR broke", *words])
    assert {g.line for g in digest(log).telling(4)} == {"ERROR broke", "delta", "epsilon", "zeta"}


def test_a_log_without_like_lines_is_counted_and_its_errors_are_kept() -> None:
    letters = "abcdefghijklmnopqrst"
    unlike = [f"{a}{b} {c} word" for a in letters for b in letters for c in letters]
    found = digest("\n".join(["it failed at once", *unlike]))
    assert found.lines == len(unlike) + 1
    assert found.unread == found.lines - len(found.groups)
    assert "it failed at once" in {group.line for group in found.groups}


def test_a_line_is_shown_with_one_time_of_day() -> None:
    assert shown("2026-01-01T10:20:30.123456789Z hello") == "10:20:30 hello"
    assert shown("2026-01-01T10:20:30.1Z 2026-01-01 10:20:30,100 INFO x") == "10:20:30 INFO x"
    assert shown("no time") == "no time"


def test_many_lines_are_many_whatever_stands_in_them() -> None:
    # More lines than are looked at in one go, and characters that the first look uses itself.
    found = digest("\n".join(["\x02", "up \x01 down", "===", "up \x02\x02 down"] * 3000))
    assert [(group.count, group.line) for group in found.groups] == [
        (6000, "==="),
        (6000, "up \x02\x02 down"),
    ]


@given(log=st.text(alphabet="a0 \n{}\":=é'\x01\x02", max_size=300))
def test_every_line_is_counted_once(log: str) -> None:
    found = digest(log)
    assert found.lines == sum(1 for line in log.split("\n") if line.strip())
    assert found == digest(log)


@given(text=st.text(max_size=700))
def test_any_text_has_a_template(text: str) -> None:
    assert template(text) == template(text)
    level_of(text, parsed(text))


@given(lines=st.lists(st.sampled_from(["", "a", "bb"]), max_size=12), limit=st.integers(1, 6))
def test_the_newest_lines(lines: list[str], limit: int) -> None:
    text = "\n".join([*lines, "end"])
    kept, more = newest_lines(text + "\n", limit)
    assert kept.split("\n") == [*lines, "end"][-limit:]
    assert more is (len(lines) + 1 > limit)
