"""The last words of a container keep no part of a key, and need no more than a second."""

from __future__ import annotations

import pytest

from executors.docker.last_words import _without_keys, in_short

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
BEGIN, END = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["starting", "no disk"], ("starting", "no disk")),
        (["starting", BEGIN, BODY, "short==", END, "ended"], ("starting", "[a key]", "ended")),
        ([BODY, "short==", END, "ended"], ("[a key]", "ended")),  # its beginning is cut off
        (["starting", BEGIN, BODY, "short=="], ("starting", "[a key]")),
        ([BODY], ("[a line of 64 characters]",)),
        (["x y" * 200], ("[a line of 600 characters]",)),
    ],
)
def test_no_part_of_a_key_is_kept(lines: list[str], kept: tuple[str, ...]) -> None:
    said = _without_keys(lines)
    assert said == kept
    assert "short==" not in in_short(said)
