from __future__ import annotations

import base64
import html
import json
import re
import string
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infrastructure.config_models import Platform
from infrastructure.invisible import visible
from infrastructure.redaction import REDACTED, Redactor, SecretKeys
from infrastructure.yaml_source import parse_yaml

CONFIG = Path(__file__).parents[3] / "infrastructure/config"


def shipped() -> dict[str, list[str]]:
    (document,) = parse_yaml(
        (CONFIG / "platform.yml").read_bytes(), file="platform.yml", max_bytes=10**6
    )
    secrets: dict[str, list[str]] = document.data["secrets"]
    return secrets


SHIPPED = shipped()
KEYS = SHIPPED["keyPatterns"]
# Brackets are left out: a value that is a piece of "[redacted]" can't be told from it.
ALPHABET = string.ascii_letters + string.digits + " \"'\\/+=&%:\n\té漢"
secret_values = st.text(ALPHABET, min_size=6, max_size=40).filter(
    lambda value: len(value.strip()) >= 6 and value not in REDACTED
)
texts = st.text(ALPHABET, max_size=60)


@given(secret_values, texts, texts)
def test_a_value_survives_nowhere_in_a_text(value: str, before: str, after: str) -> None:
    assert value not in Redactor([], [value]).text(before + value + after)


FORMS: dict[str, Callable[[str], str]] = {
    "url": lambda value: quote(value, safe=""),
    "url path": quote,
    "form": quote_plus,
    "lower-case url": lambda v: re.sub("%..", lambda m: m[0].lower(), quote(v, safe="")),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "url-safe base64": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "json": lambda value: json.dumps(value)[1:-1],
    "json text": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "json in json": lambda value: json.dumps(json.dumps(value)[1:-1])[1:-1],
    "html": html.escape,
}


@pytest.mark.parametrize("form", FORMS)
@given(value=secret_values, before=texts, after=texts)
def test_an_encoded_value_survives_nowhere(form: str, value: str, before: str, after: str) -> None:
    encoded = FORMS[form](value)
    assume(encoded not in before + after)
    cut = Redactor([], [value]).text(f"{before}<{encoded}>{after}")
    assert encoded not in cut
    assert REDACTED in cut


@given(secret_values, st.text(string.ascii_letters, max_size=9), st.text(max_size=9))
def test_basic_authentication_does_not_hide_a_value(value: str, user: str, after: str) -> None:
    encoded = base64.b64encode(f"{user}:{value}{after}".encode()).decode()
    assert REDACTED in Redactor([], [value]).text(f"Authorization: Basic {encoded}")


@given(st.lists(secret_values, min_size=1, max_size=4), texts)
def test_overlapping_values_leave_no_half(values: list[str], text: str) -> None:
    joined = "".join(values) + text
    cut = Redactor([], values).text(joined)
    assert not any(value in cut for value in values)


def test_overlapping_occurrences_are_cut_as_one() -> None:
    assert Redactor([], ["abcdef", "defghi"]).text("xabcdefghiy") == f"x{REDACTED}y"


@given(
    st.lists(st.text(ALPHABET, min_size=4, max_size=12), max_size=3),
    st.lists(st.sampled_from([*SHIPPED["redactPatterns"], "redacted", "a", "x*", r"\bsk", "^a"])),
    st.text(ALPHABET + "[]", max_size=80),
)
def test_cutting_twice_is_cutting_once(values: list[str], patterns: list[str], text: str) -> None:
    redactor = Redactor(patterns, values)
    # Only what is left of the text counts: a value that is a piece of "[redacted]" itself
    # is found again in what was put in.
    assume(not any(value in REDACTED or REDACTED[-1] in value for value in values))
    once = redactor.text(text)
    assert redactor.text(once) == once


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def put_in(data: Any, value: str) -> Any:
    """The value in every text and key of the data."""
    match data:
        case dict():
            return {f"{key}{value}": put_in(item, value) for key, item in data.items()}
        case list():
            return [put_in(item, value) for item in data]
        case str():
            return data + value
        case _:
            return data


