from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.dossier.text import clean, one_line, safe_line, without_keys
from infrastructure.redaction import REDACTED
from tests.unit.dossier.builders import REDACTOR

_BODY = "\n".join(["MIIEpAIBAAKCAQEA7bq4vXlF3kGk0ZyWc8h4t1m2n3o4p5q6r7s8t9u0v1w2x3y4"] * 5)
_BEGIN, _END = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
_NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from(
            "\x1b\x9b[]0;m\x07\u200b\u202e\u2066\u3164\ufe0f\r\n\t a\x85\u2028\x00\x7f"
        ),
        st.characters(),
    ),
    max_size=120,
)


@given(text=_NASTY)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert all(
        char in "\n\t" or char == " " or unicodedata.category(char)[0] not in "CZ"
        for char in cleaned
    )


@given(text=_NASTY, limit=st.integers(1, 60))
def test_one_line_is_one_line_short_and_the_same_again(text: str, limit: int) -> None:
    told = one_line(text, REDACTOR.text, limit)
    assert "\n" not in told
    assert len(told) <= limit + 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]8;;http://x\x07link\x1b]8;;\x07", "alink"),
        ("pass\u200bword", "password"),
        ("abc\u202edcba", "abcdcba"),
        ("a\u3164\u2800b", "ab"),
        ("a\r\nb\rc\x85d", "a\nb\nc\nd"),
        ("a\u00a0b\tc", "a b\tc"),
        ("größer 日本", "größer 日本"),
    ],
)
def test_what_nobody_sees_is_gone(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"before\n{_BEGIN}\n{_BODY}\n{_END}\nafter the key",
        f"before\n{_BEGIN}\n{_BODY}\nafter the key",
        f"{_BODY}\n{_END}\nafter the key",
        f"before\n{_BEGIN}\n{_BODY}",
    ],
)
def test_a_private_key_is_gone_also_when_it_lost_an_end(text: str) -> None:
    told = without_keys(text, REDACTOR.text)
    assert "MIIE" not in told
    assert REDACTED in told
    assert ("before" in told, "after" in told) == ("before" in text, "after" in text)


def test_a_megabyte_of_beginnings_takes_no_long_time() -> None:
    # Each step that read the whole rest again would make this a minute.
    text = ("-----BEGIN A PRIVATE KEY-----" * 30 + "\n") * 5_000
    started = time.process_time()
    assert "BEGIN" not in without_keys(text, REDACTOR.text)
    assert time.process_time() - started < 5


def test_many_beginnings_of_keys_take_no_long_time() -> None:
    told = without_keys(f"{_BEGIN}\nno key\n" * 20_000, REDACTOR.text)
    assert told.count("no key") == 20_000


def test_half_a_secret_at_the_edge_of_an_endless_line_is_dropped() -> None:
    line = "x" * 16_380 + " sk-abcdefghijklmnop"
    assert "sk-a" not in safe_line(line, "", REDACTOR.text)
    assert "sk-a" not in one_line("x" * 65_530 + " sk-abcdefghijklmnop", REDACTOR.text, 100_000)
