"""The note of variables tells which may have been secrets, in notes of older versions too."""

from __future__ import annotations

from executors.env_note import env_words, managed_in, secret_in
from infrastructure.service import SecretRef


def test_what_is_noted_is_read_back() -> None:
    words = env_words({"LOG": "info", "DB_PASSWORD": SecretRef(secret="env:DB_PASSWORD")})
    assert managed_in(words) == {"LOG", "DB_PASSWORD"}
    assert secret_in(words) == {"DB_PASSWORD"}
    assert env_words({}) == []


def test_where_a_note_does_not_tell_each_may_have_been_a_secret() -> None:
    assert secret_in(["DB_PASSWORD", "LOG"]) == managed_in(["DB_PASSWORD", "LOG"])
    assert secret_in(["DB_PASSWORD*", "LOG"]) == {"DB_PASSWORD", "LOG"}
    assert secret_in([]) == frozenset()