@given(json_like, secret_values)
def test_no_value_survives_in_data(data: Any, value: str) -> None:
    cut = Redactor([], [value]).data([put_in(data, value)])
    assert value not in json.dumps(cut, ensure_ascii=False)
    assert json.dumps(value)[1:-1] not in json.dumps(cut)


@given(json_like)
def test_data_without_secrets_stays_as_it_is(data: Any) -> None:
    assert Redactor([], ["a value that no data holds"]).data(data) == data


@given(json_like)
def test_cutting_data_twice_is_cutting_it_once(data: Any) -> None:
    redactor = Redactor(SHIPPED["redactPatterns"], ["abcd"], key_patterns=KEYS)
    once = redactor.data(data)
    assert redactor.data(once) == once


def test_values_under_secret_keys_are_blanked_and_references_kept() -> None:
    redactor = Redactor([], key_patterns=KEYS)
    data = {
        "API_KEY": "abc",
        "dbPassword": 12,
        "spring.datasource.password": ["a", "b"],
        "TOKEN_TTL": 30,
        "TOKEN": {"secret": "env:TOKEN"},
        "PASSWORD": "",
        "SECRET": None,
        "nested": [{"private-key": {"a": "b"}}],
        7: "x",
    }
    assert redactor.data(data) == {
        "API_KEY": REDACTED,
        "dbPassword": REDACTED,
        "spring.datasource.password": REDACTED,
        "TOKEN_TTL": 30,
        "TOKEN": {"secret": "env:TOKEN"},
        "PASSWORD": "",
        "SECRET": None,
        "nested": [{"private-key": REDACTED}],
        7: "x",
    }


def test_data_of_other_types() -> None:
    redactor = Redactor([], ["hunter22", "20261201"])
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert redactor.data(("hunter22", now, 1.5)) == (REDACTED, now, 1.5)
    assert redactor.data({"hunter22!"}) == {f"{REDACTED}!"}
    assert redactor.data(b"x hunter22") == b"x " + REDACTED.encode()
    assert redactor.data(20261201) == REDACTED
    assert redactor.data(ValueError("hunter22")) == REDACTED
    assert redactor.data(Path("/run/hunter22")) == f"/run/{REDACTED}"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
        "key sk-abcdefghijklmnopqrstuv was refused",
        "ghp_abcdefghijklmnop",
        "AKIAABCDEFGHIJKLMNOP",
        "postgres://user:hunter22@db:5432/x",
        "DB_PASSWORD=hunter22 in the environment",
        '{"api_key": "hunter22"}',
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_shipped_patterns_cut_what_looks_like_a_secret(text: str) -> None:
    cut = Redactor(SHIPPED["redactPatterns"]).text(text)
    assert REDACTED in cut
    assert "hunter22" not in cut
    assert "abcdefghijklmnop" not in cut


def test_ordinary_log_lines_stay() -> None:
    redactor = Redactor(SHIPPED["redactPatterns"])
    for line in (
        "GET /health 200 3ms",
        "connect to postgres://db:5432/x refused",
        "container market-predictor exited (137)",
        "sha256:" + "ab" * 32,
        'a secret as a value: write {secret: "env:NAME"}, or password: file:/run/secrets/x',
        '{"SHORT":{"secret":"prefect:block"},"API_KEY": "env:KEY"}',
    ):
        assert redactor.text(line) == line


def test_short_values_are_not_cut_out_of_words() -> None:
    assert Redactor([], ["abc"]).text("abcdef") == "abcdef"


def test_learned_values_are_cut_and_never_shown() -> None:
    redactor = Redactor([])
    assert redactor.text("hunter22") == "hunter22"
    redactor.learn(["hunter22"])
    assert redactor.text("hunter22") == REDACTED
    assert "hunter22" not in repr(redactor)


def test_the_lines_of_a_key_are_cut_one_by_one() -> None:
    key = (
        "-----BEGIN X-----\nMIIEvQIBADANBgkqhkiG9w0\nAQEFAASCBKcwggSjAgEAAoIBAQ\n-----END X-----\n"
    )
    assert Redactor([], [key]).text("> MIIEvQIBADANBgkqhkiG9w0") == f"> {REDACTED}"


def test_short_lines_of_a_secret_of_several_are_cut_too() -> None:
    login = Redactor([], ["user = shopkeeper\npass = hunter22\n"])
    assert login.text("read: pass = hunter22") == f"read: {REDACTED}"


def test_a_large_log_is_cut_quickly() -> None:
    redactor = Redactor(SHIPPED["redactPatterns"], [f"secret-value-{n}" for n in range(20)])
    log = "2026-12-01 12:00:00 INFO request done in 3ms path=/health status=200\n" * 10_000
    started = time.process_time()
    assert redactor.text(log) == log
    assert time.process_time() - started < 2


_TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
_HIDING = (
    *"\u200b\u200d\u00ad\ufe0f\u115f\u034f\u2800\u3164\u2060\u202e\ufeff\x00\x07\x08\x80\ud800",
    "\U000e0041",
    "\U000e0100",
    "\U000f0000",
)


@given(
    secret=st.sampled_from([_TOKEN, "resolved-value-1"]),
    hidden=st.lists(
        st.tuples(
            st.integers(1, 15),
            st.sampled_from(_HIDING) | st.characters(categories=["Cf", "Co", "Cs"]),
        ),
        min_size=1,
        max_size=6,
    ),
    around=st.text("ab é👍\n\u200d", max_size=20),
)
def test_no_unseen_character_hides_a_secret(
    secret: str, hidden: list[tuple[int, str]], around: str
) -> None:
    redactor = Redactor(SHIPPED["redactPatterns"], ["resolved-value-1"])
    torn = secret
    for place, char in hidden:
        torn = torn[:place] + char + torn[place:]
    told = redactor.text(f"{around} {torn} {around}")
    assert REDACTED in told
    assert secret not in visible(told)
    assert redactor.text(told) == told
    assert secret not in visible(str(redactor.data({"a": [torn], torn: 1})))


@pytest.mark.parametrize("place", range(1, len(_TOKEN)))
@pytest.mark.parametrize("hidden", ["\x1b[0m", "\x1b]0;title\x07", "\x1b", "\x9b", "\x9b1;31m"])
def test_no_escape_sequence_hides_a_secret(hidden: str, place: int) -> None:
    redactor = Redactor(SHIPPED["redactPatterns"])
    told = redactor.text(f"a {_TOKEN[:place]}{hidden}{_TOKEN[place:]} b")
    assert told == f"a {REDACTED} b"


@pytest.mark.parametrize(
    "text",
    [
        "a family 👨‍👩‍👧 and a heart ❤️",
        "\x1b[32mINFO\x1b[0m done\r\n",
        "می‌خواهم",
        "soft\u00adhyphen",
        "\ufeffa mark at the beginning",
    ],
)
def test_unseen_characters_stay_where_they_hide_nothing(text: str) -> None:
    redactor = Redactor(SHIPPED["redactPatterns"], ["resolved-value-1"])
    assert redactor.text(text) == text
    assert redactor.text(f"{text} resolved-value-1") == f"{text} {REDACTED}"


def test_a_secret_of_unseen_characters_is_one_also_without_them() -> None:
    redactor = Redactor([], ["bell\x07and\u200bjoiner"])
    assert redactor.text("bell\x07and\u200bjoiner") == REDACTED
    assert redactor.text("bellandjoiner") == REDACTED


def test_an_unseen_character_in_a_key_hides_no_secret() -> None:
    redactor = Redactor([], key_patterns=KEYS)
    assert redactor.data({"pass\u200bword": "abc"}) == {"pass\u200bword": REDACTED}


@pytest.mark.parametrize("key", ["password", "DB_PASSWORD", "apiKey", "access-key", "gitToken"])
def test_keys_of_secrets(key: str) -> None:
    assert SecretKeys(KEYS).match(key)


@pytest.mark.parametrize("key", ["passwords_file", "TOKENIZER", "keyboard", "secretary", "port"])
def test_keys_of_other_things(key: str) -> None:
    assert not SecretKeys(KEYS).match(key)


def test_the_shipped_patterns_are_those_of_the_model() -> None:
    assert set(SHIPPED) == {
        field.alias
        for field in Platform.model_fields["secrets"].annotation.model_fields.values()  # type: ignore[union-attr]  # it is a model class
    }
